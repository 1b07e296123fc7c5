"""The command `codial data`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

import codial
from codial.cli.options import DataRoot
from codial.cli.output import FAILED, OK
from codial.errors import CodialError

EXAMPLES = """\
  codial data list
  codial data get stl10 --data-root /scratch/data
  codial data check voc2007
  codial data check ~/images
  codial data check hf:./saved-set"""

_MAX_PROBLEMS = 5  # printed per split
_MAX_CLASSES = 20  # printed per split


def data(
    action: Annotated[Literal["list", "get", "check"], typer.Argument(metavar="ACTION", help="What to do.")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A named data set; for check also a folder of images, or hf:NAME."),
    ] = None,
    data_root: DataRoot = None,
) -> int:
    """List, download or check data sets.

    `list` prints all named data sets, registered ones too, and whether they are there. `get` downloads a public one, or
    says where to get the others; after an interruption, complete files are kept.

    `check` reads all images of a data set or of a folder and prints the number of images, the classes, and files that
    are missing or damaged; the exit code is then 2. Of a folder it first prints how it is understood: splits, classes,
    what is passed over and why, and copies. 'FOLDER#splits', 'FOLDER#classes' and 'FOLDER#subfolders' choose where
    there are two readings.
    """
    from codial.data.registry import PREFIX, SETS, data_sets, describe, splits_of
    from codial.data.registry import data_root as folder_of_sets

    if action == "list":
        print("\n".join(describe(each, data_root) for each in data_sets()))
        return OK
    if name is None:
        names = ", ".join(data_sets())
        raise CodialError(f"NAME is missing: codial data {action} NAME, with one of {names}, or a folder.")
    if name.startswith(PREFIX):
        return _read(name, splits_of(name), data_root)
    if name not in data_sets():
        return _check_folder(name, data_root)
    if action == "get" and name in SETS:  # a registered one gets its files when it is read
        from codial.data.download import get

        get(name, folder_of_sets(data_root))
    return _check(name, data_root)


def _check(name: str, root: Path | None) -> int:
    """Print what every split of a named data set holds; 0 if at least one split is there and none is damaged."""
    from codial.data.registry import describe, is_absent, problems, splits_of

    by_split = {split: problems(name, split, root) for split in splits_of(name)}
    if all(is_absent(lines) for lines in by_split.values()):
        raise CodialError(describe(name, root))
    for split, lines in by_split.items():
        if lines:
            _print_problems(f"{name}/{split}", "missing" if is_absent(lines) else "damaged", lines)
    code = _read(name, [split for split, lines in by_split.items() if not lines], root)
    damaged = any(lines and not is_absent(lines) for lines in by_split.values())
    return FAILED if damaged else code


def _check_folder(source: str, root: Path | None) -> int:
    """Print how a folder is understood, then what each of its splits holds, or all of it if it has none."""
    from codial.data.datasets.image_folder import report, split_folders
    from codial.data.registry import as_folder

    as_folder(source)
    print("".join(f"{line}\n" for line in report(source, _MAX_CLASSES, compare=True)))
    return _read(source, split_folders(source) or ("all",), root)


def _print_problems(split: str, state: str, lines: Sequence[str]) -> None:
    print(f"{split}: {state}")
    print("".join(f"  {line}\n" for line in lines[:_MAX_PROBLEMS]), end="")
    if len(lines) > _MAX_PROBLEMS:
        print(f"  and {len(lines) - _MAX_PROBLEMS} more")


def _read(name: str, splits: Sequence[str], root: Path | None) -> int:
    """Read all images of some splits, print what they hold, and return the exit code."""
    code = OK
    for split in splits:
        try:
            _read_split(name, split, root)
        except CodialError as error:
            print(f"{name}/{split}: damaged\n  {error}")
            code = FAILED
    return code


def _read_split(name: str, split: str, root: Path | None) -> None:
    from codial.data import ImageFiles, data_sets

    images = codial.load_images(name, split, root=root)
    if name in data_sets() and images.split != split:
        print(f"{name}/{split}: the same as {images.split}")
        return
    if isinstance(images, ImageFiles):
        images.check()
    classes = ", ".join(images.classes[:_MAX_CLASSES]) or "none"
    more = f" and {len(images.classes) - _MAX_CLASSES} more" if len(images.classes) > _MAX_CLASSES else ""
    print(f"{images}\n  fingerprint {images.fingerprint}; classes: {classes}{more}")
    print("".join(f"  skipped {reason}\n" for reason in images.skipped), end="")
