import io
import shutil
from threading import Thread

import numpy as np
import pytest
import torch
from matplotlib.quiver import Quiver
from PIL import Image

import codial
from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.plots.style import png
from codial.widgets import TransformExplorer, display
from codial.widgets.byhand import DEFAULTS, ORDERS

CONFIG = ViewsConfig(size=64)


class _Page:
    """What is seen under a cell: the widgets' bundle, and every picture that was ever there."""

    def __init__(self):
        self.bundles, self.pictures = [], []

    def display(self, item, **_):
        self.update(item) if hasattr(item, "data") else self.bundles.append(item)
        return self

    def update(self, item):
        self.pictures.append(item.data)


@pytest.fixture
def page(monkeypatch):
    page = _Page()
    monkeypatch.setattr(display, "display", page.display)
    return page


@pytest.fixture
def explorer(photos, page):
    return TransformExplorer(photos["train"], CONFIG)


@pytest.fixture
def asked(photos, page, tiny_run, tmp_path):
    """An explorer that shows a run's belief, a copy that tests may damage; views have its 32 pixels."""
    shutil.copytree(tiny_run.folder, tmp_path / "runs" / "mine")
    explorer = TransformExplorer(photos["train"], ViewsConfig(size=32), tmp_path / "runs" / "mine")
    explorer.show()
    return explorer


def views(figure):
    """Every picture of a figure, [3, H, W] in [0, 1]."""
    return [
        torch.from_numpy(np.array(a.images[0].get_array())).permute(2, 0, 1).float() / 255
        for a in figure.axes
        if a.images
    ]


def arrows(figure):
    return [i for i, a in enumerate(figure.axes) if any(isinstance(item, Quiver) for item in a.collections)]


# One view, by hand.

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


def test_the_order_of_colours_is_that_which_is_chosen(explorer):
    chosen = {"hue": 0.3, "contrast": 0.3}
    first, second = (explorer.render(**chosen, order=order) for order in ("hcbs", "chbs"))
    assert first.axes[2].get_xlabel() == "hue, contrast, brightness, saturation"
    assert not torch.equal(views(first)[2], views(second)[2])
    assert len(ORDERS) == 24
    assert ORDERS[0] == "bcsh"


def test_the_same_seed_is_the_same_warp_and_another_is_not(explorer):
    first, again, other = (views(explorer.render(warp=0.2, seed=seed))[-1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_arrows_are_on_the_warped_view_alone(explorer):
    assert arrows(explorer.render()) == [4]
    assert arrows(explorer.render(arrows=False)) == []
    assert arrows(explorer.render(primary="turn90")) == []
    assert arrows(explorer.render_views()) == [5]
    assert arrows(explorer.render_views(arrows=False)) == []


def test_there_is_a_control_for_each_parameter_that_waits_for_its_release(explorer):
    assert list(explorer.hand.controls) == list(DEFAULTS)
    assert explorer.hand.values == DEFAULTS
    sliders = [c for c in explorer.hand.controls.values() if hasattr(c, "continuous_update")]
    assert len(sliders) == 10
    assert not any(slider.continuous_update for slider in sliders)


def test_what_was_made_by_hand_can_be_copied_as_python(explorer, page):
    explorer.controls["mode"].value = "hand"
    explorer.show()
    explorer.hand.controls["hue"].value = 0.25 + 1e-12  # steps leave such tails
    explorer.controls["seed"].value = 4
    assert "explorer.render(seed=4, hue=0.25)" in explorer.hand.text.value
    assert page.pictures[-1] == png(explorer.render(seed=4, hue=0.25))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": 1}, "no parameter 'colour'; there are area"),
        ({"primary": "turn45"}, "primary is 'turn45'; expected one of turn0"),
        ({"area": 0}, "area is 0; expected"),
        ({"order": "bch"}, "order is 'bch'; expected the letters of 'bcsh'"),
    ],
)
def test_a_wrong_value_is_told_in_words(explorer, values, words):
    with pytest.raises(CodialError, match=words):
        explorer.render(**values)


# All views, as the network gets them.


def test_the_views_are_the_samplers_own(explorer, photos):
    changes = {"crop_area": (0.3, 0.5), "hue": 0.0, "warp_offset": 0.2}
    config = ViewsConfig(size=64, **changes)
    expected = codial.sample_views(photos["train"].batch([0]), config, torch.Generator().manual_seed(3))
    _, *got = views(explorer.render_views(seed=3, **changes))
    torch.testing.assert_close(torch.stack(got), expected.images[0], atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"warp": 0.2}, "no setting called 'warp'"), ({"hue": 0.7}, r"views.hue is 0.7; expected a number in \[0, 0.5\]")],
)
def test_a_wrong_setting_is_told_in_words(explorer, changes, words):
    with pytest.raises(CodialError, match=words):
        explorer.render_views(**changes)


def test_the_panel_shows_what_the_same_call_returns(explorer, page):
    explorer.show()
    assert page.pictures[-1] == png(explorer.render_views())
    explorer.ranges.controls["blur"].value = 1.0
    explorer.controls["seed"].value = 5
    assert page.pictures[-1] == png(explorer.render_views(seed=5, blur=1.0))
    explorer.controls["mode"].value = "hand"
    assert page.pictures[-1] == png(explorer.render(seed=5))
    assert len(page.pictures) == 4, "each change draws once"


def test_draw_again_takes_the_next_seed(explorer, page):
    explorer.show()
    explorer.controls["again"].click()
    assert page.pictures[-1] == png(explorer.render_views(seed=1)) != page.pictures[-2]
    explorer.again()
    assert page.pictures[-1] == png(explorer.render_views(seed=2))
    assert len(page.pictures) == 3


def test_clicks_from_several_threads_all_count(explorer, page):
    """JupyterLab's callbacks come on threads of their own."""
    explorer.show()
    clicks = [Thread(target=explorer.controls["again"].click) for _ in range(6)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert page.pictures[-1] == png(explorer.render_views(seed=6))
    assert len(page.pictures) == 7
    assert explorer.message.value == ""


def test_nothing_is_drawn_before_it_is_shown(explorer, page):
    explorer.ranges.controls["blur"].value = 1.0
    explorer.again()
    assert page.pictures == page.bundles == []


def test_without_a_kernel_there_are_words_and_the_figure(explorer, page):
    explorer.show()
    assert page.bundles[0]["text/plain"] == "[sliders: run this cell in JupyterLab]"
    assert len(page.pictures) == 1


def test_an_error_is_shown_and_goes_when_it_is_mended(explorer, page):
    explorer.show()
    for switch in explorer.ranges.primary.values():
        switch.value = False
    assert "views.primary is (); expected at least one transform" in explorer.message.value
    assert len(page.pictures) == 5, "the figure stays as it was"
    explorer.ranges.primary["warp"].value = True
    assert explorer.message.value == ""
    assert page.pictures[-1] == png(explorer.render_views(primary=("warp",)))


def test_an_error_that_nobody_foresaw_is_shown_too(explorer, page, monkeypatch):
    explorer.show()
    monkeypatch.setattr(explorer, "render_views", lambda **_: 1 / 0)
    explorer.controls["again"].click()
    assert "ZeroDivisionError" in explorer.message.value


# Pictures.


def test_another_picture_is_chosen_by_number_set_path_or_bytes(explorer, photos, page, tmp_path):
    explorer.show()
    explorer.choose("photos", 7)
    assert page.pictures[-1] == png(explorer.render_views())
    assert torch.equal(explorer.chooser.picture, photos["train"].batch([7])[0])
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    explorer.choose(tmp_path / "red.png")
    assert explorer.chooser.picture[:, 5, 5].tolist() == [255, 0, 0]
    blue = io.BytesIO()
    Image.new("RGB", (300, 200), "blue").save(blue, "png")
    explorer.upload("blue.png", blue.getvalue())
    assert explorer.chooser.picture[:, 5, 5].tolist() == [0, 0, 255]
    assert page.pictures[-1] == png(explorer.render_views())
    assert len(page.pictures) == 4, "each draws once"


# A run's belief.


def test_a_runs_belief_is_shown_beneath_its_views(asked, page, tiny_run):
    figure = asked.render_views(run=tiny_run)
    assert page.pictures[-1] == png(figure)
    assert len(figure.axes) == 3 * 6
    expected = codial.evaluate.beliefs(tiny_run, torch.stack(views(asked.render_views())[1:]))
    bars = [[bar.get_width() for bar in axes.patches] for axes in figure.axes[13:]]
    torch.testing.assert_close(
        torch.tensor(bars).float(), expected.probabilities, atol=1e-3, rtol=0
    )  # pixels were rounded
    assert asked.message.value == ""


def test_a_view_by_hand_is_asked_about_too(asked, tiny_run):
    words = asked.render(run=tiny_run).axes[-1].get_xlabel().split("\n")[-1]
    assert " taken for " in words
    assert words[0] in "✓✗"


def test_runs_beside_it_are_offered_and_none(asked, tmp_path):
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "other")
    explorer = TransformExplorer(asked.chooser.images, asked.config, tmp_path / "runs" / "mine")
    names = [name for name, _ in explorer.controls["run"].options]
    assert names == ["none", "runs/mine", "runs/other"]


def test_a_run_that_is_gone_is_told_and_the_views_go_on(asked, page, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "mine")
    asked.controls["again"].click()
    assert "mine is not a run" in asked.message.value
    assert page.pictures[-1] == png(asked.render_views(seed=1))
    asked.controls["run"].value = None
    assert asked.message.value == ""


def test_a_run_without_a_checkpoint_is_told(asked, page, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "mine" / "checkpoints")
    asked.controls["again"].click()
    assert "mine has no &#x27;last&#x27; checkpoint yet" in asked.message.value
    assert page.pictures[-1] == png(asked.render_views(seed=1))


def test_views_that_the_run_cannot_see_are_told(asked):
    asked.ranges.controls["size"].value = 48
    assert "looks at views of 32 pixels" in asked.message.value
    asked.ranges.as_given.click()
    assert asked.message.value == ""


def test_a_run_that_was_never_there_is_told(photos, page, tmp_path):
    explorer = TransformExplorer(photos["train"], CONFIG, tmp_path / "none")
    explorer.show()
    assert "none is not a run" in explorer.message.value
    assert page.pictures[-1] == png(explorer.render_views())
