"""Small scenes in PASCAL VOC's layout, made of the bundled photographs: for trying transfer without a download.

Parts of four photographs whose motif is one of VOC's classes (a cat, a motorbike, a potted plant, a person) lie as
ellipses on parts of the others. So boxes and masks are exact; what a part shows need not be the whole motif. Training
scenes are made of the photographs' training patches, test scenes of their test patches. Numbers on them say that the
programs run, and nothing about VOC.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

from codial.data import photos
from codial.data.images import ImageSet
from codial.data.voc import CLASSES, IGNORED

MOTIFS = {"cat": "cat", "motorcycle": "motorbike", "flower": "pottedplant", "astronaut": "person"}  # photograph, class
GROUNDS = ("coffee", "galaxies", "pagoda", "tissue")
SIDES = (120, 160)  # height and width in pixels
COUNTS = {"train": 24, "val": 12, "test": 24}
_BORDER = 2  # pixels around an object that masks ignore


class _Object(NamedTuple):
    label: str
    box: tuple[int, int, int, int]  # left, top, right, bottom, exclusive


def make_scenes(root: Path, counts: dict[str, int] | None = None, seed: int = 0) -> Path:
    """Write scenes as VOCdevkit/VOC2007 (train, val, test) and VOC2012 (train, val) below a folder.

    Args:
        root: the folder; what is there of an earlier call with the same arguments is written again, the same.
        counts: scenes of each split of 2007; 2012's train are those of train and val, its val those of test.
        seed: of parts and places.

    Returns:
        The folder, to be given as data root.

    Raises:
        CodialError: the photographs are not there.
    """
    counts = counts or COUNTS
    known = {split: photos.read(root, "test" if split == "test" else "train") for split in counts}
    names: dict[str, list[str]] = {}
    generator = np.random.default_rng(seed)
    for split, count in counts.items():
        names[split] = [f"{split}{number:04}" for number in range(count)]
        for name in names[split]:
            _write_scene(root, name, *_scene(known[split], generator))
    _write_lists(root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main", names | {"trainval": _both(names)})
    later = {"train": _both(names), "val": names["test"]}
    for kind in ("Main", "Segmentation"):
        _write_lists(root / "VOCdevkit" / "VOC2012" / "ImageSets" / kind, later)
    return root


def _both(names: dict[str, list[str]]) -> list[str]:
    return names["train"] + names["val"]


def _scene(images: ImageSet, generator: np.random.Generator) -> tuple[Image.Image, Image.Image, list[_Object]]:
    """Return a picture, its mask and its objects, one in each half or in one of them."""
    height, width = SIDES
    ground = _patch(images, str(generator.choice(GROUNDS)), generator).resize((width, height))
    mask = Image.new("L", ground.size, 0)
    objects = []
    halves = generator.permutation(2)[: generator.integers(1, 3)]
    for half in halves.tolist():
        motif = str(generator.choice(list(MOTIFS)))
        wide, high = (int(side) for side in generator.integers(40, 72, 2))
        left = half * width // 2 + int(generator.integers(0, width // 2 - wide + 1))
        top = int(generator.integers(0, height - high + 1))
        objects.append(_Object(MOTIFS[motif], (left, top, left + wide, top + high)))
        _paste(ground, mask, _patch(images, motif, generator).resize((wide, high)), objects[-1])
    return ground, mask, objects


def _paste(ground: Image.Image, mask: Image.Image, part: Image.Image, item: _Object) -> None:
    left, top, right, bottom = item.box
    ellipse = Image.new("L", part.size, 0)
    ImageDraw.Draw(ellipse).ellipse((0, 0, part.width - 1, part.height - 1), fill=255)
    ground.paste(part, (left, top), ellipse)
    number = CLASSES.index(item.label) + 1
    box = (left, top, right - 1, bottom - 1)
    ImageDraw.Draw(mask).ellipse(box, fill=number, outline=IGNORED, width=_BORDER)


def _patch(images: ImageSet, label: str, generator: np.random.Generator) -> Image.Image:
    places = (images.labels == images.classes.index(label)).nonzero().flatten()
    chosen = int(places[int(generator.integers(len(places)))])
    return Image.fromarray(images.images[chosen].permute(1, 2, 0).numpy())


def _write_scene(root: Path, name: str, picture: Image.Image, mask: Image.Image, objects: list[_Object]) -> None:
    for year in (2007, 2012):
        folder = root / "VOCdevkit" / f"VOC{year}"
        for part in ("JPEGImages", "Annotations", "SegmentationClass"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        picture.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        mask.save(folder / "SegmentationClass" / f"{name}.png")
        (folder / "Annotations" / f"{name}.xml").write_text("\n".join(_annotation(name, objects)))


def _annotation(name: str, objects: list[_Object]) -> Iterator[str]:
    height, width = SIDES
    yield f"<annotation><filename>{escape(name)}.jpg</filename>"
    yield f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    for label, (left, top, right, bottom) in objects:
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        numbers = "".join(f"<{key}>{value}</{key}>" for key, value in box.items())
        yield f"<object><name>{label}</name><difficult>0</difficult><bndbox>{numbers}</bndbox></object>"
    yield "</annotation>"


def _write_lists(folder: Path, names: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, chosen in names.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
