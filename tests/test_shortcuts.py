"""How much of the bound simple cues give, against closed forms and on real views."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from codial.config import ViewsConfig
from codial.data import ImageSet
from codial.errors import CodialError
from codial.information import TWO_LN2
from codial.shortcuts import CUES, shortcuts

PLAIN = ViewsConfig(size=32, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
QUICK = {"steps": 200, "progress": False}


def unlabelled(pictures):
    return ImageSet("mine", "all", pictures, torch.full((len(pictures),), -1), ())


def of_colours(count, colours, generator):
    """Pictures of one colour each, of so many that are far apart."""
    palette = torch.tensor([[230, 20, 20], [20, 230, 20], [20, 20, 230], [230, 230, 20], [20, 230, 230]])[:colours]
    numbers = torch.arange(count) % colours
    order = torch.randperm(count, generator=generator)
    return unlabelled(palette[numbers[order]].to(torch.uint8)[..., None, None].expand(-1, -1, 40, 40).contiguous())


def best_of_colours(colours):
    """Twice the Jensen-Shannon divergence between "the same of C" and two independent ones, by its definition."""
    joint, product = 1 / colours, 1 / colours**2
    middle = (joint + product) / 2
    together = colours * joint * math.log(joint / middle)
    apart = colours * product * math.log(product / middle) + (1 - 1 / colours) * math.log(2)
    return together + apart


@pytest.mark.numbers("shortcuts against their closed form")
@pytest.mark.parametrize("colours", [2, 3, 5])
def test_what_plain_colours_tell_is_the_divergence_in_closed_form(colours, generator):
    found = shortcuts(of_colours(600, colours, generator), PLAIN, cues=("colours",), **QUICK)
    assert found["colours"] == pytest.approx(best_of_colours(colours), abs=0.04)


def test_pictures_that_are_all_the_same_tell_nothing(photos):
    same = unlabelled(photos["train"].images[:1].expand(300, -1, -1, -1).contiguous())
    for nats in shortcuts(same, PLAIN, **QUICK).values():
        assert -0.03 < nats < 0.03


def test_hues_that_change_hide_the_colours_but_neither_tones_nor_layout(photos):
    plain = shortcuts(photos["train"], PLAIN, **QUICK)
    turned = shortcuts(photos["train"], replace(PLAIN, hue=0.5, saturation=1.0), **QUICK)
    assert turned["colours"] < plain["colours"] - 0.15
    assert turned["tones"] == pytest.approx(plain["tones"], abs=0.25)
    assert turned["layout"] == pytest.approx(plain["layout"], abs=0.25)


def test_cues_of_grey_do_not_see_colours(generator):
    views = torch.rand(6, 3, 32, 32, generator=generator)
    grey = (views * torch.tensor([0.2989, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True).expand_as(views)
    for cue in ("tones", "layout"):
        assert_close(CUES[cue](grey * (1 / 0.9999)), CUES[cue](views), atol=1e-4, rtol=1e-3)
    assert {cue: read(views).shape[1] for cue, read in CUES.items()} == {"colours": 6, "tones": 4, "layout": 16}


def test_the_same_seed_gives_the_same_numbers_and_leaves_torchs_generator_alone(photos):
    state = torch.get_rng_state()
    settings = {"cues": ("tones",), "steps": 20, "progress": False}
    first, again = (shortcuts(photos["train"], PLAIN, **settings) for _ in range(2))
    assert first == again != shortcuts(photos["train"], PLAIN, seed=1, **settings)
    assert torch.equal(state, torch.get_rng_state())
    assert first["tones"] < TWO_LN2


def test_a_cue_alone_is_as_among_others(photos):
    settings = {"steps": 20, "progress": False}
    assert shortcuts(photos["train"], PLAIN, **settings)["layout"] == pytest.approx(
        shortcuts(photos["train"], PLAIN, cues=("layout",), **settings)["layout"], abs=1e-5
    )


def test_what_cannot_be_measured_is_refused(photos, few):
    with pytest.raises(CodialError, match=r"at least two a picture"):
        shortcuts(few, replace(PLAIN, primary=("turn0",)))
    with pytest.raises(CodialError, match=r"has 24 pictures; critics need at least 30"):
        shortcuts(few, PLAIN)
    with pytest.raises(CodialError, match=r"no cue called 'smell'; expected colours, tones, layout"):
        shortcuts(photos["train"], PLAIN, cues=("smell",))
    with pytest.raises(CodialError, match=r"steps is 0; expected at least 1"):
        shortcuts(photos["train"], PLAIN, steps=0)
    with pytest.raises(CodialError, match=r"pictures is 5; expected at least 30"):
        shortcuts(photos["train"], PLAIN, pictures=5)
