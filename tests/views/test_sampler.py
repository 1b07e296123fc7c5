import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates
from torchvision.transforms.v2 import functional as tv

from codial import sample_views
from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.views import batched, control_points, draw, render

COLOURLESS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
TURNS = {"turn0": 0, "turn90": 1, "turn180": 2, "turn270": 3, "warp": 0}
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


@pytest.fixture(params=["fused", "batched"], autouse=True)
def way(request, monkeypatch):
    """Everything here holds for the CPU's way and for that of other devices."""
    if request.param == "batched":
        monkeypatch.setattr("codial.views.sampler.fused", batched)


def with_whole_boxes(drawn, side, smallest, largest, generator):
    """Replace the crop boxes by ones of whole pixels, aspect 3/4 to 4/3."""
    shape = (*drawn.box.shape[:2], 1)
    width = torch.randint(smallest, largest + 1, shape, generator=generator)
    height = torch.randint(smallest, largest + 1, shape, generator=generator)
    height = height.clamp((width * 3 + 3) // 4, width * 4 // 3)
    left = (torch.rand(shape, generator=generator) * (side - width + 1)).long()
    top = (torch.rand(shape, generator=generator) * (side - height + 1)).long()
    return drawn._replace(box=torch.cat((left, top, width, height), -1).float())


def torchvision_view(picture, box, flip, name, size, antialias=True):
    """Crop, resize, mirror and turn one picture, by torchvision and torch."""
    left, top, width, height = (int(n) for n in box)
    view = tv.resized_crop(picture, top, left, height, width, [size, size], antialias=antialias)
    view = tv.horizontal_flip(view) if flip else view
    return torch.rot90(view, TURNS[name], (-2, -1))


def torchvision_views(pictures, drawn, config, antialias=True):
    pictures = pictures.float() / 255
    return torch.stack(
        [
            torch.stack(
                [
                    torchvision_view(picture, drawn.box[i, k], drawn.flip[i], name, config.size, antialias)
                    for k, name in enumerate(config.primary)
                ]
            )
            for i, picture in enumerate(pictures)
        ]
    )


def scipy_view(picture, box, flip, offsets, points, size, border):
    """Warp, mirror and crop one picture in one reading, by SciPy in float64; offsets None for no warp."""
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
    return np.stack([map_coordinates(channel, (y, x), order=1, mode="nearest") for channel in picture])


# Geometry


@pytest.mark.parametrize("size", [32, 64])
def test_enlarged_crops_are_torchvisions_mirrored_and_turned(size, photos, generator):
    pictures = photos["train"].batch(range(24))
    config = ViewsConfig(size=size, primary=PRIMARY[:4], **COLOURLESS)
    drawn = with_whole_boxes(draw(24, (64, 64), config, generator), 64, 8, size, generator)
    assert drawn.flip.unique().numel() == 2, "both kinds of picture"
    got = render(pictures, drawn, config).images
    torch.testing.assert_close(got, torchvision_views(pictures, drawn, config), atol=2e-5, rtol=0)


@pytest.mark.parametrize("border", ["replicate", "picture"])
@pytest.mark.parametrize("placement", ["grid", "random"])
def test_every_view_is_one_reading_at_scipys_places(placement, border, photos, generator):
    """Boxes in part pixels, mirrored or not, warped or not, of oblong pictures."""
    pictures = photos["train"].batch(range(8))[:, :, 4:60, :]
    size = 24
    config = ViewsConfig(
        size=size,
        primary=("warp", "turn0"),
        crop_area=(0.03, 0.15),  # at most 0.15 * 56 * 64 = 537 square pixels, so nothing shrinks
        warp_placement=placement,
        warp_border=border,
        **COLOURLESS,
    )
    drawn = draw(8, (56, 64), config, generator)
    assert 2 <= drawn.flip.sum() <= 6
    got = render(pictures, drawn, config).images.numpy()
    points = control_points(size).expand(8, 16, 2) if placement == "grid" else drawn.points.double()
    for i in range(8):
        picture = pictures[i].double().numpy() / 255
        for k, offsets in ((0, drawn.offsets[i].double().numpy()), (1, None)):
            box = drawn.box[i, k].double().numpy()
            expected = scipy_view(picture, box, drawn.flip[i], offsets, points[i].numpy(), size, border)
            assert np.abs(got[i, k] - expected).max() < 1e-4  # of [0, 1]


@pytest.mark.parametrize(("size", "mean", "largest"), [(48, 0.003, 0.2), (32, 0.0035, 0.2), (16, 0.0035, 0.2)])
def test_shrunk_crops_are_near_torchvisions_antialiased_ones(size, mean, largest, photos, generator):
    """Measured: mean 0.002 to 0.003 and at most 0.15 of [0, 1], where reading without smoothing is up to 0.46 off."""
    pictures = photos["train"].batch(range(0, 320, 5))
    config = ViewsConfig(size=size, primary=PRIMARY[:2], **COLOURLESS)
    drawn = with_whole_boxes(draw(64, (64, 64), config, generator), 64, size, 64, generator)
    apart = (render(pictures, drawn, config).images - torchvision_views(pictures, drawn, config)).abs()
    assert apart.mean() < mean
    assert apart.max() < largest
    crude = torchvision_views(pictures, drawn, config, antialias=False)
    crude_apart = (crude - torchvision_views(pictures, drawn, config)).abs()
    assert apart.mean() < crude_apart.mean() * (1 if size == 48 else 0.5)


@pytest.mark.parametrize(("side", "size", "left_over"), [(44, 24, 0.5), (53, 24, 0.02), (61, 24, 0.02), (63, 16, 0.02)])
def test_a_fine_checkerboard_shrinks_to_grey(side, size, left_over):
    """Shrunk by 2 or more nothing of the pattern is left; by 1.8, less than half of what aliasing would show."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    pictures = (255 * ((x + y) % 2)).to(torch.uint8).expand(1, 3, 64, 64)
    config = ViewsConfig(size=size, primary=("turn0",), flip=0, **COLOURLESS)
    drawn = draw(1, (64, 64), config, torch.Generator())
    drawn = drawn._replace(box=torch.tensor([[[1.0, 0, side, side]]]))
    view = render(pictures, drawn, config).images
    aliased = torchvision_views(pictures, drawn, config, antialias=False)
    assert aliased.std() > 0.1, "the reference must show a pattern where there is none"
    assert view.std() < left_over * aliased.std()
    assert abs(float(view.mean()) - 0.5) < 0.01


def test_pictures_of_any_shape_and_many_times_the_views_size(photos, generator):
    whole = torch.cat([photos["train"].batch(range(i, i + 3)).flatten(0, 1) for i in (0, 8, 16)], -1)  # [9, 64, 192]
    pictures = torch.nn.functional.interpolate(whole.view(3, 3, 64, 192).float() / 255, (150, 450))
    config = ViewsConfig(size=16, primary=("turn0", "turn270"), crop_area=(1, 1), flip=0, **COLOURLESS)
    drawn = draw(3, (150, 450), config, generator)
    drawn = drawn._replace(box=torch.tensor([0.0, 0, 450, 150]).expand(3, 2, 4).clone())
    drawn.box[:, 1] = torch.tensor([100.0, 20, 130, 120])
    got = render(pictures, drawn, config).images
    expected = torchvision_views(pictures * 255, drawn, config)
    assert (got[:, 1] - expected[:, 1]).abs().mean() < 0.01
    assert (got[:, 0].mean((-2, -1)) - expected[:, 0].mean((-2, -1))).abs().max() < 0.02


# Colour and blur


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_colours_and_blur_are_torchvisions_in_the_order_drawn(blur, photos, generator):
    pictures = photos["train"].batch(range(24))
    config = ViewsConfig(size=48, blur=blur)
    drawn = draw(24, (64, 64), config, generator)
    # No shift of hue and no factor changes where pixels come from.
    neutral = drawn._replace(factors=torch.tensor([1.0, 1, 1, 0]).expand(24, 5, 4), sigma=torch.zeros(24, 5))
    plain, got = render(pictures, neutral, config).images, render(pictures, drawn, config).images
    assert len({tuple(o) for o in drawn.order.view(-1, 4).tolist()}) == 24, "every order is among them"
    for i in range(24):
        for k in range(5):
            expected = plain[i, k]
            for operation in drawn.order[i, k].tolist():
                expected = ADJUST[operation](expected, float(drawn.factors[i, k, operation]))
            if blur:
                expected = tv.gaussian_blur(expected, [5, 5], [float(drawn.sigma[i, k])])  # odd, nearest to 4.8
            torch.testing.assert_close(got[i, k], expected, atol=5e-5, rtol=0)


@pytest.mark.parametrize(("size", "part", "side"), [(64, 0.1, 7), (224, 0.1, 23), (32, 0.1, 3), (16, 0.1, 3)])
def test_the_blurs_kernel_is_the_odd_number_nearest_to_its_part_of_the_view(size, part, side):
    """A point lights up as many pixels as the kernel has, however wide the Gaussian is."""
    picture = torch.zeros(1, 3, size, size)
    picture[:, :, size // 2, size // 2] = 1
    config = ViewsConfig(
        size=size, primary=("turn0",), flip=0, crop_area=(1, 1), blur=1, blur_kernel=part, blur_sigma=(50, 50),
        crop_aspect=(1, 1), **COLOURLESS,
    )  # fmt: skip
    view = sample_views(picture, config, torch.Generator().manual_seed(0)).images[0, 0, 0]
    assert ((view > 1e-5).any(0).sum(), (view > 1e-5).any(1).sum()) == (side, side)


def test_transforms_that_are_off_change_nothing(photos, generator):
    pictures = photos["train"].batch(range(6))
    config = ViewsConfig(size=64, flip=0, crop_area=(1, 1), crop_aspect=(1, 1), blur=0, warp_offset=0, **COLOURLESS)
    views = sample_views(pictures, config, generator)
    for k, name in enumerate(PRIMARY):
        expected = torch.rot90(pictures.float() / 255, TURNS[name], (-2, -1))
        torch.testing.assert_close(views.images[:, k], expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", COLOURLESS)
def test_each_colour_can_be_switched_off_alone(name, photos, generator):
    config = ViewsConfig(size=32, **{name: 0})
    factors = draw(50, (64, 64), config, generator).factors
    place = list(COLOURLESS).index(name)
    assert torch.equal(factors[..., place], torch.full((50, 5), 0.0 if name == "hue" else 1.0))
    for other in set(range(4)) - {place}:
        assert factors[..., other].std() > 0.2


def test_grey_views_have_no_colours_whatever_comes_first(photos, generator):
    views = sample_views(photos["train"].images[:30], ViewsConfig(grey=1.0), generator).images
    assert float((views.amax(2) - views.amin(2)).max()) < 1e-5
    assert float(views.std((2, 3, 4)).mean()) > 0.03


def test_some_grey_changes_nothing_else(photos):
    pictures = photos["train"].images[:30]
    plain, some = (
        sample_views(pictures, ViewsConfig(saturation=0.0, grey=p), torch.Generator().manual_seed(3)).images
        for p in (0.0, 0.4)
    )
    same = (plain == some).flatten(2).all(2)
    grey = (some.amax(2) - some.amin(2)).flatten(2).amax(2) < 1e-5
    assert torch.equal(same, ~grey)
    assert 0.2 < grey.float().mean() < 0.6


# The same again


def test_the_same_seed_gives_the_same_views_however_they_are_split(photos, seed):
    pictures, config = photos["train"].batch(range(12)), ViewsConfig(size=32, blur=0.5, warp_placement="random")
    whole = sample_views(pictures, config, torch.Generator().manual_seed(seed))
    again = sample_views(pictures, config, torch.Generator().manual_seed(seed))
    assert torch.equal(whole.images, again.images)
    generator = torch.Generator().manual_seed(seed)
    parts = [sample_views(pictures[part], config, generator) for part in (slice(0, 1), slice(1, 8), slice(8, 12))]
    for field in whole.drawn._fields:
        assert torch.equal(getattr(whole.drawn, field), torch.cat([getattr(p.drawn, field) for p in parts]))
    torch.testing.assert_close(torch.cat([p.images for p in parts]), whole.images, atol=1e-6, rtol=0)
    other = sample_views(pictures, config, torch.Generator().manual_seed(seed + 1))
    assert (other.images - whole.images).abs().mean() > 0.05


def test_what_was_drawn_makes_the_same_views_again(photos, generator):
    pictures, config = photos["train"].batch(range(4)), ViewsConfig(size=32, blur=0.5)
    views = sample_views(pictures, config, generator)
    assert torch.equal(render(pictures, views.drawn, config).images, views.images)


def test_no_global_state_is_read_or_changed(photos, seed):
    pictures, config = photos["train"].batch(range(2)), ViewsConfig(size=32)
    torch.manual_seed(1)
    first = sample_views(pictures, config, torch.Generator().manual_seed(seed)).images
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = sample_views(pictures, config, torch.Generator().manual_seed(seed)).images
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_flip_is_shared_by_a_pictures_views(photos, generator):
    """With one box for all, a picture's views differ by nothing but their turn."""
    pictures = photos["train"].batch(range(16))
    config = ViewsConfig(size=64, crop_area=(1, 1), crop_aspect=(1, 1), warp_offset=0, **COLOURLESS)
    views = sample_views(pictures, config, generator)
    flipped = 0
    for picture, shown in zip(pictures.float() / 255, views.images, strict=True):
        upright = torch.stack([torch.rot90(v, -TURNS[n], (-2, -1)) for v, n in zip(shown, PRIMARY, strict=True)])
        torch.testing.assert_close(upright, upright[:1].expand_as(upright), atol=2e-5, rtol=0)
        flipped += torch.allclose(upright[0], picture.flip(-1), atol=2e-5)
    assert flipped == int(views.drawn.flip.sum()) not in (0, 16)


def test_a_pictures_views_are_different_crops_and_colours(generator):
    drawn = draw(4, (64, 64), ViewsConfig(), generator)
    for part in (drawn.box, drawn.factors):
        assert len({tuple(row) for row in part.flatten(0, 1).tolist()}) == 20


def test_a_shared_crop_is_one_crop_colour_and_blur_for_all_views(photos, generator):
    """Turned back, a picture's views are the same pixels; those of other pictures are others."""
    config = ViewsConfig(size=32, warp_offset=0, blur=0.5, shared_crop=True)
    views = sample_views(photos["train"].batch(range(8)), config, generator)
    for shown in views.images:
        upright = torch.stack([torch.rot90(v, -TURNS[n], (-2, -1)) for v, n in zip(shown, PRIMARY, strict=True)])
        torch.testing.assert_close(upright, upright[:1].expand_as(upright), atol=1e-4, rtol=0)
    drawn = views.drawn
    for part in (drawn.box, drawn.factors, drawn.order, drawn.sigma):
        assert torch.equal(part, part[:, :1].expand_as(part))
    assert len({tuple(row) for row in drawn.box[:, 0].tolist()}) == 8
    assert 0 < int((drawn.sigma[:, 0] > 0).sum()) < 8


def test_the_shared_crop_is_the_first_views_own(seed):
    """All else is drawn as it is without."""
    apart, shared = (
        draw(8, (48, 64), ViewsConfig(blur=0.5, shared_crop=shared), torch.Generator().manual_seed(seed))
        for shared in (False, True)
    )
    for name in ("flip", "offsets", "points"):
        assert torch.equal(getattr(apart, name), getattr(shared, name))
    for name in ("box", "factors", "order", "sigma"):
        assert torch.equal(getattr(apart, name)[:, 0], getattr(shared, name)[:, 0])
        assert not torch.equal(getattr(apart, name), getattr(shared, name))


@pytest.mark.parametrize("primary", [PRIMARY, PRIMARY[::-1], ("warp",), ("turn0",), ("turn270", "warp", "turn0")])
def test_labels_are_places_in_the_list_of_primary_transforms(primary, photos, generator):
    views = sample_views(photos["train"].batch(range(3)), ViewsConfig(size=32, primary=primary), generator)
    assert views.labels.tolist() == [list(range(len(primary)))] * 3
    assert views.labels.dtype == torch.int64
    assert views.images.shape == (3, len(primary), 3, 32, 32)


def test_a_transform_looks_the_same_wherever_it_stands_in_the_list(photos, generator):
    pictures = photos["train"].batch(range(4))
    config = ViewsConfig(size=32, **COLOURLESS)
    drawn = draw(4, (64, 64), config, generator)
    drawn = drawn._replace(box=drawn.box[:, :1].expand(-1, 5, -1).contiguous())
    backwards = ViewsConfig(size=32, primary=PRIMARY[::-1], **COLOURLESS)
    first, second = render(pictures, drawn, config).images, render(pictures, drawn, backwards).images
    torch.testing.assert_close(first, second.flip(1), atol=1e-5, rtol=0)


# Kinds of pictures


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_bytes_and_floats_give_the_same_views(dtype, photos, seed):
    pictures, config = photos["train"].batch(range(4)), ViewsConfig(size=32, blur=0.5)
    views = [
        sample_views(p, config, torch.Generator().manual_seed(seed)).images
        for p in (pictures, (pictures.double() / 255).to(dtype))
    ]
    assert views[0].dtype == views[1].dtype == torch.float32
    # Half precision keeps 1/2048 of a colour, which strong contrast doubles.
    torch.testing.assert_close(*views, atol=5e-3 if dtype == torch.float16 else 1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [32, 64])
def test_pictures_are_left_as_they_are_and_views_lie_in_0_to_1(size, dtype, photos, generator):
    pictures = photos["train"].batch(range(8)).to(dtype) / (1 if dtype == torch.uint8 else 255)
    pictures = pictures.to(dtype)
    before = pictures.clone()
    images = sample_views(pictures, ViewsConfig(size=size, blur=0.5), generator).images
    assert torch.equal(pictures, before)
    assert 0 <= images.min() <= images.max() <= 1 + 1e-6
    assert not images.requires_grad


def test_strided_pictures_are_read_right(photos, seed):
    pictures, config = photos["train"].batch(range(4)), ViewsConfig(size=32)
    strided = pictures.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    views = [sample_views(p, config, torch.Generator().manual_seed(seed)).images for p in (pictures, strided)]
    torch.testing.assert_close(*views, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (torch.zeros(3, 64, 64), r"^Pictures are \[3, 64, 64\]; expected \[B, 3, H, W\]"),
        (torch.zeros(2, 1, 64, 64), r"^Pictures are \[2, 1, 64, 64\]; expected"),
        (torch.zeros(2, 64, 64, 3), r"^Pictures are \[2, 64, 64, 3\]; expected"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.int64), r"^Pictures are torch.int64; expected uint8, or floats in"),
        (torch.zeros(2, 3, 64, 64, dtype=torch.bool), r"^Pictures are torch.bool; expected uint8"),
    ],
)
def test_wrong_pictures_are_named(pictures, message, generator):
    with pytest.raises(CodialError, match=message):
        sample_views(pictures, ViewsConfig(), generator)


# The border of a warp


def marked(boxes, side):
    """Pictures that are black in the box and white outside: pixels that a box touches in part are inside."""
    pictures = torch.ones(len(boxes), 3, side, side)
    for picture, (left, top, width, height) in zip(pictures, boxes.tolist(), strict=True):
        right, bottom = int(np.ceil(left + width - 1e-4)), int(np.ceil(top + height - 1e-4))
        picture[:, int(top + 1e-4) : bottom, int(left + 1e-4) : right] = 0
    return pictures


@pytest.mark.parametrize("whole_pixels", [True, False])
@pytest.mark.parametrize("border", ["replicate", "picture"])
def test_only_the_picture_border_looks_past_the_crop(border, whole_pixels, generator):
    config = ViewsConfig(size=32, crop_area=(0.05, 0.2), warp_offset=0.2, warp_border=border, **COLOURLESS)
    drawn = draw(40, (64, 64), config, generator)
    if whole_pixels:
        drawn = with_whole_boxes(drawn, 64, 8, 30, generator)
    drawn = drawn._replace(box=drawn.box[:, :1].expand(-1, 5, -1).contiguous())
    views = render(marked(drawn.box[:, 0], 64), drawn, config).images
    if border == "replicate":
        assert views.max() < 1e-4  # rounding of a place by 1e-5 pixels lets that much of a neighbour in
    else:
        assert views[:, 4].amax((1, 2, 3)).median() > 0.9, "warps show what is around the crop"
