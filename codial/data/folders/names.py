"""Names in folders of images that mean something: splits, files of the system, containers that are no class."""

import re
import unicodedata
from typing import NamedTuple

SPLITS = {  # split -> the names that it has in public data sets
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev", "eval", "evaluation"),
}
CONTAINERS = frozenset(  # names of folders that say only that there are images in them
    ("images", "image", "imgs", "img", "jpegimages", "data", "photos", "pictures", "all", "unlabeled", "unknown")
)
MASKS = frozenset(  # names of folders of images that belong to other images
    ("masks", "mask", "labels", "annotations", "segmentationclass", "segmentationobject", "groundtruth", "trimaps")
)

_SYSTEM = frozenset(
    ("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir", "#recycle", "@recycle")
) | {"$recycle.bin", "system volume information", "lost+found", "__pycache__"}
_SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}
_WORDS = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_AFTER = r"(?:[\W\d_].*|[A-Z]|(?i:set|data|images?|imgs?)(?:[\W\d_].*)?)?"  # "train2017", "trainset", but not "trainer"
_SPLIT_NAME = re.compile(rf"(?P<before>(?:.*[\W\d_])?)(?P<word>(?i:{_WORDS}))(?P<after>{_AFTER})", re.DOTALL)
_DIGITS = re.compile(r"\d+")


class SplitName(NamedTuple):
    """A folder name that contains the name of a split."""

    split: str  # "train", "test" or "val"
    affix: str  # what stands around it, such as "seg_*" in "seg_train"; "*" if nothing does


def parse_split(name: str) -> SplitName | None:
    """Return the split that a folder name contains, None if it contains none."""
    match = _SPLIT_NAME.fullmatch(unicodedata.normalize("NFKC", name).strip())
    if match is None:
        return None
    affix = f"{match['before']}*{match['after']}".casefold()
    return SplitName(_SPLIT_OF[match["word"].casefold()], _DIGITS.sub("", affix))


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or written by an operating system or a file server."""
    return name.startswith(".") or name.casefold() in _SYSTEM


def is_container(name: str) -> bool:
    """Return whether a folder name says only that there are images in it."""
    return name.casefold() in CONTAINERS or parse_split(name) is not None


def is_unlabeled(name: str) -> bool:
    """Return whether a folder beside splits holds images without labels, as "unlabeled_images" does."""
    return name.casefold().startswith(("unlabel", "unsup"))


def folded(name: str) -> str:
    """Return a class name such that names that differ only in case, Unicode form or spaces become equal."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).split())
