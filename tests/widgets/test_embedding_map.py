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
from codial.plots.selection import NEIGHBORS
from codial.widgets import EmbeddingMap, embedding_map

COUNT = 40


def a_map(seed, count=COUNT, k=12):
    generator = torch.Generator().manual_seed(seed)
    near = torch.stack([(torch.arange(k) + 1 + seed + n) % count for n in range(count)])
    return LayerMap(torch.randn(count, 2, generator=generator), 0.9, near, torch.ones(count, k))


def some_maps(count=COUNT):
    names = [(run, layer) for run in ("random", "codial", "codial, epoch 2") for layer in ("conv1", "fc7")]
    maps = {}
    for seed, (run, layer) in enumerate(names):
        maps.setdefault(run, {})[layer] = a_map(seed, count)
    return maps


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
    """Set the selection as the page does after a lasso."""
    explorer.lasso.set_state({"selected": numbers})


def test_a_lasso_sets_the_selection_in_python(explorer):
    before = explorer.gallery.value
    lasso(explorer, [3, 5, 8])
    assert explorer.selected == [3, 5, 8]
    assert explorer.status.value == f"3 of {COUNT} images selected"
    assert explorer.gallery.value != before
    assert explorer.message.value == ""


def test_a_selection_in_python_is_sent_to_the_page(explorer, images):
    explorer.select((images.labels == 2).nonzero()[:, 0])
    assert explorer.lasso.selected == explorer.selected == [n for n in range(COUNT) if images.labels[n] == 2]
    explorer.select(n for n in (9, 4, 4, -1))
    assert explorer.lasso.selected == explorer.selected == [4, 9, COUNT - 1]
    explorer.select(np.array([], dtype=int))
    assert explorer.lasso.selected == explorer.selected == []


def test_the_selection_is_a_copy(explorer):
    explorer.select([1])
    explorer.selected.append(2)
    assert explorer.selected == [1]


def test_the_class_menu_selects_a_class_and_is_reset_by_another_selection(explorer, images):
    explorer.classes.value = 3
    assert explorer.selected == [n for n in range(COUNT) if images.labels[n] == 3]
    assert explorer.classes.value == 3
    lasso(explorer, [0])
    assert explorer.selected == [0]
    assert explorer.classes.label == "select one"
    explorer.clear.click()
    assert explorer.selected == explorer.lasso.selected == []


def test_a_click_shows_the_image_and_its_neighbors_in_each_map(explorer):
    empty = explorer.neighbors.value
    explorer.lasso.set_state({"current": 7})
    assert explorer.neighbors.value != empty
    assert explorer.lasso.neighbors == [[(8 + seed + n) % COUNT for n in range(NEIGHBORS)] for seed in (1, 3)]
    explorer.lasso.set_state({"current": -1})
    assert explorer.lasso.neighbors == []
    assert explorer.neighbors.value == empty
    explorer.inspect(7)
    assert explorer.lasso.current == 7


def test_menus_change_maps_and_keep_selection_and_image(explorer):
    explorer.select([1, 2])
    explorer.inspect(7)
    explorer.menus[1].value = "codial, epoch 2, conv1"
    assert explorer.titles == ["random, fc7", "codial, epoch 2, conv1"]
    assert [panel["title"] for panel in explorer.lasso.panels] == explorer.titles
    sent = np.frombuffer(explorer.lasso.panels[1]["points"], np.float32).reshape(-1, 2)
    assert (sent == a_map(4).points.numpy()).all()
    assert explorer.lasso.neighbors[1][0] == 12
    assert explorer.selected == [1, 2]
    explorer.set_maps("codial, conv1", "codial, conv1")
    assert explorer.titles == ["codial, conv1"] * 2


def test_all_points_lie_in_the_frame(explorer):
    extent = torch.tensor(explorer.lasso.extent)
    assert all(bool((each.points.abs() < extent).all()) for each in explorer.maps.values())


def test_the_thumbnail_under_the_mouse_is_sent_to_the_page(explorer, images):
    explorer.lasso.set_state({"hovered": 9})
    assert explorer.lasso.thumbnail["number"] == 9
    sent = np.array(Image.open(io.BytesIO(explorer.lasso.thumbnail["png"])))
    assert (sent == images.images[9].permute(1, 2, 0).numpy()).all()


def test_20_000_images_keep_the_state_small_however_many_are_hovered(page):
    count = 20_000
    pixels = torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8)
    explorer = EmbeddingMap(
        {"run": {"fc7": a_map(0, count)}}, ImageSet("mine", "all", pixels, torch.full((count,), -1), ())
    )
    explorer.show()
    for number in range(50):
        explorer.lasso.set_state({"hovered": number})
    state = explorer.lasso.get_state()
    points, labels = 8 * count, 4 * count
    assert len(state["panels"][0]["points"]) + len(state["labels"]) == points + labels
    assert len(state["thumbnail"]["png"]) < 1000, "one image only"
    lasso(explorer, list(range(count)))
    assert explorer.selected == list(range(count))


def test_the_view_is_not_part_of_the_state_so_that_zooming_needs_no_kernel(explorer):
    own = {name for name in explorer.lasso.keys if not name.startswith("_")} - {"layout", "tabbable", "tooltip"}
    selection = {"selected", "current", "neighbors", "hovered", "thumbnail"}
    assert own == {"labels", "classes", "styles", "extent", "panels"} | selection


def test_the_scripts_are_one_module_without_imports(explorer):
    script = explorer.lasso._esm
    assert script.count("export default") == 1
    assert not re.search(r"^\s*import\b|https?://", script, re.MULTILINE)
    assert script.index("class View") < script.index("class Map2D") < script.index("class Maps ")


def test_figures_are_drawn_only_when_they_change(explorer, monkeypatch):
    calls = []
    for name in ("gallery", "neighbors_of"):
        real = getattr(embedding_map, name)
        monkeypatch.setattr(embedding_map, name, lambda *a, real=real, name=name: calls.append(name) or real(*a))
    explorer.select([1])
    explorer.select([1])
    explorer.inspect(1)
    explorer.inspect(1)
    assert calls == ["gallery", "neighbors_of"]


def test_the_static_figure_shows_the_same_maps(explorer):
    explorer.select([1])
    axes = explorer.render().axes
    assert [each.get_title() for each in axes[:2]] == explorer.titles
    assert axes[2].get_title(loc="left") == f"1 of {COUNT} images selected"


def test_without_anywidget_maps_are_an_image_and_classes_can_be_selected(images, page, without_anywidget):
    explorer = EmbeddingMap(some_maps(), images)
    explorer.show()
    assert explorer.lasso is None
    assert "needs anywidget (pip install anywidget)" in explorer.message.value
    before = bytes(explorer.static.value)
    assert before.startswith(b"\x89PNG")
    explorer.classes.value = 1
    assert explorer.selected
    assert explorer.static.value != before
    explorer.menus[0].value = "codial, conv1"
    assert "needs anywidget" in explorer.message.value


def test_default_maps_are_the_last_layers_of_the_first_and_last_run(images):
    assert EmbeddingMap(some_maps(), images).titles == ["random, fc7", "codial, epoch 2, fc7"]
    one = {"random": {"fc7": a_map(0)}}
    assert EmbeddingMap(one, images).titles == ["random, fc7"]


def test_images_without_labels_can_be_selected(images, page):
    bare = ImageSet("mine", "all", images.images, torch.full((COUNT,), -1), ())
    explorer = EmbeddingMap(some_maps(), bare)
    explorer.show()
    lasso(explorer, [1, 2])
    assert explorer.selected == [1, 2]
    assert explorer.message.value == ""
    assert len(explorer.classes.options) == 1


def test_invalid_numbers_from_the_page_are_refused_and_the_selection_stays(explorer):
    lasso(explorer, [1])
    lasso(explorer, [1, COUNT])
    assert "the data set has 40 images" in explorer.message.value
    assert explorer.selected == [1]
    explorer.lasso.set_state({"current": COUNT})
    assert f"no image {COUNT}" in explorer.message.value
    explorer.lasso.set_state({"hovered": COUNT})
    lasso(explorer, [2])
    assert explorer.message.value == ""


def test_errors_of_the_data_set_are_shown_and_the_selection_is_set(explorer, monkeypatch):
    def fail(*_):
        raise CodialError("<photo.png> was deleted.")

    monkeypatch.setattr(ImageSet, "batch", fail)
    lasso(explorer, [1, 2])
    assert explorer.message.value == "⚠ &lt;photo.png&gt; was deleted."
    assert explorer.selected == [1, 2]
    explorer.lasso.set_state({"hovered": 3})
    assert "was deleted" in explorer.message.value
    monkeypatch.undo()
    explorer.select([3])
    assert explorer.message.value == ""


def test_unexpected_errors_are_shown_with_their_type(explorer, monkeypatch):
    monkeypatch.setattr(embedding_map, "gallery", lambda *_: 1 / 0)
    lasso(explorer, [1])
    assert explorer.message.value.startswith("⚠ <b>ZeroDivisionError:</b>")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda e: e.select([COUNT]), f"run from {COUNT} to {COUNT}; the data set has {COUNT} images"),
        (lambda e: e.select([0.5]), "expected whole numbers"),
        (lambda e: e.select(torch.ones(COUNT, dtype=torch.bool)), "of a mask: mask.nonzero"),
        (lambda e: e.inspect(COUNT), f"no image {COUNT}; expected 0 to {COUNT - 1}"),
        (lambda e: e.set_maps("fc7", "fc7"), "no map 'fc7'; expected one of: random, conv1; random, fc7"),
        (lambda e: e.set_maps("random, fc7"), "1 titles are given; expected 2, one per map"),
    ],
)
def test_invalid_arguments_are_refused_and_change_nothing(explorer, act, message):
    explorer.select([5])
    with pytest.raises(CodialError, match=re.escape(message)):
        act(explorer)
    assert explorer.selected == [5]
    assert explorer.titles == ["random, fc7", "codial, fc7"]


@pytest.mark.parametrize(
    ("maps", "titles", "message"),
    [
        ({}, (), "no maps to show"),
        ({"random": {}}, (), "no maps to show"),
        ({"random": {"fc7": a_map(0, 30)}}, (), "'random, fc7' has 30 points; expected 40, one per image"),
        (some_maps(), ["codial, fc9"], "no map 'codial, fc9'"),
        (some_maps(), ["codial, fc7"] * 4, "4 maps are given in titles; expected 1 to 3"),
    ],
)
def test_invalid_maps_are_refused(images, maps, titles, message):
    with pytest.raises(CodialError, match=re.escape(message)):
        EmbeddingMap(maps, images, titles)
