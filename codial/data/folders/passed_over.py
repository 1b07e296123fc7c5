"""Sort the files of a folder: images, and what is passed over for which reason."""

from collections import defaultdict
from collections.abc import Iterable

from codial.data.folders.names import is_system

_MAX_ENDING = 8  # letters; what is longer is part of a name


def sort_out(paths: Iterable[str], endings: tuple[str, ...]) -> tuple[list[str], dict[str, list[str]]]:
    """Separate images from other files.

    Args:
        paths: Files, with "/" as the separator; a path that ends in "/" is a folder without files.
        endings: Endings of image files, lower case.

    Returns:
        images: The images, in the same order.
        passed_over: Other files and folders, by reason.
    """
    images: list[str] = []
    system: dict[str, None] = {}  # a set that keeps its order
    others: dict[str, list[str]] = defaultdict(list)
    without: set[str] = set()  # folders of visible files that are no images
    system_parts: dict[str, str | None] = {}  # of each folder
    for path in paths:
        parent, _, name = path.rpartition("/")
        if parent not in system_parts:
            system_parts[parent] = _system_part(parent)
        hidden = system_parts[parent] or (path if is_system(name) else None)
        if hidden:
            system[hidden] = None
        elif name.lower().endswith(endings):
            images.append(path)
        else:
            without.add(parent)
            if name:
                others[f"{_ending(name)} files"].append(path)
    passed_over = dict(sorted(others.items()))
    passed_over |= {"folders without images": _without_images(without, images), "system or hidden": list(system)}
    return images, {reason: found for reason, found in passed_over.items() if found}


def prefixes(folder: str) -> list[str]:
    """Return a folder and those that it is in, the outermost first; none for ""."""
    names = folder.split("/") if folder else []
    return ["/".join(names[:count]) for count in range(1, len(names) + 1)]


def outermost(folders: Iterable[str], used: Iterable[str]) -> list[str]:
    """Return, for folders that are not used, the outermost folders that contain none that is used.

    Args:
        folders: Folders; "" is the folder itself.
        used: Folders that are used.
    """
    around = {"", *(prefix for folder in used for prefix in prefixes(folder))}
    found = {next((prefix for prefix in prefixes(folder) if prefix not in around), folder) for folder in folders}
    return [f"{folder or '.'}/" for folder in sorted(found)]


def _without_images(folders: set[str], images: Iterable[str]) -> list[str]:
    parents = {path.rpartition("/")[0] for path in images}
    around = {"", *(prefix for parent in parents for prefix in prefixes(parent))}
    return outermost(folders - around, parents)


def _system_part(folder: str) -> str | None:
    """Return a path up to its first hidden or system folder, None if it has none."""
    found = next((prefix for prefix in prefixes(folder) if is_system(prefix.rpartition("/")[2])), None)
    return found and f"{found}/"


def _ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if stem and dot and len(ending) <= _MAX_ENDING else "other"
