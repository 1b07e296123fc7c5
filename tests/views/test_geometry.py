import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from codial.errors import CodialError
from codial.views import plain_view, rotate


@pytest.mark.parametrize("turns", range(-5, 9))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_quarter_turns_are_torchs_exactly(turns, dtype, photos):
    pictures = photos["test"].batch(range(3)).to(dtype)
    assert torch.equal(rotate(pictures, turns), torch.rot90(pictures, turns, (-2, -1)))


def test_each_picture_has_its_own_turns(photos):
    turns = torch.tensor([3, 0, -1, 2, 1, 6, 0, 1])
    pictures = photos["test"].batch(range(8))
    expected = torch.stack([torch.rot90(p, k, (-2, -1)) for p, k in zip(pictures, turns.tolist(), strict=True)])
    assert torch.equal(rotate(pictures, turns), expected)


def test_a_quarter_turn_is_counter_clockwise():
    """What was at the top right comes to the top left."""
    picture = torch.tensor([[1, 2], [3, 4]]).expand(1, 3, 2, 2)
    assert rotate(picture, 1)[0, 0].tolist() == [[2, 4], [1, 3]]
    assert rotate(picture, 2)[0, 0].tolist() == [[4, 3], [2, 1]]
    assert rotate(picture, 3)[0, 0].tolist() == [[3, 1], [4, 2]]


def test_turns_add_up_and_leave_the_original(photos):
    pictures = photos["test"].batch(range(2))
    before = pictures.clone()
    turned = rotate(rotate(pictures, 1), 3)
    assert torch.equal(turned, pictures)
    assert torch.equal(pictures, before)
    assert rotate(pictures, 0).data_ptr() != pictures.data_ptr()


@pytest.mark.parametrize(
    ("shape", "turns", "message"),
    [
        ((2, 3, 16, 20), 1, r"^Pictures are \[2, 3, 16, 20\]; a quarter turn takes square ones, \[B, 3, S, S\]"),
        ((3, 16, 16), 1, r"^Pictures are \[3, 16, 16\]; a quarter turn"),
        ((2, 3, 16, 16), 1.5, r"^Quarter turns are torch.float32 \[\]; expected one whole number"),
        ((2, 3, 16, 16), torch.tensor([1, 2, 3]), r"^Quarter turns are torch.int64 \[3\]; .* one for each of 2"),
    ],
)
def test_a_wrong_argument_is_named(shape, turns, message):
    with pytest.raises(CodialError, match=message):
        rotate(torch.zeros(shape), turns)


@pytest.mark.parametrize("size", [16, 33, 64, 96])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 48), (40, 64)])
def test_a_plain_view_is_torchvisions_middle_square_resized(size, height, width, photos):
    pictures = photos["test"].batch(range(4))[:, :, :height, :width]
    square = tv.center_crop(pictures, [min(height, width)] * 2).float() / 255
    expected = tv.resize(square, [size, size], InterpolationMode.BILINEAR, antialias=True).clamp(0, 1)
    got = plain_view(pictures, size)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    for dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(plain_view(pictures.to(dtype) / 255, size), got, atol=1e-5, rtol=0)


def test_a_plain_view_leaves_the_pictures(photos):
    pictures = photos["test"].batch(range(2))
    before = pictures.clone()
    plain_view(pictures, 64).zero_()
    assert torch.equal(pictures, before)
