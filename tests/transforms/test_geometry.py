import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from codial.errors import CodialError
from codial.transforms import plain_view, rotate


@pytest.mark.parametrize("k", range(-5, 9))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_rotate_equals_rot90_exactly(k, dtype, photos):
    images = photos["test"].batch(range(3)).to(dtype)
    assert torch.equal(rotate(images, k), torch.rot90(images, k, (-2, -1)))


def test_each_image_can_have_another_rotation(photos):
    k = torch.tensor([3, 0, -1, 2, 1, 6, 0, 1])
    images = photos["test"].batch(range(8))
    expected = torch.stack([torch.rot90(image, n, (-2, -1)) for image, n in zip(images, k.tolist(), strict=True)])
    assert torch.equal(rotate(images, k), expected)


def test_rotations_are_counter_clockwise():
    """The top right pixel moves to the top left."""
    image = torch.tensor([[1, 2], [3, 4]]).expand(1, 3, 2, 2)
    assert rotate(image, 1)[0, 0].tolist() == [[2, 4], [1, 3]]
    assert rotate(image, 2)[0, 0].tolist() == [[4, 3], [2, 1]]
    assert rotate(image, 3)[0, 0].tolist() == [[3, 1], [4, 2]]


def test_rotations_add_up_and_the_input_is_unchanged(photos):
    images = photos["test"].batch(range(2))
    before = images.clone()
    assert torch.equal(rotate(rotate(images, 1), 3), images)
    assert torch.equal(images, before)
    assert rotate(images, 0).data_ptr() != images.data_ptr()


@pytest.mark.parametrize(
    ("shape", "k", "message"),
    [
        ((2, 3, 16, 20), 1, r"^Images are \[2, 3, 16, 20\]; expected square ones, \[B, 3, S, S\]"),
        ((3, 16, 16), 1, r"^Images are \[3, 16, 16\]; expected square ones"),
        ((2, 3, 16, 16), 1.5, r"^k is torch.float32 \[\]; expected an integer"),
        ((2, 3, 16, 16), torch.tensor([1, 2, 3]), r"^k is torch.int64 \[3\]; .* one integer for each of 2"),
    ],
)
def test_invalid_arguments_of_rotate_are_refused(shape, k, message):
    with pytest.raises(CodialError, match=message):
        rotate(torch.zeros(shape), k)


@pytest.mark.parametrize("size", [16, 33, 64, 96])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 48), (40, 64)])
def test_a_plain_view_equals_torchvisions_center_crop_and_resize(size, height, width, photos):
    images = photos["test"].batch(range(4))[:, :, :height, :width]
    square = tv.center_crop(images, [min(height, width)] * 2).float() / 255
    expected = tv.resize(square, [size, size], InterpolationMode.BILINEAR, antialias=True).clamp(0, 1)
    got = plain_view(images, size)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
    for dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(plain_view(images.to(dtype) / 255, size), got, atol=1e-5, rtol=0)


def test_a_plain_view_does_not_change_the_images(photos):
    images = photos["test"].batch(range(2))
    before = images.clone()
    plain_view(images, 64).zero_()
    assert torch.equal(images, before)
