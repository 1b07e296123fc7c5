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
from codial.widgets.manual_view import DEFAULTS, ORDERS

CONFIG = ViewsConfig(size=64)


class _Page:
    """The output of a cell: bundles of widgets, and every image that was displayed."""

    def __init__(self):
        self.bundles, self.images = [], []

    def display(self, item, **_):
        self.update(item) if hasattr(item, "data") else self.bundles.append(item)
        return self

    def update(self, item):
        self.images.append(item.data)


@pytest.fixture
def page(monkeypatch):
    page = _Page()
    monkeypatch.setattr(display, "display", page.display)
    return page


@pytest.fixture
def explorer(photos, page):
    return TransformExplorer(photos["train"], CONFIG)


@pytest.fixture
def explorer_with_run(photos, page, tiny_run, tmp_path):
    """An explorer with predictions of a copy of a run, which tests may damage; views have its 32 pixels."""
    shutil.copytree(tiny_run.folder, tmp_path / "runs" / "mine")
    explorer = TransformExplorer(photos["train"], ViewsConfig(size=32), tmp_path / "runs" / "mine")
    explorer.show()
    return explorer


def views(figure):
    """All images of a figure, [3, H, W] in [0, 1]."""
    return [
        torch.from_numpy(np.array(a.images[0].get_array())).permute(2, 0, 1).float() / 255
        for a in figure.axes
        if a.images
    ]


def arrows(figure):
    return [i for i, a in enumerate(figure.axes) if any(isinstance(item, Quiver) for item in a.collections)]


# One view with manual parameters.

PLAIN = {"area": 1.0, "warp": 0.0}


def test_identity_parameters_keep_the_image_in_every_stage(explorer):
    image, *stages = views(explorer.render(**PLAIN))
    assert len(stages) == 4
    for stage in stages:
        torch.testing.assert_close(stage, image, atol=1.01 / 255, rtol=0)


@pytest.mark.parametrize("quarter", range(4))
def test_the_last_stage_is_the_primary_transform(explorer, quarter):
    *_, before, after = views(explorer.render(primary=PRIMARY[quarter], area=0.4, hue=0.2))
    assert torch.equal(after, torch.rot90(before, quarter, (1, 2)))


def test_each_parameter_changes_its_stage_and_none_before(explorer):
    plain = views(explorer.render(**PLAIN))
    first = {
        "flip": (True, 1),
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


def test_the_order_of_color_operations_can_be_set(explorer):
    params = {"hue": 0.3, "contrast": 0.3}
    first, second = (explorer.render(**params, order=order) for order in ("hcbs", "chbs"))
    assert first.axes[2].get_xlabel() == "hue, contrast, brightness, saturation"
    assert not torch.equal(views(first)[2], views(second)[2])
    assert len(ORDERS) == 24
    assert ORDERS[0] == "bcsh"


def test_the_warp_depends_on_the_seed_only(explorer):
    first, again, other = (views(explorer.render(warp=0.2, seed=seed))[-1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_arrows_are_on_the_warped_view_only(explorer):
    assert arrows(explorer.render()) == [4]
    assert arrows(explorer.render(arrows=False)) == []
    assert arrows(explorer.render(primary="rot90")) == []
    assert arrows(explorer.render_views()) == [5]
    assert arrows(explorer.render_views(arrows=False)) == []


def test_each_parameter_has_a_control_that_updates_on_release(explorer):
    assert list(explorer.manual.controls) == list(DEFAULTS)
    assert explorer.manual.values == DEFAULTS
    sliders = [c for c in explorer.manual.controls.values() if hasattr(c, "continuous_update")]
    assert len(sliders) == 10
    assert not any(slider.continuous_update for slider in sliders)


def test_manual_parameters_can_be_copied_as_python(explorer, page):
    explorer.controls["mode"].value = "manual"
    explorer.show()
    explorer.manual.controls["hue"].value = 0.25 + 1e-12  # a floating-point error of the slider
    explorer.controls["seed"].value = 4
    assert "explorer.render(seed=4, hue=0.25)" in explorer.manual.text.value
    assert page.images[-1] == png(explorer.render(seed=4, hue=0.25))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"color": 1}, "no parameter 'color'; expected one of area"),
        ({"primary": "rot45"}, "primary is 'rot45'; expected one of rot0"),
        ({"area": 0}, "area is 0; expected"),
        ({"order": "bch"}, "order is 'bch'; expected a permutation of 'bcsh'"),
    ],
)
def test_invalid_parameters_are_refused(explorer, values, message):
    with pytest.raises(CodialError, match=message):
        explorer.render(**values)


# All views, as sampled for training.


def test_views_are_those_of_the_sampler(explorer, photos):
    changes = {"crop_area": (0.3, 0.5), "hue": 0.0, "warp_offset": 0.2}
    config = ViewsConfig(size=64, **changes)
    expected = codial.sample_views(photos["train"].batch([0]), config, torch.Generator().manual_seed(3))
    _, *got = views(explorer.render_views(seed=3, **changes))
    torch.testing.assert_close(torch.stack(got), expected.images[0], atol=0.51 / 255, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"warp": 0.2}, "no setting called 'warp'"),
        ({"hue": 0.7}, r"views.hue is 0.7; expected a fraction of the hue circle in \[0, 0.5\]"),
    ],
)
def test_invalid_settings_are_refused(explorer, changes, message):
    with pytest.raises(CodialError, match=message):
        explorer.render_views(**changes)


def test_the_panel_shows_the_figure_of_the_same_call(explorer, page):
    explorer.show()
    assert page.images[-1] == png(explorer.render_views())
    explorer.settings.controls["blur"].value = 1.0
    explorer.controls["seed"].value = 5
    assert page.images[-1] == png(explorer.render_views(seed=5, blur=1.0))
    explorer.controls["mode"].value = "manual"
    assert page.images[-1] == png(explorer.render(seed=5))
    assert len(page.images) == 4, "each change draws once"


def test_resampling_uses_the_next_seed(explorer, page):
    explorer.show()
    explorer.controls["resample"].click()
    assert page.images[-1] == png(explorer.render_views(seed=1)) != page.images[-2]
    explorer.resample()
    assert page.images[-1] == png(explorer.render_views(seed=2))
    assert len(page.images) == 3


def test_clicks_from_several_threads_all_count(explorer, page):
    """JupyterLab's callbacks come on threads of their own."""
    explorer.show()
    clicks = [Thread(target=explorer.controls["resample"].click) for _ in range(6)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert page.images[-1] == png(explorer.render_views(seed=6))
    assert len(page.images) == 7
    assert explorer.message.value == ""


def test_nothing_is_drawn_before_show(explorer, page):
    explorer.settings.controls["blur"].value = 1.0
    explorer.resample()
    assert page.images == page.bundles == []


def test_without_a_kernel_there_is_a_text_and_the_figure(explorer, page):
    explorer.show()
    assert page.bundles[0]["text/plain"] == "[sliders: run this cell in JupyterLab]"
    assert len(page.images) == 1


def test_errors_are_shown_until_the_next_success(explorer, page):
    explorer.show()
    for switch in explorer.settings.primary.values():
        switch.value = False
    assert "views.primary is (); expected at least one transform" in explorer.message.value
    assert len(page.images) == 5, "the figure stays as it was"
    explorer.settings.primary["warp"].value = True
    assert explorer.message.value == ""
    assert page.images[-1] == png(explorer.render_views(primary=("warp",)))


def test_unexpected_errors_are_shown(explorer, page, monkeypatch):
    explorer.show()
    monkeypatch.setattr(explorer, "render_views", lambda **_: 1 / 0)
    explorer.controls["resample"].click()
    assert "ZeroDivisionError" in explorer.message.value


# Images.


def test_images_are_selected_by_number_path_or_bytes(explorer, photos, page, tmp_path):
    explorer.show()
    explorer.select("photos", 7)
    assert page.images[-1] == png(explorer.render_views())
    assert torch.equal(explorer.picker.image, photos["train"].batch([7])[0])
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    explorer.select(tmp_path / "red.png")
    assert explorer.picker.image[:, 5, 5].tolist() == [255, 0, 0]
    blue = io.BytesIO()
    Image.new("RGB", (300, 200), "blue").save(blue, "png")
    explorer.upload("blue.png", blue.getvalue())
    assert explorer.picker.image[:, 5, 5].tolist() == [0, 0, 255]
    assert page.images[-1] == png(explorer.render_views())
    assert len(page.images) == 4, "each draws once"


# Predictions of a run.


def test_predictions_are_shown_below_the_views(explorer_with_run, page, tiny_run):
    figure = explorer_with_run.render_views(run=tiny_run)
    assert page.images[-1] == png(figure)
    assert len(figure.axes) == 3 * 6
    expected = codial.evaluate.predictions(tiny_run, torch.stack(views(explorer_with_run.render_views())[1:]))
    bars = [[bar.get_width() for bar in axes.patches] for axes in figure.axes[13:]]
    torch.testing.assert_close(
        torch.tensor(bars).float(), expected.probabilities, atol=1e-3, rtol=0
    )  # pixels were rounded
    assert explorer_with_run.message.value == ""


def test_a_manual_view_has_a_prediction(explorer_with_run, tiny_run):
    caption = explorer_with_run.render(run=tiny_run).axes[-1].get_xlabel().split("\n")[-1]
    assert "predicted: " in caption
    assert caption[0] in "✓✗"


def test_the_menu_offers_runs_beside_the_given_one_and_none(explorer_with_run, tmp_path):
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "other")
    explorer = TransformExplorer(explorer_with_run.picker.images, explorer_with_run.config, tmp_path / "runs" / "mine")
    names = [name for name, _ in explorer.controls["run"].options]
    assert names == ["none", "runs/mine", "runs/other"]


def test_a_deleted_run_shows_an_error_and_views_without_predictions(explorer_with_run, page, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "mine")
    explorer_with_run.controls["resample"].click()
    assert "mine is not a run" in explorer_with_run.message.value
    assert page.images[-1] == png(explorer_with_run.render_views(seed=1))
    explorer_with_run.controls["run"].value = None
    assert explorer_with_run.message.value == ""


def test_a_run_without_checkpoint_shows_an_error(explorer_with_run, page, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "mine" / "checkpoints")
    explorer_with_run.controls["resample"].click()
    assert "mine has no &#x27;last&#x27; checkpoint yet" in explorer_with_run.message.value
    assert page.images[-1] == png(explorer_with_run.render_views(seed=1))


def test_views_of_another_size_show_an_error(explorer_with_run):
    explorer_with_run.settings.controls["size"].value = 48
    assert "was trained on views of 32 pixels" in explorer_with_run.message.value
    explorer_with_run.settings.reset_button.click()
    assert explorer_with_run.message.value == ""


def test_a_missing_run_shows_an_error(photos, page, tmp_path):
    explorer = TransformExplorer(photos["train"], CONFIG, tmp_path / "none")
    explorer.show()
    assert "none is not a run" in explorer.message.value
    assert page.images[-1] == png(explorer.render_views())
