import hashlib

import numpy as np
import pytest
import torch

from codial.data import ImageSet
from codial.data.base import stratified_indices
from codial.errors import CodialError

SEED = 7
SIZES = (50, 30, 13, 7)  # images per class


def make(sizes=SIZES, classes=None):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))]
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 5)
    return ImageSet("made", "train", images, labels, classes or tuple("abcdefgh"[: len(sizes)]))


def test_length_and_repr():
    images = make()
    assert len(images) == 100
    assert repr(images) == "ImageSet(made/train: 100 images of 5 x 4, 4 classes)"
    bare = ImageSet("made", "all", images.images, torch.full((100,), -1), (), ("a.png: empty",))
    assert repr(bare) == "ImageSet(made/all: 100 images of 5 x 4, no labels, 1 skipped)"


def test_labeled_needs_a_label_on_every_image():
    images = make()
    assert images.labeled
    some = torch.where(images.labels == 0, -1, images.labels)
    assert not ImageSet("made", "train", images.images, some, images.classes).labeled
    assert not ImageSet("made", "train", images.images, torch.full((100,), -1), ()).labeled


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), "torch.float32"),
        (torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), r"\[2, 1, 4, 4\]"),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8).permute(0, 3, 1, 2), torch.zeros(2).long(), "contiguous"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3).long(), r"labels .*\[3\]"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2), "labels .*float32"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), "0 to 1"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, -2]), "-2 to 0"),
    ],
)
def test_wrong_tensors_are_refused(images, labels, message):
    with pytest.raises(CodialError, match=message):
        ImageSet("made", "train", images, labels, ("a",))


@pytest.mark.parametrize(
    "indices",
    [range(3), range(10, 2, -3), [5, 5, 99], [-1, -100], torch.tensor([4, 2], dtype=torch.uint8), np.array([3, 1]), []],
)
def test_batch_copies_the_requested_images(indices):
    images = make()
    batch = images.batch(indices)
    expected = images.images.numpy()[np.asarray(indices, dtype=np.int64)]
    assert batch.dtype == torch.uint8
    assert np.array_equal(batch.numpy(), expected)
    batch.fill_(200)
    assert int(images.images.max()) == 99


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 100], "0 to 99"),
        ([-101], "-101"),
        ([0.5], "whole numbers"),
        (torch.ones(100, dtype=torch.bool), "mask"),
        (torch.zeros(2, 2, dtype=torch.int64), "one dimension"),
        (3, "one dimension"),
        ("cat", "whole numbers"),
    ],
)
def test_batch_refuses_other_indices(indices, message):
    with pytest.raises(CodialError, match=message):
        make().batch(indices)


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 33, 64, 99])
def test_subset_is_stratified_and_keeps_the_order(limit):
    images = make()
    indices = stratified_indices(images.labels, limit, SEED)
    assert len(indices) == limit == len(set(indices.tolist()))
    assert indices.tolist() == sorted(indices.tolist())
    counts = torch.bincount(images.labels[indices], minlength=4).tolist()
    for count, size in zip(counts, SIZES, strict=True):
        assert abs(count - limit * size / 100) <= 0.6
    part = images.subset(limit, SEED)
    assert torch.equal(part.images[:, 0, 0, 0].long(), indices)
    assert torch.equal(part.labels, images.labels[indices])


def test_subset_depends_only_on_the_seed():
    images, state, numpy_state = make(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert torch.equal(images.subset(20, 1).images, images.subset(20, 1).images)
    assert not torch.equal(images.subset(20, 1).images, images.subset(20, 2).images)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_the_sample_is_the_same_on_every_machine():
    assert stratified_indices(torch.full((20,), -1), 6, seed=0).tolist() == [1, 2, 3, 11, 13, 15]


def test_every_image_is_equally_likely():
    count = torch.zeros(20)
    for seed in range(400):
        count[stratified_indices(torch.full((20,), -1), 5, seed)] += 1
    assert count.min() > 65  # 100 expected, standard deviation 8.7
    assert count.max() < 135


def test_a_limit_beyond_the_set_returns_the_set():
    images = make()
    assert images.subset(100) is images
    assert images.subset(10**9) is images


@pytest.mark.parametrize(("limit", "seed"), [(0, 0), (-1, 0), (1.5, 0), (True, 0), (5, -1), (5, "one")])
def test_subset_refuses_numbers_out_of_range(limit, seed):
    with pytest.raises(CodialError, match="expected a whole number of at least"):
        make().subset(limit, seed)


def test_fingerprint_is_the_documented_hash():
    images = make((2, 1), ("cat", "dög"))
    digest = hashlib.sha256(b"(3, 3, 4, 5)" + images.images.numpy().tobytes() + images.labels.numpy().tobytes())
    digest.update("cat\0dög".encode())
    assert images.fingerprint == digest.hexdigest()[:16]


def test_fingerprint_changes_only_with_the_content():
    images = make()
    same = ImageSet("other", "test", images.images.clone(), images.labels.clone(), images.classes, ("x: y",))
    assert same.fingerprint == images.fingerprint
    pixel, label = images.images.clone(), images.labels.clone()
    pixel[50, 1, 2, 3] += 1
    label[50] = (label[50] + 1) % 4
    others = [
        ImageSet("made", "train", pixel, images.labels, images.classes),
        ImageSet("made", "train", images.images, label, images.classes),
        ImageSet("made", "train", images.images, images.labels, ("a", "b", "c", "e")),
        ImageSet("made", "train", images.images.view(100, 3, 5, 4), images.labels, images.classes),
    ]
    assert len({images.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_fingerprint_is_computed_once(monkeypatch):
    images = make()
    first = images.fingerprint
    monkeypatch.setattr(hashlib, "sha256", None)
    assert images.fingerprint == first


def tagged(tags):
    images = torch.arange(len(tags), dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 5)
    return ImageSet("made", "train", images, torch.full((len(tags),), -1), ("red", "round"), tags=tags)


def test_subset_selects_tags_with_their_images():
    tags = torch.tensor([[1, 0], [0, -1], [1, 1], [0, 0]] * 5, dtype=torch.int8)
    images = tagged(tags)
    assert repr(images) == "ImageSet(made/train: 20 images of 5 x 4, 2 tags)"
    assert not images.labeled
    some = images.subset(6, seed=SEED)
    assert torch.equal(some.tags, tags[some.images[:, 0, 0, 0].long()])


def test_fingerprint_includes_the_tags():
    tags = torch.tensor([[1, 0], [0, 1]], dtype=torch.int8)
    flipped = tags.flip(0).contiguous()
    assert tagged(tags).fingerprint == tagged(tags.clone()).fingerprint != tagged(flipped).fingerprint


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (torch.zeros(2, 2), "torch.float32"),
        (torch.zeros(2, 3, dtype=torch.int8), r"\[2, 3\]; expected torch.int8 \[2, 2\]"),
        (torch.tensor([[1, 0], [2, 0]], dtype=torch.int8), "0 to 2"),
    ],
)
def test_wrong_tags_are_refused(tags, message):
    with pytest.raises(CodialError, match=message):
        tagged(tags)
