"""Synthetic scenes: readable as VOC, with exact boxes and masks."""

import numpy as np
import pytest
import torch

from codial.data.datasets import voc, voc_scenes
from codial.data.datasets.voc_scenes import FOREGROUNDS, SIZE, make_scenes

COUNTS = {"train": 4, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes"), COUNTS)


def test_they_are_read_as_voc(root):
    for split, count in (COUNTS | {"trainval": 6}).items():
        assert len(voc.read_annotations(root, split)) == count
    assert len(voc.list_segmented(root, "train")) == 6
    assert len(voc.list_segmented(root, "val")) == 3
    images = voc.read(root, "test")
    assert len(images) == 3
    assert bool((images.tags.sum(1) >= 1).all())


def test_boxes_contain_their_masks_and_all_of_them(root):
    """The bounding box of an object's pixels, with its ignored border, is the annotated box."""
    for item, mask in zip(voc.read_annotations(root, "test"), voc.list_segmented(root, "val"), strict=True):
        assert item.size == SIZE
        _, pixels = voc.read_image_and_mask(mask)
        in_boxes = torch.zeros_like(pixels, dtype=torch.bool)
        for box, label in zip(item.boxes.int().tolist(), item.labels.tolist(), strict=True):
            left, top, right, bottom = box
            inside = pixels[top:bottom, left:right]
            in_boxes[top:bottom, left:right] = True
            rows, columns = (inside > 0).nonzero().unbind(1)
            assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, bottom - top - 1, 0, right - left - 1)
            values = set(inside.unique().tolist()) - {0, voc.IGNORE_INDEX}
            assert values == {label + 1}
        assert not pixels[~in_boxes].any()
        assert {voc.CLASSES[label] for label in item.labels.tolist()} <= set(FOREGROUNDS.values())


def test_the_seed_determines_the_files(root, tmp_path):
    again, other = make_scenes(tmp_path / "again", COUNTS), make_scenes(tmp_path / "other", COUNTS, seed=1)
    for path in sorted((root / "VOCdevkit").rglob("*.*")):
        assert (again / path.relative_to(root)).read_bytes() == path.read_bytes()
    images = [voc.read_pixels(item.path).numpy() for r in (root, other) for item in voc.read_annotations(r, "test")[:1]]
    assert not np.array_equal(*images)


def test_test_scenes_consist_of_test_patches(monkeypatch, tmp_path, root):
    """They stay the same when the training patches are replaced, training scenes do not."""
    read = voc_scenes.photos.read
    monkeypatch.setattr(voc_scenes.photos, "read", lambda folder, _: read(folder, "test"))
    other = make_scenes(tmp_path, COUNTS)
    for split, same in (("train", False), ("test", True)):
        pairs = zip(voc.read_annotations(root, split), voc.read_annotations(other, split), strict=True)
        assert all(torch.equal(voc.read_pixels(a.path), voc.read_pixels(b.path)) == same for a, b in pairs)
