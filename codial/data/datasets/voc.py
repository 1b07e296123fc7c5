"""PASCAL VOC in the layout of its development kit, `VOCdevkit/VOC2007` and `VOCdevkit/VOC2012`: tags, boxes, masks.

JPEGImages/ID.jpg, Annotations/ID.xml, ImageSets/Main/SPLIT.txt, and for segmentation ImageSets/Segmentation/SPLIT.txt
and SegmentationClass/ID.png. Boxes and masks refer to the pixels as stored, so EXIF orientations are not applied.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codial.data.base import Dataset
from codial.data.catalog import find_entry
from codial.data.file_list import LoadOptions, from_paths
from codial.errors import CodialError
from codial.utils.progress import progress_bar

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
DEFAULT_SIZE = 224  # pixels, of the central squares that `read` returns
IGNORE_INDEX = 255  # in masks: object borders and unclear pixels

_LABEL_OF = {name: label for label, name in enumerate(CLASSES)}
_IMAGE_ENDINGS = (".jpg", ".JPG", ".jpeg", ".JPEG", ".png", ".PNG")
_ROUNDING = 1  # pixels that a box may be outside its image without a warning: some boxes of 2012 are fractional


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image file and its boxes.

    Attributes:
        path: The image file.
        size: Height and width in pixels.
        boxes: [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.
        labels: [n] int64, indices into `CLASSES`.
        difficult: [n] bool; such an object is neither used in training nor evaluated.
    """

    path: Path
    size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    difficult: Tensor

    @property
    def tags(self) -> Tensor:
        """[20] int8: 1 if the class is present, 0 if it is not, -1 if only difficult objects of it are."""
        tags = torch.zeros(len(CLASSES), dtype=torch.int8)
        tags[self.labels[self.difficult]] = -1
        tags[self.labels[~self.difficult]] = 1
        return tags


@dataclass(frozen=True)
class SegmentedImage:
    """An image file and its mask file."""

    path: Path
    mask: Path


def read(root: Path, split: str, year: int = 2007, **options: Unpack[LoadOptions]) -> Dataset:
    """Read the images of a split with the tags of the 20 classes.

    Args:
        root: The folder that contains `VOCdevkit/`, that folder, or the year's folder in it.
        split: "train", "val", "trainval" or "test" (the test annotations of 2012 are unpublished).
        year: 2007 or 2012.
        options: Those of `codial.data.file_list.from_paths`; `size` is 224 by default.

    Returns:
        The data set in the official order, without labels; tags [N, 20].

    Raises:
        CodialError: A file is missing, damaged or invalid; the message names it.
    """
    folder = locate(root, year)
    items = read_annotations(root, split, year)
    paths = [item.path.relative_to(folder).as_posix() for item in items]
    labels = torch.full((len(items),), -1)
    tags = torch.stack([item.tags for item in items])
    return from_paths(
        f"voc{year}", split, folder, paths, labels, CLASSES, tags=tags, default_size=DEFAULT_SIZE, **options
    )


def problems(root: Path, split: str, year: int) -> list[str]:
    """List what is missing in a split: its list, or images and annotations that it names."""
    folder = locate(root, year)
    try:
        names = _read_names(folder / "ImageSets" / "Main" / f"{split}.txt")
    except CodialError as error:
        return [str(error)]
    required = (path for name in names for path in (_image(folder, name), _annotation(folder, name)))
    return [f"{path} is missing" for path in required if not path.is_file()]


def read_annotations(root: Path, split: str, year: int = 2007) -> list[AnnotatedImage]:
    """Read the boxes of the images of a split, in the official order; the arguments are those of `read`.

    Raises:
        CodialError: A file is missing or damaged, a class is unknown, or a box is empty or completely outside its
            image. One that is partly outside is clipped, with a warning.
    """
    folder = locate(root, year)
    names = _read_names(folder / "ImageSets" / "Main" / f"{split}.txt")
    clipped: list[str] = []
    items = [_read_annotation(folder, name, clipped) for name in progress_bar(names, desc="annotations")]
    if clipped:
        warnings.warn(f"{len(clipped)} boxes are clipped to their images; the first: {clipped[0]}", stacklevel=2)
    return items


def list_segmented(root: Path, split: str, year: int = 2012) -> list[SegmentedImage]:
    """List the images of a split that have a mask, in the official order; the arguments are those of `read`.

    Raises:
        CodialError: A file is missing.
    """
    folder = locate(root, year)
    names = _read_names(folder / "ImageSets" / "Segmentation" / f"{split}.txt")
    paths = [_require_file(_image(folder, name)) for name in names]
    masks = [_require_file(_mask(folder, name)) for name in names]
    return [SegmentedImage(path, mask) for path, mask in zip(paths, masks, strict=True)]


def read_pixels(path: Path) -> Tensor:
    """Return an image at its own size, [3, H, W] uint8.

    Raises:
        CodialError: It cannot be decoded.
    """
    return torch.from_numpy(np.array(_decode(path).convert("RGB"))).permute(2, 0, 1).contiguous()


def read_image_and_mask(item: SegmentedImage) -> tuple[Tensor, Tensor]:
    """Return an image, [3, H, W] uint8, and its mask, [H, W] uint8: 0 background, 1 to 20 classes, 255 ignored.

    Raises:
        CodialError: One of them cannot be decoded, their sizes differ, or the mask has other values.
    """
    image = read_pixels(item.path)
    mask_image = _decode(item.mask)
    if mask_image.mode not in ("P", "L"):
        raise CodialError(f"{item.mask} is of mode {mask_image.mode}; expected a mask of class numbers (mode P).")
    mask = torch.from_numpy(np.array(mask_image))
    if mask.shape != image.shape[1:]:
        actual, expected = (f"{shape[1]} x {shape[0]}" for shape in (mask.shape, image.shape[1:]))
        raise CodialError(f"{item.mask} is {actual} pixels; its image {item.path.name} is {expected}.")
    invalid = mask[(mask > len(CLASSES)) & (mask != IGNORE_INDEX)]
    if invalid.numel():
        raise CodialError(
            f"{item.mask} has the value {int(invalid[0])}; expected 0 to {len(CLASSES)}, and {IGNORE_INDEX}."
        )
    return image, mask


def locate(root: Path, year: int) -> Path:
    """Return the folder of a year: `root` itself, or below it, or below `VOCdevkit/` in it.

    Raises:
        CodialError: The year is neither 2007 nor 2012.
    """
    if year not in YEARS:
        raise CodialError(f"year is {year!r}; expected one of: {', '.join(map(str, YEARS))}.")
    return find_entry(f"voc{year}").locate(root)


def _read_names(path: Path) -> list[str]:
    """Return the names of the images of a split, the first word of each line."""
    if not path.is_file():
        year = path.parents[2].name.removeprefix("VOC")
        raise CodialError(
            f"No split {path.stem!r} of VOC{year}: {path} does not exist; get it with `codial data get voc{year}`, or"
            " set CODIAL_DATA to the folder that contains VOCdevkit."
        )
    names = [line.split()[0] for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    if not names:
        raise CodialError(f"{path} is empty; expected the name of an image per line.")
    return names


def _image(folder: Path, name: str) -> Path:
    return _find(folder / "JPEGImages", name, _IMAGE_ENDINGS)


def _annotation(folder: Path, name: str) -> Path:
    return _find(folder / "Annotations", name, (".xml", ".XML"))


def _mask(folder: Path, name: str) -> Path:
    return _find(folder / "SegmentationClass", name, (".png", ".PNG"))


def _find(folder: Path, name: str, endings: tuple[str, ...]) -> Path:
    """Return the file of an image in whichever case it is written; the official name if there is none."""
    official = folder / f"{name}{endings[0]}"
    if found := next((path for path in (folder / f"{name}{ending}" for ending in endings) if path.is_file()), None):
        return found
    wanted = {f"{name}{ending}".casefold() for ending in endings}
    others = folder.iterdir() if folder.is_dir() else ()
    return next((path for path in others if path.name.casefold() in wanted), official)


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise CodialError(f"{path} does not exist, but its split names it; unpack the archive again.")
    return path


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            image.load()
            return image
    except Exception as error:  # decoders may raise anything on damaged data
        raise CodialError(f"{path} cannot be decoded: {error}; unpack the archive again.") from error


def _image_size(path: Path) -> tuple[int, int]:
    """Return height and width from the header of the image; those in annotations are not always right."""
    try:
        with Image.open(_require_file(path), formats=("JPEG", "PNG")) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise CodialError(f"{path} cannot be decoded: {error}; unpack the archive again.") from error


def _read_annotation(folder: Path, name: str, clipped: list[str]) -> AnnotatedImage:
    path = _require_file(_annotation(folder, name))
    image = _image(folder, name)
    size = _image_size(image)
    objects = list(_objects(path, size, clipped))
    boxes = torch.tensor([box for _, box, _ in objects], dtype=torch.float32).view(-1, 4)
    labels = torch.tensor([label for label, _, _ in objects], dtype=torch.int64)
    difficult = torch.tensor([difficult for _, _, difficult in objects], dtype=torch.bool)
    return AnnotatedImage(image, size, boxes, labels, difficult)


def _objects(path: Path, size: tuple[int, int], clipped: list[str]) -> Iterator[tuple[int, list[float], bool]]:
    """Yield label, box and difficulty of each object; body parts, which are nested in objects, are not read."""
    for element in _parse(path).findall("object"):
        name = element.findtext("name", "").strip().lower()
        if name not in _LABEL_OF:
            raise CodialError(f"{path} has a class {name!r}; expected one of: {', '.join(CLASSES)}.")
        yield _LABEL_OF[name], _box(element, size, path, clipped), element.findtext("difficult", "0").strip() == "1"


def _box(element: Element, size: tuple[int, int], path: Path, clipped: list[str]) -> list[float]:
    """Convert a box in pixels from 1 with inclusive ends to one from 0 with exclusive ends, clipped to its image.

    Boxes that are clipped by more than rounding are added to `clipped`.
    """
    try:
        numbers = [float(element.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError as error:
        raise CodialError(f"{path} has an object without the four numbers of a box ({error}).") from error
    left, top, right, bottom = numbers[0] - 1, numbers[1] - 1, numbers[2], numbers[3]
    height, width = size
    text = f"{path} has a box {numbers} (xmin, ymin, xmax, ymax)"
    if right <= left or bottom <= top:
        axis = "x" if right <= left else "y"
        mend = f"{axis}min is larger than {axis}max; if the corners are swapped, exchange them"
        raise CodialError(f"{text} that is empty: {mend}.")
    if not (left < width and top < height and right > 0 and bottom > 0):  # also NaN
        raise CodialError(f"{text} outside its image of {width} x {height} pixels; correct or remove it.")
    if min(left, top, width - right, height - bottom) < -_ROUNDING:
        clipped.append(f"{text} in an image of {width} x {height} pixels")
    return [max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))]


class _NoDoctype(TreeBuilder):
    """Refuses XML declarations, whose entities could expand without bounds."""

    def doctype(self, name: str, pubid: str | None, method: str | None) -> None:
        raise CodialError("it declares a DOCTYPE, which annotations do not have")


def _parse(path: Path) -> Element:
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except (ParseError, CodialError, LookupError, ValueError) as error:
        raise CodialError(f"{path} cannot be read: {error}; unpack the archive again.") from error
