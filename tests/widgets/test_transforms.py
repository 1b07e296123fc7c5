import numpy as np
import pytest
import torch

from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.widgets import TransformExplorer, display
from codial.widgets.transforms import DEFAULTS


@pytest.fixture
def explorer(photos, monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda *items, **_: shown.append(items) or _Handle(shown))
    explorer = TransformExplorer(photos["train"].batch([0, 1]), ViewsConfig(size=64))
    explorer.shown = shown
    return explorer


class _Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, item):
        self.shown.append(("update", item))


def views(figure):
    """Every picture of a figure, [3, H, W] in [0, 1]."""
    return [torch.from_numpy(np.array(a.images[0].get_array())).permute(2, 0, 1).float() / 255 for a in figure.axes]


PLAIN = {"area": 1.0, "warp": 0.0}


def test_with_nothing_chosen_every_stage_is_the_picture(explorer):
    picture, *stages = views(explorer.render(**PLAIN))
    assert len(stages) == 4
    for stage in stages:
        torch.testing.assert_close(stage, picture, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("quarter", range(4))
def test_the_last_stage_is_the_primary_transform(explorer, quarter):
    *_, before, after = views(explorer.render(primary=PRIMARY[quarter], area=0.4, hue=0.2))
    assert torch.equal(after, torch.rot90(before, quarter, (1, 2)))


def test_each_control_changes_its_stage_and_none_before(explorer):
    plain = views(explorer.render(**PLAIN))
    first = {
        "mirror": (True, 1),
        "area": (0.5, 1),
        "brightness": (0.5, 2),
        "hue": (0.3, 2),
        "blur": (2.0, 3),
        "warp": (0.2, 4),
    }
    for name, (value, stage) in first.items():
        changed = views(explorer.render(**PLAIN | {name: value}))
        same = [torch.equal(a, b) for a, b in zip(plain, changed, strict=True)]
        assert same[:stage] == [True] * stage, name
        assert not same[stage], name


def test_the_same_draw_is_the_same_warp_and_another_is_not(explorer):
    first, again, other = (views(explorer.render(warp=0.2, draw=draw))[-1] for draw in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_there_is_a_control_for_each_parameter_that_waits_for_its_release(explorer):
    assert list(explorer.controls) == list(DEFAULTS)
    assert {name: control.value for name, control in explorer.controls.items()} == DEFAULTS
    sliders = [c for c in explorer.controls.values() if hasattr(c, "continuous_update")]
    assert len(sliders) == 12
    assert not any(slider.continuous_update for slider in sliders)


def test_a_moved_slider_draws_anew_in_the_same_place(explorer):
    explorer.show()
    before = len(explorer.shown)
    explorer.controls["brightness"].value = 0.3
    explorer.controls["primary"].value = "turn90"
    assert [kind for kind, _ in explorer.shown[before:]] == ["update", "update"]
    assert explorer.shown[-1][1].data != explorer.shown[-2][1].data


def test_an_error_is_shown_and_goes_when_it_is_mended(explorer, monkeypatch):
    explorer.show()
    monkeypatch.setattr(explorer, "render", lambda **_: 1 / 0)
    explorer.controls["hue"].value = 0.1
    assert "ZeroDivisionError" in explorer.message.value
    monkeypatch.undo()
    explorer.controls["hue"].value = 0.2
    assert explorer.message.value == ""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": 1}, "no parameter 'colour'; there are picture, area"),
        ({"primary": "turn45"}, "primary is 'turn45'; expected one of turn0"),
        ({"picture": 2}, "picture is 2; expected a number from 0 to 1"),
        ({"area": 0}, "area is 0; expected"),
    ],
)
def test_a_wrong_value_is_told_in_words(explorer, values, words):
    with pytest.raises(CodialError, match=words):
        explorer.render(**values)
