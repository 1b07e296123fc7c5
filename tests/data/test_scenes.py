"""Scenes of the bundled photographs: as VOC's readers want them, and true to what was pasted where."""

import numpy as np
import pytest
import torch

from codial.data import scenes, voc
from codial.data.scenes import MOTIFS, SIDES, make_scenes

COUNTS = {"train": 4, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("scenes"), COUNTS)


def test_the_readers_read_them(root):
    for split, count in (COUNTS | {"trainval": 6}).items():
        assert len(voc.annotated(root, split)) == count
    assert len(voc.segmented(root, "train")) == 6
    assert len(voc.segmented(root, "val")) == 3
    images = voc.read(root, "test")
    assert len(images) == 3
    assert bool((images.tags.sum(1) >= 1).all())


def test_boxes_hold_their_masks_and_nothing_else_is_marked(root):
    """The box of each class's pixels, grown by the ignored border, is the box that is written."""
    for item, mask in zip(voc.annotated(root, "test"), voc.segmented(root, "val"), strict=True):
        assert item.size == SIDES
        _, pixels = voc.masked(mask)
        marked = torch.zeros_like(pixels, dtype=torch.bool)
        for box, label in zip(item.boxes.int().tolist(), item.labels.tolist(), strict=True):
            left, top, right, bottom = box
            inside = pixels[top:bottom, left:right]
            marked[top:bottom, left:right] = True
            rows, columns = (inside > 0).nonzero().unbind(1)
            assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, bottom - top - 1, 0, right - left - 1)
            kinds = set(inside.unique().tolist()) - {0, voc.IGNORED}
            assert kinds == {label + 1}
        assert not pixels[~marked].any()
        assert {voc.CLASSES[label] for label in item.labels.tolist()} <= set(MOTIFS.values())


def test_the_same_seed_writes_the_same_bytes_and_another_others(root, tmp_path):
    again, other = make_scenes(tmp_path / "again", COUNTS), make_scenes(tmp_path / "other", COUNTS, seed=1)
    for path in sorted((root / "VOCdevkit").rglob("*.*")):  # the photographs may be kept beside it
        assert (again / path.relative_to(root)).read_bytes() == path.read_bytes()
    pictures = [voc.pixels(item.path).numpy() for r in (root, other) for item in voc.annotated(r, "test")[:1]]
    assert not np.array_equal(*pictures)


def test_test_scenes_are_made_of_test_patches_only(monkeypatch, tmp_path):
    asked = []
    read = scenes.photos.read
    monkeypatch.setattr(scenes.photos, "read", lambda root, split: asked.append(split) or read(root, split))
    make_scenes(tmp_path, COUNTS)
    assert asked == ["train", "train", "test"]
