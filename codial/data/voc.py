"""PASCAL VOC in its development kit's layout, `VOCdevkit/VOC2007` and `VOCdevkit/VOC2012`: tags, boxes and masks.

JPEGImages/ID.jpg, Annotations/ID.xml, ImageSets/Main/SPLIT.txt, and for segmentation ImageSets/Segmentation/SPLIT.txt
and SegmentationClass/ID.png. Boxes and masks are drawn on the pixels as stored, so no picture is turned by its EXIF.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from codial.data.listed import Options, from_paths
from codial.data.pictures import Pictures
from codial.errors import CodialError

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
YEARS = (2007, 2012)
SPLITS = ("train", "val", "trainval", "test")
SIDE = 224  # pixels, of the central squares that `read` offers
IGNORED = 255  # in masks: a border, or too small to tell

_NUMBER = {name: number for number, name in enumerate(CLASSES)}


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture and its boxes.

    Attributes:
        path: of the picture.
        size: height and width in pixels.
        boxes: [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
        labels: [n] int64, an index into `CLASSES`.
        difficult: [n] bool; such an object is neither to be learnt nor judged.
    """

    path: Path
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    difficult: Tensor

    @property
    def tags(self) -> Tensor:
        """[20] int8: 1 where the class is there, 0 where not, -1 where only difficult objects of it are."""
        tags = torch.zeros(len(CLASSES), dtype=torch.int8)
        tags[self.labels[self.difficult]] = -1
        tags[self.labels[~self.difficult]] = 1
        return tags


@dataclass(frozen=True)
class Segmented:
    """A picture and its mask, both in their files."""

    path: Path
    mask: Path


def read(root: Path, split: str, year: int = 2007, **options: Unpack[Options]) -> Pictures:
    """Read the pictures of a split, each with the tags of the 20 classes.

    Args:
        root: the folder that holds `VOCdevkit/`, that folder, or the year's in it.
        split: "train", "val", "trainval" or "test" (of 2012 the organisers keep the test annotations).
        year: 2007 or 2012.
        options: those of `codial.data.listed.from_paths`; size is the central squares' side, 224 if None.

    Returns:
        The set, in the official order, without labels; tags [N, 20].

    Raises:
        CodialError: a file is missing or damaged, or not what it should be; it is named.
    """
    folder = locate(root, year)
    found = annotated(root, split, year)
    return from_paths(
        f"voc{year}",
        split,
        folder,
        [item.path.relative_to(folder).as_posix() for item in found],
        torch.full((len(found),), -1),
        CLASSES,
        tags=torch.stack([item.tags for item in found]),
        side=SIDE,
        **options,
    )


def problems(root: Path, split: str, year: int) -> list[str]:
    """Name what is missing of a split: its list, or pictures and annotations in it."""
    folder = locate(root, year)
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        names = _names(listed)
    except CodialError as error:
        return [str(error)]
    wanted = (path for name in names for path in (_picture(folder, name), folder / "Annotations" / f"{name}.xml"))
    return [f"{path} is missing" for path in wanted if not path.is_file()]


def annotated(root: Path, split: str, year: int = 2007) -> list[Annotated]:
    """Read the boxes of a split's pictures, in the official order; the arguments are those of `read`.

    Raises:
        CodialError: a file is missing or damaged, a class is unknown, a box is empty or outside its picture.
    """
    folder = locate(root, year)
    names = _names(folder / "ImageSets" / "Main" / f"{split}.txt")
    return [_annotated(folder, name) for name in tqdm(names, desc="annotations", delay=2, leave=False)]


def segmented(root: Path, split: str, year: int = 2012) -> list[Segmented]:
    """List a split's pictures that have a mask, in the official order; the arguments are those of `read`.

    Raises:
        CodialError: a file is missing.
    """
    folder = locate(root, year)
    names = _names(folder / "ImageSets" / "Segmentation" / f"{split}.txt")
    masks = (folder / "SegmentationClass" / f"{name}.png" for name in names)
    return [Segmented(_there(_picture(folder, n)), _there(mask)) for n, mask in zip(names, masks, strict=True)]


def pixels(path: Path) -> Tensor:
    """Return a picture at its own size, [3, H, W] uint8.

    Raises:
        CodialError: it does not decode.
    """
    return torch.from_numpy(np.array(_opened(path).convert("RGB"))).permute(2, 0, 1).contiguous()


def masked(item: Segmented) -> tuple[Tensor, Tensor]:
    """Return a picture, [3, H, W] uint8, and its mask, [H, W] uint8: 0 background, 1 to 20 the classes, 255 ignored.

    Raises:
        CodialError: one does not decode, their sizes differ, or the mask holds other values.
    """
    picture, image = pixels(item.path), _opened(item.mask)
    if image.mode not in ("P", "L"):
        raise CodialError(f"{item.mask} is of mode {image.mode}; expected a mask of class numbers (mode P).")
    mask = torch.from_numpy(np.array(image))
    if mask.shape != picture.shape[1:]:
        got, expected = (f"{shape[1]} x {shape[0]}" for shape in (mask.shape, picture.shape[1:]))
        raise CodialError(f"{item.mask} is {got} pixels; its picture {item.path.name} is {expected}.")
    wrong = mask[(mask > len(CLASSES)) & (mask != IGNORED)]
    if wrong.numel():
        raise CodialError(f"{item.mask} holds the value {int(wrong[0])}; expected 0 to {len(CLASSES)}, and {IGNORED}.")
    return picture, mask


def locate(root: Path, year: int) -> Path:
    """Return the year's folder: `root` itself, or below it, or below `VOCdevkit/` below it.

    Raises:
        CodialError: the year is neither 2007 nor 2012.
    """
    if year not in YEARS:
        raise CodialError(f"year is {year!r}; expected one of: {', '.join(map(str, YEARS))}.")
    name = f"VOC{year}"
    for folder in (root, root / name):
        if folder.name == name and (folder / "ImageSets").is_dir():
            return folder
    return root / "VOCdevkit" / name


def status(root: Path, year: int) -> str:
    """Say in one line whether the set is there, and which splits."""
    folder = locate(root, year)
    splits = [split for split in SPLITS if (folder / "ImageSets" / "Main" / f"{split}.txt").is_file()]
    return f"present in {folder}: {', '.join(splits)}" if splits else f"missing in {folder}; {_get(year)}"


def _get(year: int) -> str:
    return f"unpack the archives of VOC{year} so that this folder is there, or say where it is (CODIAL_DATA)."


def _names(path: Path) -> list[str]:
    """Read the pictures' names of a split, the first word of each line."""
    if not path.is_file():
        year = path.parents[2].name.removeprefix("VOC")
        raise CodialError(f"No VOC{year} split {path.stem!r}: {path} does not exist; {_get(int(year))}")
    names = [line.split()[0] for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    if not names:
        raise CodialError(f"{path} is empty; expected the name of a picture a line.")
    return names


def _picture(folder: Path, name: str) -> Path:
    return folder / "JPEGImages" / f"{name}.jpg"


def _there(path: Path) -> Path:
    if not path.is_file():
        raise CodialError(f"{path} does not exist, but its split names it; unpack the archive again.")
    return path


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            image.load()
            return image
    except Exception as error:  # on damaged bytes a decoder may raise anything
        raise CodialError(f"{path} does not decode: {error}; unpack the archive again.") from error


def _size(path: Path) -> tuple[int, int]:
    """Return height and width from the picture's own head: those that annotations state are not always right."""
    try:
        with Image.open(_there(path), formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise CodialError(f"{path} does not decode: {error}; unpack the archive again.") from error


def _annotated(folder: Path, name: str) -> Annotated:
    path, picture = _there(folder / "Annotations" / f"{name}.xml"), _picture(folder, name)
    size = _size(picture)
    found = list(_objects(path, size))
    boxes = torch.tensor([box for _, box, _ in found], dtype=torch.float32).view(-1, 4)
    labels = torch.tensor([label for label, _, _ in found], dtype=torch.int64)
    return Annotated(picture, size, boxes, labels, torch.tensor([hard for _, _, hard in found], dtype=torch.bool))


def _objects(path: Path, size: tuple[int, int]) -> Iterator[tuple[int, list[float], bool]]:
    """Yield class, box and whether it is difficult; a body's parts, which lie within an object, are left out."""
    for element in _parsed(path).findall("object"):
        name = element.findtext("name", "").strip()
        if name not in _NUMBER:
            raise CodialError(f"{path} names a class {name!r}; expected one of: {', '.join(CLASSES)}.")
        yield _NUMBER[name], _box(element, size, path), element.findtext("difficult", "0").strip() == "1"


def _box(element: Element, size: tuple[int, int], path: Path) -> list[float]:
    """Turn a box in pixels from 1, its ends within it, into one from 0 with exclusive ends.

    Up to a pixel beyond the edge is cut off: some of 2012's boxes are fractional.
    """
    try:
        numbers = [float(element.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError as error:
        raise CodialError(f"{path} has an object without the four numbers of a box ({error}).") from error
    left, top, right, bottom = numbers[0] - 1, numbers[1] - 1, numbers[2], numbers[3]
    height, width = size
    if not (left < right and top < bottom):
        raise CodialError(f"{path} has an empty box {numbers} (xmin, ymin, xmax, ymax).")
    if min(left, top, width - right, height - bottom) < -1:
        raise CodialError(f"{path} has a box {numbers} outside its picture of {width} x {height} pixels.")
    return [max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))]


class _NoDoctype(TreeBuilder):
    """Builds a tree from XML without declarations, where entities could be made to grow without bounds."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise CodialError("it declares a DOCTYPE, which no annotation needs")


def _parsed(path: Path) -> Element:
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except (ParseError, CodialError, LookupError, ValueError) as error:
        raise CodialError(f"{path} cannot be read: {error}; unpack the archive again.") from error
