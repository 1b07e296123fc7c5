import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates
from torchvision.transforms.v2 import functional as tv

from codial import sample_views
from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.transforms import control_points, render, render_torch, sample_params

COLORLESS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
ROTATIONS = {"rot0": 0, "rot90": 1, "rot180": 2, "rot270": 3, "warp": 0}
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


@pytest.fixture(params=["numba", "torch"], autouse=True)
def renderer(request, monkeypatch):
    """Run every test with the renderer for CPUs and with that for other devices."""
    if request.param == "torch":
        monkeypatch.setattr("codial.transforms.sampler.render_numba", render_torch)


def with_pixel_boxes(params, side, smallest, largest, generator):
    """Replace the crop boxes by boxes of complete pixels with aspect 3/4 to 4/3."""
    shape = (*params.box.shape[:2], 1)
    width = torch.randint(smallest, largest + 1, shape, generator=generator)
    height = torch.randint(smallest, largest + 1, shape, generator=generator)
    height = height.clamp((width * 3 + 3) // 4, width * 4 // 3)
    left = (torch.rand(shape, generator=generator) * (side - width + 1)).long()
    top = (torch.rand(shape, generator=generator) * (side - height + 1)).long()
    return params._replace(box=torch.cat((left, top, width, height), -1).float())


def torchvision_view(image, box, flip, name, size, antialias=True):
    """Crop, resize, flip and rotate one image, by torchvision and torch."""
    left, top, width, height = (int(n) for n in box)
    view = tv.resized_crop(image, top, left, height, width, [size, size], antialias=antialias)
    view = tv.horizontal_flip(view) if flip else view
    return torch.rot90(view, ROTATIONS[name], (-2, -1))


def torchvision_views(images, params, config, antialias=True):
    images = images.float() / 255
    return torch.stack(
        [
            torch.stack(
                [
                    torchvision_view(image, params.box[i, k], params.flip[i], name, config.size, antialias)
                    for k, name in enumerate(config.primary)
                ]
            )
            for i, image in enumerate(images)
        ]
    )


def scipy_view(image, box, flip, offsets, points, size, border):
    """Warp, flip and crop one image in one resampling, by SciPy in float64; offsets None for no warp."""
    y, x = np.mgrid[:size, :size].astype(float)
    if offsets is not None:
        spline = RBFInterpolator(points, offsets, kernel="thin_plate_spline", degree=1)
        flow = spline(np.stack((x, y), -1).reshape(-1, 2)).reshape(size, size, 2)
        x, y = x + flow[..., 0], y + flow[..., 1]
    x = size - 1 - x if flip else x
    left, top, width, height = box
    x, y = left + (x + 0.5) * width / size - 0.5, top + (y + 0.5) * height / size - 0.5
    if border == "replicate":
        x, y = np.clip(x, left, left + width - 1), np.clip(y, top, top + height - 1)
    return np.stack([map_coordinates(channel, (y, x), order=1, mode="nearest") for channel in image])


# Geometry


@pytest.mark.parametrize("size", [32, 64])
def test_upscaled_crops_equal_torchvisions_flipped_and_rotated(size, photos, generator):
    images = photos["train"].batch(range(24))
    config = ViewsConfig(size=size, primary=PRIMARY[:4], **COLORLESS)
    params = with_pixel_boxes(sample_params(24, (64, 64), config, generator), 64, 8, size, generator)
    assert params.flip.unique().numel() == 2, "flipped and not flipped"
    got = render(images, params, config).images
    torch.testing.assert_close(got, torchvision_views(images, params, config), atol=2e-5, rtol=0)


@pytest.mark.parametrize("border", ["replicate", "image"])
@pytest.mark.parametrize("placement", ["grid", "random"])
def test_every_view_is_one_resampling_at_scipys_coordinates(placement, border, photos, generator):
    """Boxes with fractional coordinates, flipped or not, warped or not, in images that are not square."""
    images = photos["train"].batch(range(8))[:, :, 4:60, :]
    size = 24
    config = ViewsConfig(
        size=size,
        primary=("warp", "rot0"),
        crop_area=(0.03, 0.15),  # at most 0.15 * 56 * 64 = 537 square pixels, so nothing is downscaled
        warp_placement=placement,
        warp_border=border,
        **COLORLESS,
    )
    params = sample_params(8, (56, 64), config, generator)
    assert 2 <= params.flip.sum() <= 6
    got = render(images, params, config).images.numpy()
    points = control_points(size).expand(8, 16, 2) if placement == "grid" else params.points.double()
    for i in range(8):
        image = images[i].double().numpy() / 255
        for k, offsets in ((0, params.offsets[i].double().numpy()), (1, None)):
            box = params.box[i, k].double().numpy()
            expected = scipy_view(image, box, params.flip[i], offsets, points[i].numpy(), size, border)
            assert np.abs(got[i, k] - expected).max() < 1e-4  # of [0, 1]


@pytest.mark.parametrize(("size", "mean", "largest"), [(48, 0.003, 0.2), (32, 0.0035, 0.2), (16, 0.0035, 0.2)])
def test_downscaled_crops_are_close_to_torchvisions_antialiased_ones(size, mean, largest, photos, generator):
    """Measured: 0.002 to 0.003 on average and at most 0.15 of [0, 1]; without smoothing up to 0.46."""
    images = photos["train"].batch(range(0, 320, 5))
    config = ViewsConfig(size=size, primary=PRIMARY[:2], **COLORLESS)
    params = with_pixel_boxes(sample_params(64, (64, 64), config, generator), 64, size, 64, generator)
    difference = (render(images, params, config).images - torchvision_views(images, params, config)).abs()
    assert difference.mean() < mean
    assert difference.max() < largest
    aliased = torchvision_views(images, params, config, antialias=False)
    aliased_difference = (aliased - torchvision_views(images, params, config)).abs()
    assert difference.mean() < aliased_difference.mean() * (1 if size == 48 else 0.5)


@pytest.mark.parametrize(("side", "size", "remaining"), [(44, 24, 0.5), (53, 24, 0.02), (61, 24, 0.02), (63, 16, 0.02)])
def test_a_fine_checkerboard_becomes_gray(side, size, remaining):
    """Downscaled by 2 or more, nothing of the pattern remains; by 1.8, less than half of the aliased pattern."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    images = (255 * ((x + y) % 2)).to(torch.uint8).expand(1, 3, 64, 64)
    config = ViewsConfig(size=size, primary=("rot0",), flip=0, **COLORLESS)
    params = sample_params(1, (64, 64), config, torch.Generator())
    params = params._replace(box=torch.tensor([[[1.0, 0, side, side]]]))
    view = render(images, params, config).images
    aliased = torchvision_views(images, params, config, antialias=False)
    assert aliased.std() > 0.1, "the reference must show an aliased pattern"
    assert view.std() < remaining * aliased.std()
    assert abs(float(view.mean()) - 0.5) < 0.01


def test_images_of_any_shape_and_much_larger_than_the_view(photos, generator):
    joined = torch.cat([photos["train"].batch(range(i, i + 3)).flatten(0, 1) for i in (0, 8, 16)], -1)  # [9, 64, 192]
    images = torch.nn.functional.interpolate(joined.view(3, 3, 64, 192).float() / 255, (150, 450))
    config = ViewsConfig(size=16, primary=("rot0", "rot270"), crop_area=(1, 1), flip=0, **COLORLESS)
    params = sample_params(3, (150, 450), config, generator)
    params = params._replace(box=torch.tensor([0.0, 0, 450, 150]).expand(3, 2, 4).clone())
    params.box[:, 1] = torch.tensor([100.0, 20, 130, 120])
    got = render(images, params, config).images
    expected = torchvision_views(images * 255, params, config)
    assert (got[:, 1] - expected[:, 1]).abs().mean() < 0.01
    assert (got[:, 0].mean((-2, -1)) - expected[:, 0].mean((-2, -1))).abs().max() < 0.02


# Color and blur


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_colors_and_blur_equal_torchvisions_in_the_sampled_order(blur, photos, generator):
    images = photos["train"].batch(range(24))
    config = ViewsConfig(size=48, blur=blur)
    params = sample_params(24, (64, 64), config, generator)
    # Color changes do not depend on the geometry.
    neutral = params._replace(factors=torch.tensor([1.0, 1, 1, 0]).expand(24, 5, 4), sigma=torch.zeros(24, 5))
    plain, got = render(images, neutral, config).images, render(images, params, config).images
    assert len({tuple(o) for o in params.order.view(-1, 4).tolist()}) == 24, "every order occurs"
    for i in range(24):
        for k in range(5):
            expected = plain[i, k]
            for operation in params.order[i, k].tolist():
                expected = ADJUST[operation](expected, float(params.factors[i, k, operation]))
            if blur:
                expected = tv.gaussian_blur(expected, [5, 5], [float(params.sigma[i, k])])  # odd, nearest to 4.8
            torch.testing.assert_close(got[i, k], expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize(("size", "fraction", "side"), [(64, 0.1, 7), (224, 0.1, 23), (32, 0.1, 3), (16, 0.1, 3)])
def test_the_blurs_kernel_has_the_closest_odd_side(size, fraction, side):
    """A blurred point covers as many pixels as the kernel, however wide the Gaussian is."""
    image = torch.zeros(1, 3, size, size)
    image[:, :, size // 2, size // 2] = 1
    config = ViewsConfig(
        size=size, primary=("rot0",), flip=0, crop_area=(1, 1), blur=1, blur_kernel=fraction, blur_sigma=(50, 50),
        crop_aspect=(1, 1), **COLORLESS,
    )  # fmt: skip
    view = sample_views(image, config, torch.Generator().manual_seed(0)).images[0, 0, 0]
    assert ((view > 1e-5).any(0).sum(), (view > 1e-5).any(1).sum()) == (side, side)


def test_transforms_that_are_switched_off_change_nothing(photos, generator):
    images = photos["train"].batch(range(6))
    config = ViewsConfig(size=64, flip=0, crop_area=(1, 1), crop_aspect=(1, 1), blur=0, warp_offset=0, **COLORLESS)
    views = sample_views(images, config, generator)
    for k, name in enumerate(PRIMARY):
        expected = torch.rot90(images.float() / 255, ROTATIONS[name], (-2, -1))
        torch.testing.assert_close(views.images[:, k], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", COLORLESS)
def test_each_color_operation_can_be_switched_off_separately(name, photos, generator):
    config = ViewsConfig(size=32, **{name: 0})
    factors = sample_params(50, (64, 64), config, generator).factors
    index = list(COLORLESS).index(name)
    assert torch.equal(factors[..., index], torch.full((50, 5), 0.0 if name == "hue" else 1.0))
    for other in set(range(4)) - {index}:
        assert factors[..., other].std() > 0.2


def test_grayscale_views_have_no_colors_in_any_order(photos, generator):
    views = sample_views(photos["train"].images[:30], ViewsConfig(grayscale=1.0), generator).images
    assert float((views.amax(2) - views.amin(2)).max()) < 1e-5
    assert float(views.std((2, 3, 4)).mean()) > 0.03


def test_grayscale_changes_no_other_view(photos):
    images = photos["train"].images[:30]
    plain, some = (
        sample_views(images, ViewsConfig(saturation=0.0, grayscale=p), torch.Generator().manual_seed(3)).images
        for p in (0.0, 0.4)
    )
    same = (plain == some).flatten(2).all(2)
    gray = (some.amax(2) - some.amin(2)).flatten(2).amax(2) < 1e-5
    assert torch.equal(same, ~gray)
    assert 0.2 < gray.float().mean() < 0.6


# Reproducibility


def test_views_depend_on_the_seed_and_not_on_the_batch_size(photos, seed):
    images, config = photos["train"].batch(range(12)), ViewsConfig(size=32, blur=0.5, warp_placement="random")
    batch = sample_views(images, config, torch.Generator().manual_seed(seed))
    again = sample_views(images, config, torch.Generator().manual_seed(seed))
    assert torch.equal(batch.images, again.images)
    generator = torch.Generator().manual_seed(seed)
    parts = [sample_views(images[part], config, generator) for part in (slice(0, 1), slice(1, 8), slice(8, 12))]
    for field in batch.params._fields:
        assert torch.equal(getattr(batch.params, field), torch.cat([getattr(p.params, field) for p in parts]))
    torch.testing.assert_close(torch.cat([p.images for p in parts]), batch.images, atol=1e-6, rtol=0)
    other = sample_views(images, config, torch.Generator().manual_seed(seed + 1))
    assert (other.images - batch.images).abs().mean() > 0.05


def test_rendering_the_returned_parameters_gives_the_same_views(photos, generator):
    images, config = photos["train"].batch(range(4)), ViewsConfig(size=32, blur=0.5)
    views = sample_views(images, config, generator)
    assert torch.equal(render(images, views.params, config).images, views.images)


def test_no_global_state_is_read_or_changed(photos, seed):
    images, config = photos["train"].batch(range(2)), ViewsConfig(size=32)
    torch.manual_seed(1)
    first = sample_views(images, config, torch.Generator().manual_seed(seed)).images
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = sample_views(images, config, torch.Generator().manual_seed(seed)).images
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_all_views_of_an_image_have_the_same_flip(photos, generator):
    """With one box for all, views of an image only differ by their rotation."""
    images = photos["train"].batch(range(16))
    config = ViewsConfig(size=64, crop_area=(1, 1), crop_aspect=(1, 1), warp_offset=0, **COLORLESS)
    views = sample_views(images, config, generator)
    flipped = 0
    for image, rotated in zip(images.float() / 255, views.images, strict=True):
        upright = torch.stack([torch.rot90(v, -ROTATIONS[n], (-2, -1)) for v, n in zip(rotated, PRIMARY, strict=True)])
        torch.testing.assert_close(upright, upright[:1].expand_as(upright), atol=2e-5, rtol=0)
        flipped += torch.allclose(upright[0], image.flip(-1), atol=2e-5)
    assert flipped == int(views.params.flip.sum()) not in (0, 16)


def test_views_of_an_image_have_different_crops_and_colors(generator):
    params = sample_params(4, (64, 64), ViewsConfig(), generator)
    for part in (params.box, params.factors):
        assert len({tuple(row) for row in part.flatten(0, 1).tolist()}) == 20


def test_with_a_shared_crop_all_views_have_the_same_crop_color_and_blur(photos, generator):
    """Rotated back, all views of an image are equal; other images have other parameters."""
    config = ViewsConfig(size=32, warp_offset=0, blur=0.5, shared_crop=True)
    views = sample_views(photos["train"].batch(range(8)), config, generator)
    for rotated in views.images:
        upright = torch.stack([torch.rot90(v, -ROTATIONS[n], (-2, -1)) for v, n in zip(rotated, PRIMARY, strict=True)])
        torch.testing.assert_close(upright, upright[:1].expand_as(upright), atol=1e-4, rtol=0)
    params = views.params
    for part in (params.box, params.factors, params.order, params.sigma):
        assert torch.equal(part, part[:, :1].expand_as(part))
    assert len({tuple(row) for row in params.box[:, 0].tolist()}) == 8
    assert 0 < int((params.sigma[:, 0] > 0).sum()) < 8


def test_the_shared_crop_is_that_of_the_first_view(seed):
    """All other parameters are the same as without a shared crop."""
    separate, shared = (
        sample_params(8, (48, 64), ViewsConfig(blur=0.5, shared_crop=shared), torch.Generator().manual_seed(seed))
        for shared in (False, True)
    )
    for name in ("flip", "offsets", "points"):
        assert torch.equal(getattr(separate, name), getattr(shared, name))
    for name in ("box", "factors", "order", "sigma"):
        assert torch.equal(getattr(separate, name)[:, 0], getattr(shared, name)[:, 0])
        assert not torch.equal(getattr(separate, name), getattr(shared, name))


@pytest.mark.parametrize(
    ("primary", "labels"),
    [
        (PRIMARY, [0, 1, 2, 3, 4]),
        (PRIMARY[::-1], [0, 1, 2, 3, 4]),
        (("warp",), [0]),
        (("rot270", "warp", "rot0"), [0, 1, 2]),
        (("rot0", "rot0"), [0, 0]),
        (("warp", "rot90", "warp", "rot0", "rot90"), [0, 1, 0, 2, 1]),
    ],
)
def test_labels_are_indices_into_the_distinct_transforms(primary, labels, photos, generator):
    config = ViewsConfig(size=32, primary=primary)
    views = sample_views(photos["train"].batch(range(3)), config, generator)
    assert views.labels.tolist() == [labels] * 3
    assert [config.transforms[label] for label in labels] == list(primary)
    assert views.labels.dtype == torch.int64
    assert views.images.shape == (3, len(primary), 3, 32, 32)


def test_views_of_the_same_transform_have_their_own_crop_and_colors_but_one_warp(photos, generator):
    config = ViewsConfig(size=32, primary=("warp", "warp"))
    params = sample_params(4, (64, 64), config, generator)
    for name in ("box", "factors", "order"):
        first, second = getattr(params, name).unbind(1)
        assert not torch.equal(first, second)
    assert params.offsets.shape == (4, 16, 2)
    same = params._replace(
        **{f: getattr(params, f)[:, :1].expand(-1, 2, -1).contiguous() for f in ("box", "factors", "order")}
    )
    images = photos["train"].batch(range(4))
    first, second = render(images, same, config).images.unbind(1)
    assert torch.equal(first, second), "with the same crop and colors they are the same view"
    first, second = render(images, params, config).images.unbind(1)
    assert float((first - second).abs().mean()) > 0.05


def test_a_view_does_not_depend_on_the_order_of_the_transforms(photos, generator):
    images = photos["train"].batch(range(4))
    config = ViewsConfig(size=32, **COLORLESS)
    params = sample_params(4, (64, 64), config, generator)
    params = params._replace(box=params.box[:, :1].expand(-1, 5, -1).contiguous())
    reversed_config = ViewsConfig(size=32, primary=PRIMARY[::-1], **COLORLESS)
    first, second = render(images, params, config).images, render(images, params, reversed_config).images
    torch.testing.assert_close(first, second.flip(1), atol=1e-5, rtol=0)


# Input


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_uint8_and_floats_give_the_same_views(dtype, photos, seed):
    images, config = photos["train"].batch(range(4)), ViewsConfig(size=32, blur=0.5)
    views = [
        sample_views(p, config, torch.Generator().manual_seed(seed)).images
        for p in (images, (images.double() / 255).to(dtype))
    ]
    assert views[0].dtype == views[1].dtype == torch.float32
    # Half precision rounds to 1/2048; strong contrast doubles that.
    torch.testing.assert_close(*views, atol=5e-3 if dtype == torch.float16 else 1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [32, 64])
def test_the_input_is_unchanged_and_views_lie_in_0_to_1(size, dtype, photos, generator):
    originals = photos["train"].batch(range(8)).to(dtype) / (1 if dtype == torch.uint8 else 255)
    originals = originals.to(dtype)
    before = originals.clone()
    images = sample_views(originals, ViewsConfig(size=size, blur=0.5), generator).images
    assert torch.equal(originals, before)
    assert 0 <= images.min() <= images.max() <= 1 + 1e-6
    assert not images.requires_grad


def test_strided_images_are_accepted(photos, seed):
    images, config = photos["train"].batch(range(4)), ViewsConfig(size=32)
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    views = [sample_views(p, config, torch.Generator().manual_seed(seed)).images for p in (images, strided)]
    torch.testing.assert_close(*views, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 64, 64), r"^Images are \[3, 64, 64\]; expected \[B, 3, H, W\]"),
        (torch.zeros(2, 1, 64, 64), r"^Images are \[2, 1, 64, 64\]; expected"),
        (torch.zeros(2, 64, 64, 3), r"^Images are \[2, 64, 64, 3\]; expected"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.int64), r"^Images are torch.int64; expected uint8, or floats in"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.bool), r"^Images are torch.bool; expected uint8"),
    ],
)
def test_invalid_images_are_refused(images, message, generator):
    with pytest.raises(CodialError, match=message):
        sample_views(images, ViewsConfig(), generator)


# Border of the warp


def marked(boxes, side):
    """Images that are black in the box and white outside; pixels that the box touches are inside."""
    images = torch.ones(len(boxes), 3, side, side)
    for image, (left, top, width, height) in zip(images, boxes.tolist(), strict=True):
        right, bottom = int(np.ceil(left + width - 1e-4)), int(np.ceil(top + height - 1e-4))
        image[:, int(top + 1e-4) : bottom, int(left + 1e-4) : right] = 0
    return images


@pytest.mark.parametrize("pixel_boxes", [True, False])
@pytest.mark.parametrize("border", ["replicate", "image"])
def test_only_the_image_border_shows_pixels_outside_the_crop(border, pixel_boxes, generator):
    config = ViewsConfig(size=32, crop_area=(0.05, 0.2), warp_offset=0.2, warp_border=border, **COLORLESS)
    params = sample_params(40, (64, 64), config, generator)
    if pixel_boxes:
        params = with_pixel_boxes(params, 64, 8, 30, generator)
    params = params._replace(box=params.box[:, :1].expand(-1, 5, -1).contiguous())
    views = render(marked(params.box[:, 0], 64), params, config).images
    if border == "replicate":
        assert views.max() < 1e-4  # coordinates have rounding errors of 1e-5 pixels
    else:
        assert views[:, 4].amax((1, 2, 3)).median() > 0.9, "warps show pixels around the crop"
