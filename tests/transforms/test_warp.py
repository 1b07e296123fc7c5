import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from codial.errors import CodialError
from codial.transforms import control_points, warp, warp_flow

MAX_OFFSET = 0.1  # of the side, as in the paper


def offsets_for(count, size, generator):
    return (2 * torch.rand(count, 16, 2, generator=generator) - 1) * MAX_OFFSET * size


def pixels(size):
    """[size * size, 2] (x, y), row by row."""
    y, x = np.mgrid[:size, :size]
    return np.stack((x, y), -1).reshape(-1, 2).astype(float)


def scipy_flow(points, offsets, size):
    """[size, size, 2], by SciPy's thin-plate spline with an affine part, exact at the points."""
    spline = RBFInterpolator(points, offsets, kernel="thin_plate_spline", degree=1, smoothing=0)
    return spline(pixels(size)).reshape(size, size, 2)


def test_control_points_are_a_4_x_4_grid_with_corner_pixels():
    points = control_points(64)
    assert points.tolist() == [[x, y] for y in (0, 21, 42, 63) for x in (0, 21, 42, 63)]


@pytest.mark.parametrize("size", [17, 32, 64])
def test_flow_on_the_grid_equals_scipys_thin_plate_spline(size, generator):
    offsets = offsets_for(4, size, generator)
    flow = warp_flow(offsets, size)
    for got, given in zip(flow, offsets, strict=True):
        expected = scipy_flow(control_points(size).numpy(), given.double().numpy(), size)
        assert np.abs(got.numpy() - expected).max() < 1e-4  # pixels; 2e-6 measured


@pytest.mark.parametrize("size", [17, 64])
def test_flow_for_random_points_equals_scipys_thin_plate_spline(size, generator):
    offsets = offsets_for(4, size, generator)
    points = torch.rand(4, 16, 2, generator=generator) * (size - 1)
    flow = warp_flow(offsets, size, points)
    for got, given, at in zip(flow, offsets, points, strict=True):
        expected = scipy_flow(at.double().numpy(), given.double().numpy(), size)
        assert np.abs(got.numpy() - expected).max() < 1e-4  # 2e-5 measured, where displacements reach 90 pixels


def test_the_flow_at_a_control_point_is_its_offset(generator):
    offsets = offsets_for(2, 64, generator)
    x, y = control_points(64).long().T
    torch.testing.assert_close(warp_flow(offsets, 64)[:, y, x], offsets, atol=1e-5, rtol=0)


def test_the_grid_is_the_default_of_the_control_points(generator):
    offsets = offsets_for(2, 32, generator)
    given = warp_flow(offsets, 32, control_points(32).expand(2, 16, 2).float())
    torch.testing.assert_close(given, warp_flow(offsets, 32), atol=1e-4, rtol=0)


def test_zero_offsets_change_nothing(photos):
    images = photos["test"].batch(range(4)).float() / 255
    assert warp_flow(torch.zeros(4, 16, 2), 64).abs().max() == 0
    torch.testing.assert_close(warp(images, torch.zeros(4, 16, 2)), images, atol=1e-5, rtol=0)


def test_affine_offsets_give_the_affine_map(generator):
    """The bending energy of an affine map is zero, so the spline is that map everywhere."""
    size = 48
    matrix, shift = torch.tensor([[0.05, -0.08], [0.03, 0.06]]), torch.tensor([1.5, -2.0])
    offsets = control_points(size).float() @ matrix.T + shift
    expected = torch.from_numpy(pixels(size)).float() @ matrix.T + shift
    torch.testing.assert_close(warp_flow(offsets[None], size).view(-1, 2), expected, atol=1e-4, rtol=0)
    points = torch.rand(1, 16, 2, generator=generator) * (size - 1)
    moved = warp_flow(points @ matrix.T + shift, size, points)
    torch.testing.assert_close(moved.view(-1, 2), expected, atol=1e-4, rtol=0)


def test_equal_offsets_translate_the_image(photos):
    """The output at c is the input at c + offset: dx = 3 samples three pixels to the right."""
    images = photos["test"].batch(range(2)).float() / 255
    offsets = torch.tensor([3.0, -2.0]).expand(2, 16, 2)
    moved = warp(images, offsets)
    torch.testing.assert_close(moved[:, :, 2:, :-3], images[:, :, :-2, 3:], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[:, :, 2:, -3:], images[:, :, :-2, -1:].expand(-1, -1, -1, 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("placement", ["grid", "random"])
def test_a_warped_image_equals_scipys_interpolation_at_scipys_flow(placement, photos, generator):
    size = 64
    images = photos["test"].batch(range(3)).float() / 255
    offsets = offsets_for(3, size, generator)
    points = torch.rand(3, 16, 2, generator=generator) * (size - 1) if placement == "random" else None
    warped = warp(images, offsets, points).numpy()
    for i in range(3):
        at = control_points(size).numpy() if points is None else points[i].double().numpy()
        coordinates = pixels(size).reshape(size, size, 2) + scipy_flow(at, offsets[i].double().numpy(), size)
        for channel in range(3):
            index = (coordinates[..., 1], coordinates[..., 0])
            expected = map_coordinates(images[i, channel].double().numpy(), index, order=1, mode="nearest")
            assert np.abs(warped[i, channel] - expected).max() < 1e-4  # of [0, 1]


def test_images_have_separate_offsets(photos, generator):
    images = photos["test"].batch([0, 0]).float() / 255
    offsets = offsets_for(2, 64, generator)
    both = warp(images, offsets)
    assert not torch.allclose(both[0], both[1], atol=0.05)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], warp(images[:1], offsets[i : i + 1]), atol=1e-6, rtol=0)


def test_the_dtype_is_kept(generator):
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=generator)
    assert warp(images, torch.zeros(1, 16, 2)).dtype == torch.float64


@pytest.mark.parametrize(
    ("shape", "offsets", "message"),
    [
        ((2, 3, 16, 20), (2, 16, 2), r"^Images are \[2, 3, 16, 20\]; expected square ones"),
        ((3, 16, 16), (1, 16, 2), r"^Images are \[3, 16, 16\]; expected square ones"),
        ((2, 3, 16, 16), (2, 9, 2), r"^Warp offsets are \[2, 9, 2\]; expected \[B, 16, 2\] pixels"),
        ((2, 3, 16, 16), (16, 2), r"^Warp offsets are \[16, 2\]; expected \[B, 16, 2\] pixels"),
        ((2, 3, 16, 16), (3, 16, 2), r"^There are 2 images but 3 sets of warp offsets"),
    ],
)
def test_invalid_shapes_are_refused(shape, offsets, message):
    with pytest.raises(CodialError, match=message):
        warp(torch.zeros(shape), torch.zeros(offsets))


def test_invalid_points_and_integer_images_are_refused():
    with pytest.raises(CodialError, match=r"^Control points are \[2, 9, 2\]; expected \[2, 16, 2\]"):
        warp_flow(torch.zeros(2, 16, 2), 16, torch.zeros(2, 9, 2))
    with pytest.raises(CodialError, match=r"^Images are torch.uint8; expected floats"):
        warp(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 16, 2))
