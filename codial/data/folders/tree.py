"""The folders that hold images, as a tree."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from codial.data.folders.names import parse_split


@dataclass(eq=False)
class Node:
    """A folder that holds images, directly or deeper.

    Attributes:
        path: Relative to the folder that was listed; "" for that one.
        images: Number of images directly in it.
        folders: The folders in it, by name.
    """

    path: str
    images: int = 0
    folders: "dict[str, Node]" = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.rpartition("/")[2]

    @property
    def flat(self) -> bool:
        """Whether no folder of images is in it."""
        return not self.folders

    def walk(self) -> "Iterator[Node]":
        """Yield the folder and all folders in it."""
        yield self
        for child in self.folders.values():
            yield from child.walk()


def tree(images: Iterable[str]) -> Node:
    """Return the folders of a list of images."""
    top = Node("")
    for parent, count in Counter(path.rpartition("/")[0] for path in images).items():
        node = top
        for name in parent.split("/") if parent else ():
            node = node.folders.setdefault(name, Node(f"{node.path}/{name}".removeprefix("/")))
        node.images = count
    return top


def descend(node: Node) -> Node:
    """Go down through levels that hold one folder and nothing else, but not into a class or a folder like "train"."""
    while (inner := _only_folder(node)) is not None:
        split = parse_split(inner.name)
        if split is not None and split.affix == "*":
            break
        node = inner
    return node


def descend_together(nodes: dict[str | None, Node]) -> dict[str | None, Node]:
    """Go down in each split, but not into a folder that is a class of another split."""
    nodes = dict(nodes)
    changed = True
    while changed:
        changed = False
        classes = {name for node in nodes.values() if len(node.folders) > 1 for name in node.folders}
        for split, node in nodes.items():
            inner = _only_folder(node)
            if inner is not None and inner.name not in classes:
                nodes[split], changed = inner, True
    return nodes


def _only_folder(node: Node) -> Node | None:
    """Return the only folder in a folder if it holds folders of images, and no image is directly in either."""
    if node.images or len(node.folders) != 1:
        return None
    inner = next(iter(node.folders.values()))
    return None if inner.images or inner.flat else inner
