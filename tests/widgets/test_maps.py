import io
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data import ImageSet
from codial.errors import CodialError
from codial.evaluate import LayerMap
from codial.plots.chosen import NEAR
from codial.widgets import EmbeddingMap, maps

COUNT = 40


def a_map(seed, count=COUNT, k=12):
    generator = torch.Generator().manual_seed(seed)
    near = torch.stack([(torch.arange(k) + 1 + seed + n) % count for n in range(count)])
    return LayerMap(torch.randn(count, 2, generator=generator), 0.9, near, torch.ones(count, k))


def some_maps(count=COUNT):
    names = [(run, layer) for run in ("random", "codial", "codial, epoch 2") for layer in ("conv1", "fc7")]
    made = {}
    for seed, (run, layer) in enumerate(names):
        made.setdefault(run, {})[layer] = a_map(seed, count)
    return made


@pytest.fixture
def images(photos):
    return photos["test"].subset(COUNT, seed=1)


@pytest.fixture
def explorer(images, page):
    explorer = EmbeddingMap(some_maps(), images, ["random, fc7", "codial, fc7"])
    explorer.show()
    return explorer


@pytest.fixture
def without_anywidget(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "codial.widgets.scatter", raising=False)


def lasso(explorer, numbers):
    """Do what the page does when a hand has drawn a lasso."""
    explorer.lasso.set_state({"chosen": numbers})


def test_a_lasso_in_the_page_is_a_choice_in_python(explorer):
    before = explorer.gallery.value
    lasso(explorer, [3, 5, 8])
    assert explorer.selected == [3, 5, 8]
    assert explorer.status.value == f"3 of {COUNT} pictures chosen"
    assert explorer.gallery.value != before
    assert explorer.message.value == ""


def test_a_choice_in_python_is_in_the_page(explorer, images):
    explorer.choose((images.labels == 2).nonzero()[:, 0])
    assert explorer.lasso.chosen == explorer.selected == [n for n in range(COUNT) if images.labels[n] == 2]
    explorer.choose(n for n in (9, 4, 4, -1))
    assert explorer.lasso.chosen == explorer.selected == [4, 9, COUNT - 1]
    explorer.choose(np.array([], dtype=int))
    assert explorer.lasso.chosen == explorer.selected == []


def test_what_is_selected_is_a_copy(explorer):
    explorer.choose([1])
    explorer.selected.append(2)
    assert explorer.selected == [1]


def test_a_class_is_chosen_in_its_menu_which_lets_go_of_it_after_another_choice(explorer, images):
    explorer.classes.value = 3
    assert explorer.selected == [n for n in range(COUNT) if images.labels[n] == 3]
    assert explorer.classes.value == 3
    lasso(explorer, [0])
    assert explorer.selected == [0]
    assert explorer.classes.label == "choose one"
    explorer.clear.click()
    assert explorer.selected == explorer.lasso.chosen == []


def test_a_click_shows_the_picture_and_rings_its_neighbours_in_each_maps_features(explorer):
    empty = explorer.neighbours.value
    explorer.lasso.set_state({"pointed": 7})
    assert explorer.neighbours.value != empty
    assert explorer.lasso.near == [[(8 + seed + n) % COUNT for n in range(NEAR)] for seed in (1, 3)]
    explorer.lasso.set_state({"pointed": -1})
    assert explorer.lasso.near == []
    assert explorer.neighbours.value == empty
    explorer.point(7)
    assert explorer.lasso.pointed == 7


def test_menus_bring_other_maps_and_keep_choice_and_picture(explorer):
    explorer.choose([1, 2])
    explorer.point(7)
    explorer.menus[1].value = "codial, epoch 2, conv1"
    assert explorer.shown == ["random, fc7", "codial, epoch 2, conv1"]
    assert [panel["title"] for panel in explorer.lasso.panels] == explorer.shown
    sent = np.frombuffer(explorer.lasso.panels[1]["points"], np.float32).reshape(-1, 2)
    assert (sent == a_map(4).points.numpy()).all()
    assert explorer.lasso.near[1][0] == 12
    assert explorer.selected == [1, 2]
    explorer.look_at("codial, conv1", "codial, conv1")
    assert explorer.shown == ["codial, conv1"] * 2


def test_every_map_lies_in_the_frame(explorer):
    reach = torch.tensor(explorer.lasso.reach)
    assert all(bool((each.points.abs() < reach).all()) for each in explorer.maps.values())


def test_the_page_gets_the_picture_under_the_mouse(explorer, images):
    explorer.lasso.set_state({"hovered": 9})
    assert explorer.lasso.thumb["number"] == 9
    sent = np.array(Image.open(io.BytesIO(explorer.lasso.thumb["png"])))
    assert (sent == images.images[9].permute(1, 2, 0).numpy()).all()


def test_figures_are_drawn_only_when_what_they_show_has_changed(explorer, monkeypatch):
    calls = []
    for name in ("gallery", "neighbours_of"):
        real = getattr(maps, name)
        monkeypatch.setattr(maps, name, lambda *a, real=real, name=name: calls.append(name) or real(*a))
    explorer.choose([1])
    explorer.choose([1])
    explorer.point(1)
    explorer.point(1)
    assert calls == ["gallery", "neighbours_of"]


def test_the_figure_for_a_page_without_a_kernel_shows_the_same_maps(explorer):
    explorer.choose([1])
    axes = explorer.render().axes
    assert [each.get_title() for each in axes[:2]] == explorer.shown
    assert axes[2].get_title(loc="left") == f"1 of {COUNT} pictures chosen"


def test_a_page_without_a_kernel_has_words_for_the_panel(explorer, page):
    assert page[0]["text/plain"] == "[maps with a lasso: run this cell in JupyterLab]"


def test_without_anywidget_maps_are_a_picture_and_classes_can_be_chosen(images, page, without_anywidget):
    explorer = EmbeddingMap(some_maps(), images)
    explorer.show()
    assert explorer.lasso is None
    assert "needs anywidget (pip install anywidget)" in explorer.message.value
    before = bytes(explorer.still.value)
    assert before.startswith(b"\x89PNG")
    explorer.classes.value = 1
    assert explorer.selected
    assert explorer.still.value != before
    explorer.menus[0].value = "codial, conv1"
    assert "needs anywidget" in explorer.message.value


def test_left_out_the_last_layers_of_the_first_and_the_last_run_are_shown(images):
    assert EmbeddingMap(some_maps(), images).shown == ["random, fc7", "codial, epoch 2, fc7"]
    one = {"random": {"fc7": a_map(0)}}
    assert EmbeddingMap(one, images).shown == ["random, fc7"]


def test_without_labels_pictures_are_chosen_all_the_same(images, page):
    bare = ImageSet("mine", "all", images.images, torch.full((COUNT,), -1), ())
    explorer = EmbeddingMap(some_maps(), bare)
    explorer.show()
    lasso(explorer, [1, 2])
    assert explorer.selected == [1, 2]
    assert explorer.message.value == ""
    assert len(explorer.classes.options) == 1


def test_what_a_page_should_not_send_is_told_and_the_choice_stays(explorer):
    lasso(explorer, [1])
    lasso(explorer, [1, COUNT])
    assert "the set has 40 pictures" in explorer.message.value
    assert explorer.selected == [1]
    explorer.lasso.set_state({"pointed": COUNT})
    assert f"no picture {COUNT}" in explorer.message.value
    explorer.lasso.set_state({"hovered": COUNT})
    lasso(explorer, [2])
    assert explorer.message.value == ""


def test_pictures_that_are_gone_are_told_of_and_the_choice_is_there(explorer, monkeypatch):
    def gone(*_):
        raise CodialError("<photo.png> is gone.")

    monkeypatch.setattr(ImageSet, "batch", gone)
    lasso(explorer, [1, 2])
    assert explorer.message.value == "⚠ &lt;photo.png&gt; is gone."
    assert explorer.selected == [1, 2]
    explorer.lasso.set_state({"hovered": 3})
    assert "is gone" in explorer.message.value
    monkeypatch.undo()
    explorer.choose([3])
    assert explorer.message.value == ""


def test_any_other_error_is_shown_with_its_kind(explorer, monkeypatch):
    monkeypatch.setattr(maps, "gallery", lambda *_: 1 / 0)
    lasso(explorer, [1])
    assert explorer.message.value.startswith("⚠ <b>ZeroDivisionError:</b>")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda e: e.choose([COUNT]), f"run from {COUNT} to {COUNT}; the set has {COUNT} pictures"),
        (lambda e: e.choose([0.5]), "expected whole numbers"),
        (lambda e: e.choose(torch.ones(COUNT, dtype=torch.bool)), "of a mask: mask.nonzero"),
        (lambda e: e.point(COUNT), f"no picture {COUNT}; expected 0 to {COUNT - 1}"),
        (lambda e: e.look_at("fc7", "fc7"), "no map 'fc7'; there are random, conv1; random, fc7"),
        (lambda e: e.look_at("random, fc7"), "1 titles are given for 2 maps"),
    ],
)
def test_a_wrong_call_is_refused_and_changes_nothing(explorer, act, words):
    explorer.choose([5])
    with pytest.raises(CodialError, match=re.escape(words)):
        act(explorer)
    assert explorer.selected == [5]
    assert explorer.shown == ["random, fc7", "codial, fc7"]


@pytest.mark.parametrize(
    ("made", "shown", "words"),
    [
        ({}, (), "no maps to show"),
        ({"random": {}}, (), "no maps to show"),
        ({"random": {"fc7": a_map(0, 30)}}, (), "'random, fc7' is of 30 pictures; 40 are given"),
        (some_maps(), ["codial, fc9"], "no map 'codial, fc9'"),
        (some_maps(), ["codial, fc7"] * 4, "shown names 4 maps; expected 1 to 3"),
    ],
)
def test_wrong_maps_are_refused(images, made, shown, words):
    with pytest.raises(CodialError, match=re.escape(words)):
        EmbeddingMap(made, images, shown)
