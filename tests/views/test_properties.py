"""What holds of views whatever is drawn and however they are set, by hypothesis: on a CPU's way and the others'."""

from dataclasses import replace

import pytest
import torch
from damage import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from codial.config import PRIMARY, ViewsConfig
from codial.data import ImageSet
from codial.feed import Feed
from codial.ranks import Ranks
from codial.views import batched, draw, fused, jitter, rotate, warp

pytestmark = pytest.mark.numbers("properties of views")

TURNS = {"turn0": 0, "turn90": 1, "turn180": 2, "turn270": 3}
COLOURLESS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "grey": 0, "blur": 0}
EXAMPLES = 60


def ordered(low, high):
    return st.tuples(*[st.floats(low, high)] * 2).map(sorted).map(tuple)


part, seeds, sides = st.floats(0, 1), st.integers(0, 2**32), st.integers(1, 50)
primaries = st.permutations(PRIMARY).flatmap(lambda names: st.integers(1, 5).map(lambda n: tuple(names[:n])))
configs = st.builds(
    ViewsConfig,
    size=st.integers(16, 40),
    primary=primaries,
    flip=part,
    crop_area=ordered(0.001, 1),
    crop_aspect=ordered(0.1, 10),
    shared_crop=st.booleans(),
    **dict.fromkeys(("brightness", "contrast", "saturation", "grey", "blur"), part),
    hue=st.floats(0, 0.5),
    blur_kernel=st.floats(0.01, 0.5),
    blur_sigma=ordered(0.01, 10),
    warp_offset=st.floats(0, 0.5),
    warp_placement=st.sampled_from(["grid", "random"]),
    warp_border=st.sampled_from(["replicate", "picture"]),
)
ways = pytest.mark.parametrize("way", [fused, batched])


def noise(count, height, width, seed):
    return torch.randint(256, (count, 3, height, width), generator=torch.Generator().manual_seed(seed)).byte()


def drawn_for(count, shape, config, seed):
    return draw(count, shape, config, torch.Generator().manual_seed(seed))


@ways
@fuzzed(EXAMPLES)
@given(configs, sides, sides, seeds)
def test_values_lie_in_0_to_1(way, config, height, width, seed):
    images = way.render(noise(3, height, width, seed), drawn_for(3, (height, width), config, seed), config)
    assert images.shape == (3, len(config.primary), 3, config.size, config.size)
    assert images.isfinite().all()
    assert -1e-6 <= float(images.min()) <= float(images.max()) <= 1 + 1e-6


@ways
@fuzzed(EXAMPLES)
@given(configs, sides, sides, st.integers(0, 255), seeds)
def test_no_border_is_seen(way, config, height, width, level, seed):
    """A picture of one colour has no edge: wherever a view looks, it is that colour."""
    config = replace(config, **COLOURLESS | {"blur": config.blur})
    flat = torch.full((2, 3, height, width), level, dtype=torch.uint8)
    images = way.render(flat, drawn_for(2, (height, width), config, seed), config)
    torch.testing.assert_close(images, torch.full_like(images, level / 255), atol=1e-5, rtol=0)


@ways
@fuzzed(EXAMPLES)
@given(configs, seeds)
def test_nothing_from_outside_the_crop_is_seen_where_its_edge_is_repeated(way, config, seed):
    """Crops no larger than the view, for a shrunk one is smoothed with what is beside it."""
    side = config.size
    config = replace(config, warp_border="replicate", crop_area=(0.001, 0.2), crop_aspect=(0.5, 2.0))
    drawn = drawn_for(2, (side, side), config, seed)
    drawn = drawn._replace(box=drawn.box[:, :1].expand_as(drawn.box).contiguous())
    pictures = torch.ones(2, 3, side, side)
    for picture, (left, top, width, height) in zip(pictures, drawn.box[:, 0].tolist(), strict=True):
        picture[:, int(top + 1e-4) : int(top + height + 1), int(left + 1e-4) : int(left + width + 1)] = 0
    assert way.render(pictures, drawn, config).max() < 2e-4  # places are rounded by some 1e-5 pixels


@fuzzed(EXAMPLES)
@given(st.integers(1, 40), st.lists(st.integers(-9, 9), min_size=3, max_size=3), seeds)
def test_a_turn_back_undoes_a_turn(side, turns, seed):
    pictures, turns = noise(3, side, side, seed), torch.tensor(turns)
    assert torch.equal(rotate(rotate(pictures, turns), -turns), pictures)
    assert torch.equal(rotate(rotate(pictures, turns), 4 - turns % 4), pictures)


@ways
@fuzzed(EXAMPLES)
@given(configs, sides, sides, seeds)
def test_a_mirrored_picture_mirrored_is_the_picture(way, config, height, width, seed):
    """And so are the views of it, its crops mirrored with it."""
    pictures, drawn = noise(2, height, width, seed), drawn_for(2, (height, width), config, seed)
    box = drawn.box.clone()
    box[..., 0] = width - box[..., 0] - box[..., 2]
    mirrored = way.render(pictures.flip(-1), drawn._replace(box=box, flip=~drawn.flip), config)
    # A place is rounded by 1e-5 of the picture's side; pixels of noise are up to 1 apart, strong colours double that.
    torch.testing.assert_close(mirrored, way.render(pictures, drawn, config), atol=5e-3, rtol=0)


@fuzzed(EXAMPLES)
@given(st.floats(-0.5, 0.5), seeds)
def test_a_shift_of_hue_back_undoes_it(turns, seed):
    """Colours keep their highest and lowest channel, so nothing is lost."""
    colours = noise(2, 8, 8, seed).float() / 255
    order = torch.arange(4).expand(2, 4)
    ahead, back = (torch.tensor([1.0, 1.0, 1.0, sign * turns]).expand(2, 4) for sign in (1, -1))
    torch.testing.assert_close(jitter(jitter(colours, ahead, order), back, order), colours, atol=2e-4, rtol=0)


@fuzzed(EXAMPLES)
@given(st.integers(-5, 5), st.integers(-5, 5), seeds)
def test_a_shift_by_a_warp_back_undoes_it(dx, dy, seed):
    """Where nothing was pushed out of the picture."""
    pictures, offsets = noise(2, 24, 24, seed).float() / 255, torch.tensor([float(dx), float(dy)]).expand(2, 16, 2)
    there_and_back = warp(warp(pictures, offsets), -offsets)
    inner = (..., slice(5, -5), slice(5, -5))
    torch.testing.assert_close(there_and_back[inner], pictures[inner], atol=1e-4, rtol=0)


@ways
@fuzzed(EXAMPLES)
@given(configs, seeds)
def test_a_view_is_turned_as_its_label_says(way, config, seed):
    """Turned back by its label, each view of a shared crop is the same; a label is a place in the list."""
    config = replace(config, **COLOURLESS, shared_crop=True, warp_offset=0)
    pictures, drawn = noise(2, 30, 20, seed), drawn_for(2, (30, 20), config, seed)
    images = way.render(pictures, drawn, config)
    upright = replace(config, primary=("turn0",))
    alone = drawn._replace(**{name: getattr(drawn, name)[:, :1] for name in ("box", "factors", "order", "sigma")})
    expected = way.render(pictures, alone, upright)[:, 0]
    for label, name in enumerate(config.primary):
        turned_back = rotate(images[:, label], -TURNS.get(name, 0))
        torch.testing.assert_close(turned_back, expected, atol=5e-3, rtol=0)


@fuzzed(EXAMPLES)
@given(primaries, st.permutations(range(12)), st.integers(1, 2), seeds)
def test_pictures_views_and_labels_stay_together(tiny, primary, order, processes, seed):
    """Each picture has a grey of its own, by which its views are known; whatever the order and the share."""
    levels = torch.arange(12) * 20
    pictures = levels.view(12, 1, 1, 1).expand(12, 3, 20, 20).byte().contiguous()
    images = ImageSet("greys", "train", pictures, torch.arange(12) % 5, tuple("abcde"))
    views, discrimination = replace(tiny.views, primary=primary, **COLOURLESS), replace(tiny.objective, mi_weight=0)
    config = replace(tiny, seed=seed, views=views, objective=discrimination)
    for rank in range(processes):
        feed = Feed(images, config, torch.device("cpu"), Ranks(rank, processes))
        for fed in feed.batches(torch.tensor(order).view(3, 4), 0):
            assert torch.equal(fed.labels, fed.indices % 5)
            assert torch.equal(fed.views.labels, torch.arange(len(primary)).expand(len(fed.indices), -1))
            shown = (255 * fed.views.images.mean((2, 3, 4))).round().long()
            assert torch.equal(shown, levels[fed.indices].unsqueeze(1).expand_as(shown))
