"""Object proposals by selective search."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from codial.data.datasets.voc import AnnotatedImage
from codial.errors import CodialError
from codial.evaluate.transfer import proposals
from codial.evaluate.transfer.proposals import ProposalConfig, propose, recall, selective_search

cv2 = pytest.importorskip("cv2")


def made_image(seed=0):
    """Return an image of four colored rectangles on a gray background, and their boxes."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(110, 130, (3, 120, 160), generator=generator, dtype=torch.uint8)
    boxes = torch.tensor([[10, 8, 50, 48], [70, 12, 140, 44], [20, 64, 60, 112], [90, 60, 130, 100]])
    for left, top, right, bottom in boxes.tolist():
        color = torch.randint(256, (3, 1, 1), generator=generator, dtype=torch.uint8)
        image[:, top:bottom, left:right] = color
    return image, boxes.float()


def saved(folder, seed=0):
    image, boxes = made_image(seed)
    path = folder / f"{seed}.png"
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return AnnotatedImage(path, (120, 160), boxes, torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool))


def test_selective_search_is_deterministic():
    image, _ = made_image()
    first = selective_search(image)
    cv2.setRNGSeed(99)
    assert torch.equal(first, selective_search(image))
    few = ProposalConfig(limit=5)
    assert len(first) > 5
    assert torch.equal(selective_search(image, few), selective_search(image, few))
    assert len(selective_search(image, few)) == 5


def test_proposals_cover_objects(tmp_path):
    items = [saved(tmp_path, seed) for seed in range(3)]
    boxes = propose(items)
    assert recall(items, boxes, 0.8) == 100
    assert recall(items, [each[:0] for each in boxes]) == 0
    assert recall(items[:1], [items[0].boxes[:1]]) == 25


def test_boxes_are_inside_the_image_and_small_ones_are_dropped(photos):
    image = photos["train"].batch([0])[0]
    every, large = (selective_search(image, ProposalConfig(min_side=side)) for side in (1, 20))
    sides = every[:, 2:] - every[:, :2]
    assert every.min() >= 0
    assert every.max() <= 64
    assert int((sides < 20).any(1).sum()) > 0
    assert torch.equal(large, every[(sides >= 20).all(1)])


def test_boxes_are_cached_and_damaged_files_computed_again(tmp_path, monkeypatch):
    items, folder = [saved(tmp_path, seed) for seed in range(3)], tmp_path / "kept"
    first = propose(items, folder)
    files = sorted(folder.iterdir())
    assert [f.suffix for f in files] == [".safetensors"] * 3
    whole = files[0].read_bytes()
    for broken in (b"", whole[:50], b"nothing"):
        files[0].write_bytes(broken)
        with pytest.warns(UserWarning, match=rf"{files[0].name} is damaged .*; its boxes are computed again"):
            again = propose(items, folder)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert files[0].read_bytes() == whole
    monkeypatch.setattr(proposals, "selective_search", None)  # nothing is computed again
    assert all(torch.equal(a, b) for a, b in zip(first, propose(items, folder), strict=True))


def test_cache_files_depend_on_image_and_settings(tmp_path):
    folder = tmp_path / "kept"
    item = saved(tmp_path)
    propose([item], folder)
    propose([item], folder, ProposalConfig(limit=5))
    saved(tmp_path, seed=1).path.replace(item.path)
    propose([item], folder)
    assert len(list(folder.iterdir())) == 3


def test_opencv_keeps_its_number_of_threads(tmp_path):
    threads = cv2.getNumThreads()
    propose([saved(tmp_path)])
    assert cv2.getNumThreads() == threads


@pytest.mark.parametrize("what", [None, type(sys)("cv2")])
def test_missing_contrib_modules_raise(what, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", what)
    with pytest.raises(CodialError, match=r"pip install opencv-contrib-python-headless \(and"):
        propose([], Path("nowhere"))


def test_invalid_settings_raise():
    with pytest.raises(CodialError, match="limit is 0; expected a whole number of at least 1"):
        ProposalConfig(limit=0)
