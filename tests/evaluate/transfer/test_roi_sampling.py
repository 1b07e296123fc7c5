"""Sampling of training boxes and encoding of their offsets."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from codial.evaluate.transfer.roi_sampling import OFFSET_STD, decode, encode, sample


def some_boxes(count, generator):
    corner = 100 * torch.rand(count, 2, generator=generator)
    return torch.cat((corner, corner + 5 + 60 * torch.rand(count, 2, generator=generator)), 1)


def test_offsets_match_torchvision(generator):
    boxes, objects = some_boxes(50, generator), some_boxes(50, generator)
    coder = BoxCoder(tuple(1 / std for std in OFFSET_STD))
    torch.testing.assert_close(encode(boxes, objects), coder.encode_single(objects, boxes))
    offsets = torch.randn(50, 4, generator=generator)
    torch.testing.assert_close(decode(boxes, offsets), coder.decode_single(offsets, boxes))


def test_decode_inverts_encode(generator):
    boxes, objects = some_boxes(50, generator), some_boxes(50, generator)
    torch.testing.assert_close(decode(boxes, encode(boxes, objects)), objects, atol=1e-3, rtol=1e-5)


def test_hand_computed_offsets():
    box, moved = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[1.0, 0, 11, 40]])
    wanted = torch.tensor([[0.1, 0.5, 0, 2.0]]).where(torch.tensor([True, True, True, False]), torch.tensor(2.0).log())
    torch.testing.assert_close(encode(box, moved), wanted / torch.tensor(OFFSET_STD))


def test_boxes_are_sampled_by_iou(generator):
    objects = torch.tensor([[0.0, 0, 100, 100], [200, 0, 300, 100]])
    proposals = torch.tensor(
        [
            [0.0, 0, 100, 50],  # half of the first object: foreground
            [0, 0, 100, 49],  # just less: background
            [210, 0, 300, 100],  # most of the second
            [0, 0, 10, 100],  # a tenth: background
            [0, 0, 9, 100],  # less: neither
            [400, 400, 500, 500],  # nothing: neither
        ]
    )
    drawn = sample(proposals, objects, torch.tensor([3, 7]), torch.zeros(2, dtype=torch.bool), 40, generator)
    got = {tuple(box): label for box, label in zip(drawn.boxes.tolist(), drawn.labels.tolist(), strict=True)}
    assert got == {
        (0, 0, 100, 100): 4,
        (200, 0, 300, 100): 8,
        (0, 0, 100, 50): 4,
        (210, 0, 300, 100): 8,
        (0, 0, 100, 49): 0,
        (0, 0, 10, 100): 0,
    }
    front = drawn.labels > 0
    found = decode(drawn.boxes[front], drawn.offsets[front])
    torch.testing.assert_close(found, objects[(drawn.labels[front] == 8).long()], atol=1e-3, rtol=0)
    assert not drawn.offsets[~front].any()


def test_a_quarter_of_boxes_is_foreground(generator):
    objects = torch.tensor([[0.0, 0, 100, 100]])
    near = torch.rand(100, 4, generator=generator) + objects
    half = torch.tensor([[0.0, 0, 100, 30]]) + torch.rand(100, 4, generator=generator)
    drawn = sample(torch.cat((near, half)), objects, torch.tensor([0]), torch.tensor([False]), 64, generator)
    assert drawn.labels.bincount().tolist() == [48, 16]
    again = [
        sample(half, objects, torch.tensor([0]), torch.tensor([False]), 8, torch.Generator().manual_seed(s)).boxes
        for s in (1, 1, 2)
    ]
    assert torch.equal(again[0], again[1])
    assert not torch.equal(again[0], again[2])


@pytest.mark.parametrize("hard", [True, False])
def test_difficult_objects_are_ignored(hard, generator):
    objects = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 40]])
    difficult = torch.tensor([False, hard])
    drawn = sample(objects[1:] + 0.5, objects, torch.tensor([1, 2]), difficult, 40, generator)
    assert sorted(drawn.labels.tolist()) == ([2] if hard else [2, 3, 3])
