"""Properties of views under any config and any parameters, by hypothesis, for both renderers."""

from dataclasses import replace

import pytest
import torch
from damage import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from codial.config import PRIMARY, ViewsConfig
from codial.data import ImageSet
from codial.training.prefetch import Prefetcher
from codial.transforms import jitter, render_numba, render_torch, rotate, sample_params, warp
from codial.utils.distributed import ProcessGroup

pytestmark = pytest.mark.numbers("properties of views")

ROTATIONS = {"rot0": 0, "rot90": 1, "rot180": 2, "rot270": 3}
COLORLESS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "grayscale": 0, "blur": 0}
EXAMPLES = 60


def ordered(low, high):
    return st.tuples(*[st.floats(low, high)] * 2).map(sorted).map(tuple)


fraction, seeds, sides = st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 50)
primaries = st.lists(st.sampled_from(PRIMARY), min_size=1, max_size=6).map(tuple)  # with repetitions
configs = st.builds(
    ViewsConfig,
    size=st.integers(16, 40),
    primary=primaries,
    flip=fraction,
    crop_area=ordered(0.001, 1),
    crop_aspect=ordered(0.1, 10),
    shared_crop=st.booleans(),
    **dict.fromkeys(("brightness", "contrast", "saturation", "grayscale", "blur"), fraction),
    hue=st.floats(0, 0.5),
    blur_kernel=st.floats(0.01, 0.5),
    blur_sigma=ordered(0.01, 10),
    warp_offset=st.floats(0, 0.5),
    warp_placement=st.sampled_from(["grid", "random"]),
    warp_border=st.sampled_from(["replicate", "image"]),
)
renderers = pytest.mark.parametrize("renderer", [render_numba, render_torch])


def noise(count, height, width, seed):
    return torch.randint(256, (count, 3, height, width), generator=torch.Generator().manual_seed(seed)).byte()


def params_for(count, shape, config, seed):
    return sample_params(count, shape, config, torch.Generator().manual_seed(seed))


@renderers
@fuzzed(EXAMPLES)
@given(configs, sides, sides, seeds)
def test_values_lie_in_0_to_1(renderer, config, height, width, seed):
    images = renderer.render(noise(3, height, width, seed), params_for(3, (height, width), config, seed), config)
    assert images.shape == (3, len(config.primary), 3, config.size, config.size)
    assert images.isfinite().all()
    assert -1e-6 <= float(images.min()) <= float(images.max()) <= 1 + 1e-6


@renderers
@fuzzed(EXAMPLES)
@given(configs, sides, sides, st.integers(0, 255), seeds)
def test_no_border_is_visible(renderer, config, height, width, level, seed):
    """All views of an image of one color have that color."""
    config = replace(config, **COLORLESS | {"blur": config.blur})
    constant = torch.full((2, 3, height, width), level, dtype=torch.uint8)
    images = renderer.render(constant, params_for(2, (height, width), config, seed), config)
    torch.testing.assert_close(images, torch.full_like(images, level / 255), atol=1e-5, rtol=0)


@renderers
@fuzzed(EXAMPLES)
@given(configs, seeds)
def test_nothing_outside_the_crop_is_visible_where_its_edge_is_replicated(renderer, config, seed):
    """For crops no larger than the view: downscaled ones are smoothed across their edge."""
    side = config.size
    config = replace(config, warp_border="replicate", crop_area=(0.001, 0.2), crop_aspect=(0.5, 2.0))
    params = params_for(2, (side, side), config, seed)
    params = params._replace(box=params.box[:, :1].expand_as(params.box).contiguous())
    images = torch.ones(2, 3, side, side)
    for image, (left, top, width, height) in zip(images, params.box[:, 0].tolist(), strict=True):
        image[:, int(top + 1e-4) : int(top + height + 1), int(left + 1e-4) : int(left + width + 1)] = 0
    assert renderer.render(images, params, config).max() < 2e-4  # coordinates have rounding errors of about 1e-5 pixels


@fuzzed(EXAMPLES)
@given(st.integers(1, 40), st.lists(st.integers(-9, 9), min_size=3, max_size=3), seeds)
def test_a_rotation_back_undoes_a_rotation(side, k, seed):
    images, k = noise(3, side, side, seed), torch.tensor(k)
    assert torch.equal(rotate(rotate(images, k), -k), images)
    assert torch.equal(rotate(rotate(images, k), 4 - k % 4), images)


@renderers
@fuzzed(EXAMPLES)
@given(configs, sides, sides, seeds)
def test_a_flip_undoes_the_flip_of_an_image(renderer, config, height, width, seed):
    """Views of a flipped image equal flipped views with flipped crops."""
    images, params = noise(2, height, width, seed), params_for(2, (height, width), config, seed)
    box = params.box.clone()
    box[..., 0] = width - box[..., 0] - box[..., 2]
    mirrored = renderer.render(images.flip(-1), params._replace(box=box, flip=~params.flip), config)
    # Coordinates are rounded by 1e-5 of the image's side; pixels of noise differ by up to 1, jitter doubles that.
    torch.testing.assert_close(mirrored, renderer.render(images, params, config), atol=5e-3, rtol=0)


@fuzzed(EXAMPLES)
@given(st.floats(-0.5, 0.5), seeds)
def test_a_hue_shift_back_undoes_a_hue_shift(shift, seed):
    """The highest and lowest channel keep their values, so nothing is lost."""
    colors = noise(2, 8, 8, seed).float() / 255
    order = torch.arange(4).expand(2, 4)
    ahead, back = (torch.tensor([1.0, 1.0, 1.0, sign * shift]).expand(2, 4) for sign in (1, -1))
    torch.testing.assert_close(jitter(jitter(colors, ahead, order), back, order), colors, atol=2e-4, rtol=0)


@fuzzed(EXAMPLES)
@given(st.integers(-5, 5), st.integers(-5, 5), seeds)
def test_a_translation_by_a_warp_is_undone_by_the_opposite_warp(dx, dy, seed):
    """Except at the border, where pixels leave the image."""
    images, offsets = noise(2, 24, 24, seed).float() / 255, torch.tensor([float(dx), float(dy)]).expand(2, 16, 2)
    there_and_back = warp(warp(images, offsets), -offsets)
    inner = (..., slice(5, -5), slice(5, -5))
    torch.testing.assert_close(there_and_back[inner], images[inner], atol=1e-4, rtol=0)


@renderers
@fuzzed(EXAMPLES)
@given(configs, seeds)
def test_a_view_is_rotated_according_to_its_transform(renderer, config, seed):
    """Rotated back by their transforms, views of a shared crop are equal."""
    config = replace(config, **COLORLESS, shared_crop=True, warp_offset=0)
    originals, params = noise(2, 30, 20, seed), params_for(2, (30, 20), config, seed)
    images = renderer.render(originals, params, config)
    upright = replace(config, primary=("rot0",))
    single = params._replace(**{name: getattr(params, name)[:, :1] for name in ("box", "factors", "order", "sigma")})
    expected = renderer.render(originals, single, upright)[:, 0]
    for k, name in enumerate(config.primary):
        rotated_back = rotate(images[:, k], -ROTATIONS.get(name, 0))
        torch.testing.assert_close(rotated_back, expected, atol=5e-3, rtol=0)


@renderers
@fuzzed(EXAMPLES)
@given(configs, sides, sides, seeds)
def test_a_view_depends_only_on_its_own_parameters_and_those_of_its_image(renderer, config, height, width, seed):
    """Rendered alone it is the same: whatever the other views are, and also if they have the same transform."""
    originals, params = noise(2, height, width, seed), params_for(2, (height, width), config, seed)
    together = renderer.render(originals, params, config)
    per_view = ("box", "factors", "order", "sigma")
    for k, name in enumerate(config.primary):
        own = params._replace(**{field: getattr(params, field)[:, k : k + 1] for field in per_view})
        alone = renderer.render(originals, own, replace(config, primary=(name,)))[:, 0]
        torch.testing.assert_close(together[:, k], alone, rtol=0, atol=0 if renderer is render_numba else 1e-5)


@fuzzed(EXAMPLES)
@given(primaries, st.permutations(range(12)), st.integers(1, 2), seeds)
def test_images_views_and_labels_stay_together(tiny, primary, order, processes, seed):
    """Each image has a different gray level, which identifies its views, for any order and number of processes."""
    levels = torch.arange(12) * 20
    originals = levels.view(12, 1, 1, 1).expand(12, 3, 20, 20).byte().contiguous()
    images = ImageSet("grays", "train", originals, torch.arange(12) % 5, tuple("abcde"))
    views, discrimination = replace(tiny.views, primary=primary, **COLORLESS), replace(tiny.method, mi_weight=0)
    config = replace(tiny, seed=seed, views=views, method=discrimination)
    for rank in range(processes):
        prefetcher = Prefetcher(images, config, torch.device("cpu"), ProcessGroup(rank, processes))
        for loaded in prefetcher.batches(torch.tensor(order).view(3, 4), 0):
            assert torch.equal(loaded.labels, loaded.indices % 5)
            labels = [list(dict.fromkeys(primary)).index(name) for name in primary]
            assert loaded.views.labels.tolist() == [labels] * len(loaded.indices)
            shown = (255 * loaded.views.images.mean((2, 3, 4))).round().long()
            assert torch.equal(shown, levels[loaded.indices].unsqueeze(1).expand_as(shown))
