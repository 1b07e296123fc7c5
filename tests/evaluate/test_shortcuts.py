"""Bounds of simple cues, compared with closed forms and on real views."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from codial.config import ViewsConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate.shortcuts import CUES, shortcuts
from codial.losses.bounds import TWO_LN2

PLAIN = ViewsConfig(size=32, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
QUICK = {"steps": 200, "progress": False}


def unlabeled(images):
    return ImageSet("mine", "all", images, torch.full((len(images),), -1), ())


def of_colors(count, colors, generator):
    """Return images of one color each, from a palette of distinct colors."""
    palette = torch.tensor([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20], [20, 230, 230]])[:colors]
    numbers = torch.arange(count) % colors
    order = torch.randperm(count, generator=generator)
    return unlabeled(palette[numbers[order]].to(torch.uint8)[..., None, None].expand(-1, -1, 40, 40).contiguous())


def best_of_colors(colors):
    """Return twice the Jensen-Shannon divergence between two equal and two independent colors, by its definition."""
    joint, product = 1 / colors, 1 / colors**2
    mixture = (joint + product) / 2
    from_joint = colors * joint * math.log(joint / mixture)
    from_product = colors * product * math.log(product / mixture) + (1 - 1 / colors) * math.log(2)
    return from_joint + from_product


@pytest.mark.numbers("shortcuts against their closed form")
@pytest.mark.parametrize("colors", [2, 3, 5])
def test_bound_of_plain_colors_matches_closed_form(colors, generator):
    found = shortcuts(of_colors(600, colors, generator), PLAIN, cues=("colors",), **QUICK)
    assert found["colors"] == pytest.approx(best_of_colors(colors), abs=0.04)


def test_bound_of_equal_images_is_zero(photos):
    same = unlabeled(photos["train"].images[:1].expand(300, -1, -1, -1).contiguous())
    for nats in shortcuts(same, PLAIN, **QUICK).values():
        assert -0.03 < nats < 0.03


def test_hue_shift_lowers_the_bound_of_colors_only(photos):
    plain = shortcuts(photos["train"], PLAIN, **QUICK)
    shifted = shortcuts(photos["train"], replace(PLAIN, hue=0.5, saturation=1.0), **QUICK)
    assert shifted["colors"] < plain["colors"] - 0.15
    assert shifted["tones"] == pytest.approx(plain["tones"], abs=0.25)
    assert shifted["layout"] == pytest.approx(plain["layout"], abs=0.25)


def test_gray_cues_ignore_colors(generator):
    views = torch.rand(6, 3, 32, 32, generator=generator)
    gray = (views * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True).expand_as(views)
    for cue in ("tones", "layout"):
        assert_close(CUES[cue](gray * (1 / 0.9999)), CUES[cue](views), atol=1e-4, rtol=1e-3)
    assert {cue: read(views).shape[1] for cue, read in CUES.items()} == {"colors": 6, "tones": 4, "layout": 16}


def test_shortcuts_are_deterministic_and_keep_the_global_generator(photos):
    state = torch.get_rng_state()
    settings = {"cues": ("tones",), "steps": 20, "progress": False}
    first, again = (shortcuts(photos["train"], PLAIN, **settings) for _ in range(2))
    assert first == again != shortcuts(photos["train"], PLAIN, seed=1, **settings)
    assert torch.equal(state, torch.get_rng_state())
    assert first["tones"] < TWO_LN2


def test_a_cues_bound_does_not_depend_on_other_cues(photos):
    settings = {"steps": 20, "progress": False}
    assert shortcuts(photos["train"], PLAIN, **settings)["layout"] == pytest.approx(
        shortcuts(photos["train"], PLAIN, cues=("layout",), **settings)["layout"], abs=1e-5
    )


def test_invalid_arguments_raise(photos, few):
    with pytest.raises(CodialError, match=r"views.primary is \('rot0',\); expected at least two views per image"):
        shortcuts(few, replace(PLAIN, primary=("rot0",)))
    with pytest.raises(CodialError, match=r"has 24 images; critics need at least 30"):
        shortcuts(few, PLAIN)
    with pytest.raises(CodialError, match=r"no cue called 'smell'; expected colors, tones, layout"):
        shortcuts(photos["train"], PLAIN, cues=("smell",))
    with pytest.raises(CodialError, match=r"steps is 0; expected at least 1"):
        shortcuts(photos["train"], PLAIN, steps=0)
    with pytest.raises(CodialError, match=r"limit is 5; expected at least 30"):
        shortcuts(photos["train"], PLAIN, limit=5)
