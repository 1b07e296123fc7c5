"""Understand a folder of images from the list of its files, without reading any.

Every folder that holds images is placed in a split and a class. A list with two plausible readings is refused; a word
behind the folder chooses one: `FOLDER#splits`, `FOLDER#classes`, `FOLDER#subfolders`.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from codial.data.folders.layout import ImageFile, Layout, in_words, listed
from codial.data.folders.names import CONTAINERS, MASKS, SPLITS, folded, is_container, is_unlabeled, parse_split
from codial.data.folders.passed_over import outermost, sort_out
from codial.data.folders.tree import Node, descend, descend_together, tree
from codial.errors import CodialError

CHOICES = ("splits", "classes", "subfolders")

_LIKELY_CLASSES = ("train", "valid", "dev")  # names of splits that are classes beside other folders such as "car"
_Splits = dict[str | None, Node]


class _Place(NamedTuple):
    split: str | None
    category: str | None


def interpret(
    paths: Iterable[str], endings: tuple[str, ...], source: str, choices: Collection[str] = frozenset()
) -> Layout:
    """Understand a folder.

    Args:
        paths: All files below the folder, images or not, relative to it with "/" as the separator; a path that ends in
            "/" is a folder that is empty or was not entered.
        endings: Endings of image files, lower case.
        source: The folder as the user wrote it, for messages.
        choices: What the user chose of `CHOICES`: "splits", folders such as `train` are splits; "classes", every
            folder is a class; "subfolders", the folders one level deeper are the classes.

    Raises:
        CodialError: There is no image, there are two plausible readings, or the names of two classes differ only in
            case, Unicode form or spaces.
    """
    paths = list(paths)
    images, passed_over = sort_out(paths, endings)
    if not images:
        found = f" Passed over: {in_words(passed_over)}." if passed_over else ""
        found += (
            f" hf:{source} reads tables of Hugging Face."
            if passed_over.keys() & {".parquet files", ".arrow files"}
            else ""
        )
        raise CodialError(f"No image in {source}; expected files ending in {', '.join(endings)}.{found}")
    top = tree(images)
    level = descend(top)
    reader = _Reader(paths, endings, source, frozenset(choices))
    split_folders = reader.place(level)
    _check_empty_splits(level, passed_over.get("folders without images", ()), source)
    _check_class_names(reader.class_folders, source)
    placed = ((path, reader.places.get(path.rpartition("/")[0])) for path in images)
    files = [ImageFile(path, *place) for path, place in placed if place is not None]
    if beside := [node for node in top.walk() if node.images and node.path not in reader.places]:
        passed_over["folders beside the splits"] = _images_in(
            beside, outermost([n.path for n in beside], reader.places)
        )
    return Layout(files, split_folders, level.path, passed_over)


class _Reader:
    """Places folders in splits and classes.

    Attributes:
        places: Split and class of the images directly in a folder, by its path.
        class_folders: The name of a class and its folder, for each folder of a class.
    """

    def __init__(self, paths: list[str], endings: tuple[str, ...], source: str, choices: frozenset[str]) -> None:
        self._paths, self._endings, self._source, self._choices = paths, endings, source, choices
        self.places: dict[str, _Place] = {}
        self.class_folders: list[tuple[str, str]] = []

    def place(self, level: Node) -> dict[str, str]:
        """Place all folders below a level, and return the folder of each split."""
        splits = {} if "classes" in self._choices else self._splits(level)
        if not splits and not self._choices and self._place_splits_in_classes(level):
            used = {place.split for place in self.places.values()}
            return {split: "" for split in SPLITS if split in used}
        nodes = descend_together(splits or {None: level})
        for split in (each for each in (None, *SPLITS) if each in nodes):
            node = nodes[split]
            if not self._place_container(split, node, nodes):
                self._place_classes(split, node)
        return {split: nodes[split].path for split in SPLITS if split in nodes}

    # Splits

    def _splits(self, level: Node) -> _Splits:
        """Return the folder of each split; none if the folders are classes."""
        groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # affix -> split -> names
        for name in level.folders:
            if parsed := parse_split(name):
                groups[parsed.affix][parsed.split].append(name)
        complete = {affix: splits for affix, splits in groups.items() if len(splits) > 1}
        if "*" in groups and not complete:
            return self._lone_split(
                level, groups["*"], sum(len(each) for group in groups.values() for each in group.values())
            )
        if len(complete) > 1 and "*" not in complete:
            names = sorted(name for splits in complete.values() for each in splits.values() for name in each)
            self._refuse(f"{listed(names)} look like splits of several data sets", level, ["classes"])
        return self._checked(level, complete.get("*") or next(iter(complete.values()), {}))

    def _checked(self, level: Node, splits: Mapping[str, list[str]]) -> _Splits:
        """Return the folder of each split, if no split has two and no other folder could be a class like them."""
        for split, names in splits.items():
            if len(names) > 1:
                self._refuse(
                    f"{listed(sorted(names))} all mean the split {split!r}; join or rename them", level, ["classes"]
                )
        nodes: _Splits = {split: level.folders[names[0]] for split, names in splits.items()}
        others = [node for node in level.folders.values() if node not in nodes.values() and not is_unlabeled(node.name)]
        if nodes and others and all(node.flat for node in level.folders.values()) and "splits" not in self._choices:
            why = f"{_names(nodes.values())} beside {_names(others)} may be splits, or classes"
            self._refuse(why, level, ["splits", "classes"])
        return nodes

    def _lone_split(self, level: Node, bare: Mapping[str, list[str]], similar: int) -> _Splits:
        """Return the only folder that is named like a split, or nothing if it is a class as "train" beside "car" is."""
        split, names = next(iter(bare.items()))
        node = level.folders[names[0]]
        others = [other for other in level.folders.values() if other is not node]
        if len(names) == 1 and ("splits" in self._choices or not (others or level.images)):
            return {split: node}
        shared = {name for other in others for name in other.folders} & node.folders.keys()
        alike = node.flat or not (shared or any(other.flat for other in others))
        if names[0].casefold() in _LIKELY_CLASSES and alike and similar == 1 and others:
            return {}
        beside = _names(others) or f"{level.images:,} images"
        why = f"{node.name}/ beside {beside} may be a split, or a class"
        self._refuse(why, level, ["splits", "classes"] if len(names) == 1 else ["classes"])

    def _place_splits_in_classes(self, level: Node) -> bool:
        """Place images in CLASS/train and CLASS/test; False if no folder holds splits.

        Raises:
            CodialError: Some folders hold splits, but not all of them, or not only splits of images.
        """
        below = {name: [parse_split(child) for child in node.folders] for name, node in level.folders.items()}
        with_splits = [name for name, found in below.items() if len({each.split for each in found if each}) > 1]
        if len(level.folders) < 2 or not with_splits:
            return False
        only_splits = not level.images and all(
            len({each.split for each in found if each}) == len(found) > 0
            and not level.folders[name].images
            and all(child.flat for child in level.folders[name].folders.values())
            for name, found in below.items()
        )
        if not only_splits:
            inner = level.folders[with_splits[0]]
            self._refuse(f"{listed(with_splits)} hold splits of their own", level, ["classes"], inner)
        for name, found in below.items():
            for child, parsed in zip(level.folders[name].folders.values(), found, strict=True):
                self._assign(child, parsed and parsed.split, name)
            self.class_folders.append((name, level.folders[name].path))
        return True

    # Classes

    def _place_container(self, split: str | None, node: Node, nodes: _Splits) -> bool:
        """Place images that are all in one folder whose name is that of no class, such as train/images."""
        if node.images or len(node.folders) != 1 or "classes" in self._choices:
            return False
        inner = next(iter(node.folders.values()))
        elsewhere = {name for other in nodes.values() if len(other.folders) > 1 for name in other.folders}
        if not inner.flat or not is_container(inner.name) or inner.name in elsewhere:
            return False
        self._assign(node, split, None)
        return True

    def _place_classes(self, split: str | None, node: Node) -> None:
        """Place the images of a split: the folders in it are classes, images directly in it have none."""
        self.places[node.path] = _Place(split, None)
        if not self._choices & {"classes", "subfolders"}:
            self._refuse_masks(node)
            self._refuse_copy(node)
            self._refuse_repeated(node)
        for child in node.folders.values():
            if "subfolders" in self._choices and not child.flat:
                self.places[child.path] = _Place(split, None)
                for inner in child.folders.values():
                    self._add_class(inner, split)
            else:
                self._add_class(child, split)

    def _add_class(self, node: Node, split: str | None) -> None:
        self._assign(node, split, sys.intern(node.name))  # one string for all images of a class
        self.class_folders.append((node.name, node.path))

    def _assign(self, node: Node, split: str | None, category: str | None) -> None:
        for each in node.walk():
            self.places[each.path] = _Place(split, category)

    # Refusals

    def _refuse_masks(self, node: Node) -> None:
        """Refuse masks beside images: they would be a class."""
        names = {name.casefold(): name for name in node.folders}
        images, masks = CONTAINERS & names.keys(), MASKS & names.keys()
        if images and masks:
            image, mask = names[min(images)], names[min(masks)]
            self._refuse(f"{mask}/ beside {image}/ may hold masks", node, ["classes"], node.folders[image])

    def _refuse_copy(self, node: Node) -> None:
        """Refuse a folder that was unpacked within itself, so that its classes are there twice."""
        for name, child in node.folders.items():
            if len(child.folders.keys() & (node.folders.keys() - {name})) > 1:
                why = f"{name}/ holds folders of the same names as those beside it"
                self._refuse(why, node, ["classes"], child)

    def _refuse_repeated(self, node: Node) -> None:
        """Refuse folders that hold folders of the same names: either may be the classes."""
        deep = [child for child in node.folders.values() if not child.flat and not child.images]
        count = Counter(folded(name) for child in deep for name in child.folders)
        repeated = sorted(name for name, times in count.items() if times > 1 and 2 * times >= len(deep))
        if len(repeated) > 1:
            why = f"{_names(deep)} hold folders of the same names: {listed(repeated)}"
            self._refuse(why, node, ["classes", "subfolders"])

    def _refuse(self, why: str, node: Node, choices: Sequence[str], inner: Node | None = None) -> NoReturn:
        """Raise the error that shows the readings side by side."""
        readings = [self._reading(choice) for choice in choices]
        if inner is not None:
            readings.append(f"{self._source}/{inner.path} reads that folder alone")
        if len(readings) == 1:
            readings.append("another reading, once files are moved so that only it is left")
        numbered = "; ".join(f"({number}) {reading}" for number, reading in enumerate(readings, 1))
        where = f"{self._source}/{node.path}".rstrip("/")
        raise CodialError(
            f"{where} can be read in two ways: {why}. {numbered}. Name the one you mean in place of the folder, in"
            " quotation marks."
        )

    def _reading(self, choice: str) -> str:
        chosen = self._choices | {choice}
        option = f"'{self._source}#{','.join(sorted(chosen))}'"
        try:
            layout = interpret(self._paths, self._endings, self._source, chosen)
        except CodialError:
            return f"{option}, which has two readings again"
        return f"{option}: {' | '.join(line for line in layout.lines(4) if not line.startswith('passed'))}"


def _images_in(nodes: Iterable[Node], folders: Iterable[str]) -> list[str]:
    """Return folders with the number of images below each."""
    images = {
        folder: sum(node.images for node in nodes if f"{node.path or '.'}/".startswith(folder)) for folder in folders
    }
    return [f"{folder} with {count:,} image{'s' * (count != 1)}" for folder, count in images.items()]


def _names(nodes: Iterable[Node]) -> str:
    return listed([f"{node.name}/" for node in nodes])


def _check_empty_splits(level: Node, empty: Sequence[str], source: str) -> None:
    """Check that images that are in no folder are not what is left of splits without images.

    Raises:
        CodialError: They are beside folders such as train/ and test/ that hold none.
    """
    names = [folder for folder in empty if (parsed := parse_split(folder.rstrip("/"))) and parsed.affix == "*"]
    if names and level.flat:
        raise CodialError(f"No image in {listed(names)} of {source}, which look like its splits; fill or remove them.")


def _check_class_names(class_folders: Iterable[tuple[str, str]], source: str) -> None:
    """Check that no two classes have names that differ only in case, Unicode form or spaces.

    Raises:
        CodialError: Two do.
    """
    first: dict[str, tuple[str, str]] = {}
    for name, folder in class_folders:
        other, other_folder = first.setdefault(folded(name), (name, folder))
        if name != other:
            raise CodialError(
                f"Classes of {source} differ only in case, spaces or Unicode form: {other!a} ({other_folder}/) and"
                f" {name!a} ({folder}/). If they are one class, give {folder}/ the name of the other; if not,"
                " names that differ in more."
            )
