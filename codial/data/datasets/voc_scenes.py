"""Small synthetic scenes in PASCAL VOC's layout, made of the data set `photos`, to try transfer without a download.

Patches of four photographs whose content is one of VOC's classes (a cat, a motorbike, a potted plant, a person) are
pasted as ellipses on patches of the others. So boxes and masks are exact, but an ellipse need not show a complete
object. Training scenes consist of training patches, test scenes of test patches. Results on them show that the programs
run, and nothing about VOC.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image, ImageDraw

from codial.data.datasets import photos
from codial.data.datasets.voc import CLASSES, IGNORE_INDEX
from codial.data.in_memory import ImageSet
from codial.data.registry import data_root

FOREGROUNDS = {  # photograph -> class
    "cat": "cat",
    "motorcycle": "motorbike",
    "flower": "pottedplant",
    "astronaut": "person",
}
BACKGROUNDS = ("coffee", "galaxies", "pagoda", "tissue")
SIZE = (120, 160)  # height and width in pixels
COUNTS = {"train": 24, "val": 12, "test": 24}
_BORDER = 2  # width in pixels of the ignored border of an object


class _Object(NamedTuple):
    label: str
    box: tuple[int, int, int, int]  # left, top, right, bottom, exclusive


def make_scenes(root: Path, counts: dict[str, int] | None = None, seed: int = 0) -> Path:
    """Write scenes as VOCdevkit/VOC2007 (train, val, test) and VOC2012 (train, val) below a folder.

    Args:
        root: The folder; files of an earlier call are overwritten.
        counts: Number of scenes in each split of 2007; the train split of 2012 is train and val of 2007, its val split
            is test of 2007.
        seed: Seed of patches and positions.

    Returns:
        The folder, a data root.

    Raises:
        CodialError: The photographs are not available.
    """
    counts = counts or COUNTS
    patches = {split: photos.read(data_root(), split) for split in ("train", "test")}
    names: dict[str, list[str]] = {}
    generator = np.random.default_rng(seed)
    for split, count in counts.items():
        names[split] = [f"{split}{number:04}" for number in range(count)]
        for name in names[split]:
            _write_scene(root, name, *_scene(patches["test" if split == "test" else "train"], generator))
    _write_lists(root / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main", names | {"trainval": _both(names)})
    later = {"train": _both(names), "val": names["test"]}
    for kind in ("Main", "Segmentation"):
        _write_lists(root / "VOCdevkit" / "VOC2012" / "ImageSets" / kind, later)
    return root


def _both(names: dict[str, list[str]]) -> list[str]:
    return names["train"] + names["val"]


def _scene(images: ImageSet, generator: np.random.Generator) -> tuple[Image.Image, Image.Image, list[_Object]]:
    """Return an image, its mask and its objects, one in each half or only in one."""
    height, width = SIZE
    scene = _patch(images, str(generator.choice(BACKGROUNDS)), generator).resize((width, height))
    mask = Image.new("L", scene.size, 0)
    objects = []
    halves = generator.permutation(2)[: generator.integers(1, 3)]
    for half in halves.tolist():
        photograph = str(generator.choice(list(FOREGROUNDS)))
        box_width, box_height = (int(side) for side in generator.integers(40, 72, 2))
        left = half * width // 2 + int(generator.integers(0, width // 2 - box_width + 1))
        top = int(generator.integers(0, height - box_height + 1))
        objects.append(_Object(FOREGROUNDS[photograph], (left, top, left + box_width, top + box_height)))
        _paste(scene, mask, _patch(images, photograph, generator).resize((box_width, box_height)), objects[-1])
    return scene, mask, objects


def _paste(scene: Image.Image, mask: Image.Image, patch: Image.Image, item: _Object) -> None:
    left, top, right, bottom = item.box
    ellipse = Image.new("L", patch.size, 0)
    ImageDraw.Draw(ellipse).ellipse((0, 0, patch.width - 1, patch.height - 1), fill=255)
    scene.paste(patch, (left, top), ellipse)
    label = CLASSES.index(item.label) + 1
    box = (left, top, right - 1, bottom - 1)
    ImageDraw.Draw(mask).ellipse(box, fill=label, outline=IGNORE_INDEX, width=_BORDER)


def _patch(images: ImageSet, label: str, generator: np.random.Generator) -> Image.Image:
    indices = (images.labels == images.classes.index(label)).nonzero().flatten()
    index = int(indices[int(generator.integers(len(indices)))])
    return Image.fromarray(images.images[index].permute(1, 2, 0).numpy())


def _write_scene(root: Path, name: str, image: Image.Image, mask: Image.Image, objects: list[_Object]) -> None:
    for year in (2007, 2012):
        folder = root / "VOCdevkit" / f"VOC{year}"
        for part in ("JPEGImages", "Annotations", "SegmentationClass"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        image.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        mask.save(folder / "SegmentationClass" / f"{name}.png")
        (folder / "Annotations" / f"{name}.xml").write_text("\n".join(_annotation(name, objects)))


def _annotation(name: str, objects: list[_Object]) -> Iterator[str]:
    height, width = SIZE
    yield f"<annotation><filename>{escape(name)}.jpg</filename>"
    yield f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    for label, (left, top, right, bottom) in objects:
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        numbers = "".join(f"<{key}>{value}</{key}>" for key, value in box.items())
        yield f"<object><name>{label}</name><difficult>0</difficult><bndbox>{numbers}</bndbox></object>"
    yield "</annotation>"


def _write_lists(folder: Path, names: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, scenes in names.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in scenes))
