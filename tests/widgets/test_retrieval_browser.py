import base64
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import codial
from codial.data import ImageSet
from codial.errors import CodialError
from codial.widgets import RetrievalBrowser, neighbor_search
from codial.widgets.neighbor_search import Query

K = 5


@pytest.fixture
def runs(tiny_run, tmp_path):
    """Two copies of one run under two names, for tests that damage them."""
    return {name: codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / name)) for name in ("one", "two")}


@pytest.fixture
def sets(photos):
    return photos["train"].subset(60, seed=1), photos["test"].subset(20, seed=1)


@pytest.fixture
def browser(runs, sets, page):
    browser = RetrievalBrowser(runs, *sets, layer="conv2", k=K)  # later ones nearly tie in this short run
    browser.show()
    return browser


def tiles(browser, name="one"):
    return browser.rows[name].tiles.children


def numbers(browser, name="one"):
    return browser.rows[name].numbers


def head(browser, name="one"):
    return browser.rows[name].head.value


def image(browser, index, name="one"):
    """The image of a button, [3, H, W] uint8, from the style sheet."""
    rule = (
        rf"\.{browser.rows[name].name}-{index}\.jupyter-button \{{background-image: url\(data:image/png;base64,(.*?)\)"
    )
    data = base64.b64decode(re.search(rule, browser.style.value)[1])
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1)


@pytest.mark.parametrize("layer", ["conv2", "conv3"])
def test_neighbors_are_those_of_retrieve(browser, runs, sets, layer):
    gallery, queries = sets
    browser.controls["layer"].value = layer
    expected = codial.retrieve(runs["one"], gallery, queries, K, layer, progress=False, device="cpu")
    for query in (3, 11):
        browser.controls["number"].value = query
        assert numbers(browser) == numbers(browser, "two") == expected.indices[query].tolist()
        right = int(expected.relevant[query].sum())
        assert f"precision at {K} of this query {100 * right / K:.0f} % ({right} of {K})" in head(browser)
        marks = [tile.description.split() for tile in tiles(browser)]
        assert [mark == "✓" for mark, _ in marks] == expected.relevant[query].tolist()
        assert [float(number) for _, number in marks] == pytest.approx(expected.similarity[query].tolist(), abs=0.0051)


def test_a_collapsed_network_is_called_so(browser, monkeypatch):
    assert "collapsed" not in head(browser)
    monkeypatch.setattr(neighbor_search, "features", lambda run, images, *rest, **options: torch.ones(len(images), 8))
    browser.controls["layer"].value = "conv1"
    assert "collapsed: feature_std 0.00 &lt; 0.05" in head(browser)
    titles = [axes.get_title().replace("\n", " ") for axes in browser.figure().axes[1:]]
    assert all("collapsed: feature_std 0.00 < 0.05" in title for title in titles)


def test_each_button_shows_its_image(browser, sets):
    for index, number in enumerate(numbers(browser)):
        assert torch.equal(image(browser, index), sets[0].images[number])
        assert f"image {number}, " in tiles(browser)[index].tooltip


def test_a_neighbor_becomes_the_query_and_is_not_its_own_neighbor(browser, sets):
    first = numbers(browser)
    tiles(browser)[2].click()
    assert browser.trail == [Query("queries", 0), Query("gallery", first[2])]
    assert (browser.controls["dataset"].value, browser.controls["number"].value) == ("gallery", first[2])
    vectors = normalize(codial.features(browser.runs["one"], sets[0], "conv2", progress=False), dim=1)
    order = (vectors @ vectors[first[2]]).argsort(descending=True)
    assert numbers(browser) == [n for n in order.tolist() if n != first[2]][:K]
    browser.controls["back"].click()
    assert numbers(browser) == first
    assert browser.controls["back"].disabled


def test_navigation_by_buttons_number_and_data_set(browser):
    assert browser.controls["back"].disabled
    browser.controls["previous"].click()
    assert browser.trail[-1] == ("queries", 19)
    browser.controls["next"].click()
    browser.controls["next"].click()
    browser.controls["number"].value = 7
    browser.controls["dataset"].value = "gallery"
    assert [query.number for query in browser.trail] == [0, 19, 0, 1, 7, 7]
    for _ in range(9):
        browser.controls["back"].click()
    assert browser.trail == [("queries", 0)]


def test_the_number_is_limited_to_the_data_set(browser):
    browser.controls["dataset"].value = "gallery"
    browser.controls["number"].value = 50
    browser.controls["dataset"].value = "queries"
    assert browser.trail[-1] == ("queries", 19)
    assert browser.message.value == ""


def test_buttons_are_reused_and_their_number_is_k(browser):
    before = tiles(browser)
    browser.controls["next"].click()
    assert tiles(browser) == before
    browser.controls["k"].value = 8
    assert len(tiles(browser)) == len(numbers(browser)) == 8
    browser.controls["k"].value = 2
    assert tiles(browser) == before[:2]


def test_features_are_computed_once_per_run_and_layer(browser, monkeypatch):
    calls = []
    real = neighbor_search.features
    monkeypatch.setattr(neighbor_search, "features", lambda *a, **options: calls.append(a[2]) or real(*a, **options))
    browser.controls["next"].click()
    tiles(browser)[0].click()
    assert calls == []
    for layer in ("conv1", "conv2", "conv1"):
        browser.controls["layer"].value = layer
    assert calls == ["conv1"] * 2  # of two runs, in the gallery, where the query is


def test_a_deleted_run_shows_an_error_in_its_row_only(browser, runs):
    shutil.rmtree(runs["one"].folder)
    browser.controls["next"].click()
    assert len(numbers(browser)) == K, "computed features are kept"
    browser.controls["layer"].value = "fc7"
    assert "is not a run" in head(browser)
    assert len(tiles(browser)) == 0
    assert len(tiles(browser, "two")) == K
    browser.controls["layer"].value = "conv2"
    assert len(tiles(browser)) == K


def test_a_run_without_checkpoint_shows_an_error_until_it_has_one(runs, sets, page):
    folder = runs["two"].folder / "checkpoints"
    folder.rename(folder.with_name("later"))
    browser = RetrievalBrowser(runs, *sets, layer="conv2", k=K)
    browser.show()
    assert "has no &#x27;last&#x27; checkpoint yet" in head(browser, "two")
    assert len(tiles(browser)) == K
    folder.with_name("later").rename(folder)
    browser.controls["next"].click()
    assert numbers(browser, "two") == numbers(browser)


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_data_set_shows_an_error(runs, sets, page, empty):
    none = ImageSet("mine", "all", sets[0].images[:0], sets[0].labels[:0], sets[0].classes)
    browser = RetrievalBrowser(runs, *[none if index == empty else each for index, each in enumerate(sets)], k=K)
    browser.show()
    assert "mine/all has no images" in browser.message.value
    browser.controls["next"].click()
    browser.controls["dataset"].value = "gallery"
    assert ("has no images" in browser.message.value) == (empty == 0)


def test_unlabeled_images_have_no_marks(runs, sets, page):
    bare = ImageSet("mine", "all", sets[0].images, torch.full((60,), -1), ())
    for gallery, queries in ((bare, sets[1]), (sets[0], replace(bare, images=sets[1].images, labels=bare.labels[:20]))):
        browser = RetrievalBrowser(runs, gallery, queries, k=K)
        browser.show()
        assert all(re.fullmatch(r"-?\d\.\d\d", tile.description) for tile in tiles(browser))
        assert "precision" not in head(browser)
        assert not re.search(r"border-color: #(?!0072B2)", browser.style.value), "but the query's own frame"


def test_queries_may_be_the_gallery(runs, sets, page):
    browser = RetrievalBrowser(runs, sets[0], sets[0], k=K)
    browser.show()
    assert list(browser.datasets) == ["gallery"]
    assert 0 not in numbers(browser)


def test_unexpected_errors_are_shown_until_the_next_success(browser, monkeypatch):
    monkeypatch.setattr(browser, "neighbors", lambda *_: 1 / 0)
    browser.controls["next"].click()
    assert "ZeroDivisionError" in head(browser)
    monkeypatch.setattr(browser, "_draw_query", lambda: 1 / 0)
    browser.controls["next"].click()
    assert "ZeroDivisionError" in browser.message.value
    monkeypatch.undo()
    browser.controls["next"].click()
    assert browser.message.value == ""
    assert len(tiles(browser)) == K


def thumbs(browser):
    return browser.strip.tiles.children


def test_the_strip_shows_adjacent_images_to_select(browser, sets):
    assert browser.strip.numbers == list(range(9))
    thumbs(browser)[4].click()
    assert browser.trail[-1] == ("queries", 4)
    assert numbers(browser) == browser.neighbors("one", Query("queries", 4), "conv2", K).indices.tolist()
    browser.go("queries", 19)
    assert browser.strip.numbers == [18, 19], "the last page"
    assert len(thumbs(browser)) == 2
    browser.go("gallery", 30)
    assert browser.strip.numbers == list(range(27, 36))
    assert f"{sets[0].classes[sets[0].labels[30]]}: use as query" in thumbs(browser)[3].tooltip
    thumbs(browser)[0].click()
    assert browser.trail[-1] == ("gallery", 27)


def test_layer_and_k_can_be_set_from_python(browser):
    browser.configure("conv3", 3)
    assert (browser.controls["layer"].value, len(tiles(browser))) == ("conv3", 3)
    browser.configure(k=4)
    assert (browser.controls["layer"].value, len(tiles(browser))) == ("conv3", 4)
    with pytest.raises(CodialError, match="layer is 'fc9'; expected one of conv1"):
        browser.configure("fc9")
    for k in (0, 60):
        with pytest.raises(CodialError, match=f"k is {k}; expected 1 to 59"):
            browser.configure(k=k)


# The queries as a figure


def test_the_figure_has_every_query_once_and_the_precision(browser, sets):
    tiles(browser)[1].click()
    browser.back()
    browser.go("queries", 5)
    queries, *blocks = browser.figure().axes
    trail = [Query("queries", 0), Query("queries", 5)]
    assert [np.asarray(image.get_array()).shape for image in queries.images] == [(64, 64, 3)] * 2
    for image, query in zip(queries.images, trail, strict=True):
        assert (image.get_array() == sets[1].images[query.number].permute(1, 2, 0).numpy()).all()
    each = [browser.neighbors("one", query, "conv2", K) for query in trail]
    shown = [image.get_array() for image in blocks[0].images]
    wanted = [sets[0].images[n].permute(1, 2, 0).numpy() for one in each for n in one.indices]
    assert all((a == b).all() for a, b in zip(shown, wanted, strict=True))
    right = sum(int(one.relevant.sum()) for one in each)
    title = f"one, conv2 precision at {K} of these 2: {100 * right / (2 * K):.1f} %"
    assert blocks[0].get_title().split() == title.split()
    assert blocks[1].get_title().startswith("two, conv2")


@pytest.mark.parametrize(("name", "head"), [("new/figure.pdf", b"%PDF-")])
def test_the_figure_is_written_and_replaces_no_file(browser, tmp_path, name, head):
    browser.controls["file"].value = str(tmp_path / name)
    browser.controls["save"].click()
    first = tmp_path / name
    assert browser.message.value == f"Wrote {first}"
    assert first.read_bytes().startswith(head)
    before = first.read_bytes()
    browser.go("queries", 3)
    assert browser.message.value == ""
    second = browser.export(first)
    assert second == first.with_stem("figure-2")
    assert second.exists()
    assert first.read_bytes() == before


def test_a_file_that_cannot_be_written_shows_an_error(browser, tmp_path):
    (tmp_path / "file").write_text("")
    for name, message in (
        ("figure.jpg", "expected a name that ends in .png or .pdf"),
        ("", "expected a name that ends in .png or .pdf"),
        ("file/figure.png", "cannot be written"),
    ):
        browser.controls["file"].value = str(tmp_path / name) if name else ""
        browser.controls["save"].click()
        assert message in browser.message.value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "one", "two"]


def test_no_figure_is_written_if_a_run_fails(browser, runs, tmp_path):
    shutil.rmtree(runs["one"].folder)
    browser.configure("fc7")
    browser.controls["file"].value = str(tmp_path / "figure.png")
    browser.controls["save"].click()
    assert "is not a run" in browser.message.value
    assert not (tmp_path / "figure.png").exists()


def test_names_are_escaped_in_html(runs, sets, page):
    gallery = replace(sets[0], name="<i>a</i>")
    browser = RetrievalBrowser({"<b>x</b>": runs["one"]}, gallery, sets[1], k=K)
    browser.show()
    assert "<b>&lt;b&gt;x&lt;/b&gt;</b>" in head(browser, "<b>x</b>")
    browser.controls["dataset"].value = "gallery"
    assert "<i>" not in browser.caption.value


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layer": "fc9"}, "layer is 'fc9'; expected one of conv1"), ({"k": 0}, "k is 0; expected 1 to 100")],
)
def test_invalid_settings_are_refused(runs, sets, options, message):
    with pytest.raises(CodialError, match=message):
        RetrievalBrowser(runs, *sets, **options)


def test_a_number_out_of_range_is_refused(browser):
    with pytest.raises(CodialError, match=r"no image 20 in photos/test; expected 0 to 19"):
        browser.neighbors("one", Query("queries", 20), "fc7", K)
