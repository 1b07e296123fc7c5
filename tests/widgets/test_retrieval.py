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
from codial.widgets import RetrievalBrowser, display, retrieval
from codial.widgets.retrieval import Place

K = 5


@pytest.fixture
def page(monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, raw: shown.append(bundle))
    return shown


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


def picture(browser, place, name="one"):
    """The picture on a button, [3, H, W] uint8, from the style sheet."""
    rule = (
        rf"\.{browser.rows[name].name}-{place}\.jupyter-button \{{background-image: url\(data:image/png;base64,(.*?)\)"
    )
    data = base64.b64decode(re.search(rule, browser.looks.value)[1])
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)))).permute(2, 0, 1)


@pytest.mark.parametrize("layer", ["conv2", "conv3"])
def test_the_neighbours_are_those_that_retrieve_finds(browser, runs, sets, layer):
    gallery, queries = sets
    browser.controls["layer"].value = layer
    expected = codial.retrieve(runs["one"], gallery, queries, K, layer, progress=False, device="cpu")
    for query in (3, 11):
        browser.controls["number"].value = query
        assert numbers(browser) == numbers(browser, "two") == expected.indices[query].tolist()
        right = int(expected.related[query].sum())
        assert f"precision at {K} of this query {100 * right / K:.0f} % ({right} of {K})" in head(browser)
        marks = [tile.description.split() for tile in tiles(browser)]
        assert [mark == "✓" for mark, _ in marks] == expected.related[query].tolist()
        assert [float(number) for _, number in marks] == pytest.approx(expected.similarity[query].tolist(), abs=0.0051)


def test_each_button_bears_its_picture(browser, sets):
    for place, number in enumerate(numbers(browser)):
        assert torch.equal(picture(browser, place), sets[0].images[number])
        assert f"picture {number}, " in tiles(browser)[place].tooltip


def test_a_neighbour_becomes_the_query_and_never_finds_itself(browser, sets):
    first = numbers(browser)
    tiles(browser)[2].click()
    assert browser.trail == [Place("queries", 0), Place("gallery", first[2])]
    assert (browser.controls["set"].value, browser.controls["number"].value) == ("gallery", first[2])
    vectors = normalize(codial.features(browser.runs["one"], sets[0], "conv2", progress=False), dim=1)
    order = (vectors @ vectors[first[2]]).argsort(descending=True)
    assert numbers(browser) == [n for n in order.tolist() if n != first[2]][:K]
    browser.controls["back"].click()
    assert numbers(browser) == first
    assert browser.controls["back"].disabled


def test_arrows_and_number_walk_through_the_set_and_back_returns(browser):
    assert browser.controls["back"].disabled
    browser.controls["previous"].click()
    assert browser.trail[-1] == ("queries", 19)
    browser.controls["next"].click()
    browser.controls["next"].click()
    browser.controls["number"].value = 7
    browser.controls["set"].value = "gallery"
    assert [place.number for place in browser.trail] == [0, 19, 0, 1, 7, 7]
    for _ in range(9):
        browser.controls["back"].click()
    assert browser.trail == [("queries", 0)]


def test_a_set_with_fewer_pictures_is_entered_at_its_last(browser):
    browser.controls["set"].value = "gallery"
    browser.controls["number"].value = 50
    browser.controls["set"].value = "queries"
    assert browser.trail[-1] == ("queries", 19)
    assert browser.message.value == ""


def test_buttons_stay_when_the_query_changes_and_their_number_follows_k(browser):
    before = tiles(browser)
    browser.controls["next"].click()
    assert tiles(browser) == before
    browser.controls["k"].value = 8
    assert len(tiles(browser)) == len(numbers(browser)) == 8
    browser.controls["k"].value = 2
    assert tiles(browser) == before[:2]


def test_features_are_computed_once_a_run_and_layer(browser, monkeypatch):
    calls = []
    real = retrieval.features
    monkeypatch.setattr(retrieval, "features", lambda *a, **options: calls.append(a[2]) or real(*a, **options))
    browser.controls["next"].click()
    tiles(browser)[0].click()
    assert calls == []
    for layer in ("conv1", "conv2", "conv1"):
        browser.controls["layer"].value = layer
    assert calls == ["conv1"] * 2  # of two runs, in the gallery, where the query is


def test_a_run_that_is_deleted_is_told_of_and_the_other_goes_on(browser, runs):
    shutil.rmtree(runs["one"].folder)
    browser.controls["next"].click()
    assert len(numbers(browser)) == K, "what was computed is kept"
    browser.controls["layer"].value = "fc7"
    assert "is not a run" in head(browser)
    assert len(tiles(browser)) == 0
    assert len(tiles(browser, "two")) == K
    browser.controls["layer"].value = "conv2"
    assert len(tiles(browser)) == K


def test_a_run_without_a_checkpoint_is_told_of_until_it_has_one(runs, sets, page):
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
def test_a_set_without_pictures_is_told_of(runs, sets, page, empty):
    none = ImageSet("mine", "all", sets[0].images[:0], sets[0].labels[:0], sets[0].classes)
    browser = RetrievalBrowser(runs, *[none if place == empty else each for place, each in enumerate(sets)], k=K)
    browser.show()
    assert "mine/all has no pictures" in browser.message.value
    browser.controls["next"].click()
    browser.controls["set"].value = "gallery"
    assert ("has no pictures" in browser.message.value) == (empty == 0)


def test_without_labels_nothing_is_marked(runs, sets, page):
    bare = ImageSet("mine", "all", sets[0].images, torch.full((60,), -1), ())
    for gallery, queries in ((bare, sets[1]), (sets[0], replace(bare, images=sets[1].images, labels=bare.labels[:20]))):
        browser = RetrievalBrowser(runs, gallery, queries, k=K)
        browser.show()
        assert all(re.fullmatch(r"-?\d\.\d\d", tile.description) for tile in tiles(browser))
        assert "precision" not in head(browser)
        assert browser.looks.value.count("border-color: transparent") == 2 * K


def test_one_set_in_which_each_picture_looks_for_the_others(runs, sets, page):
    browser = RetrievalBrowser(runs, sets[0], sets[0], k=K)
    browser.show()
    assert list(browser.sets) == ["gallery"]
    assert 0 not in numbers(browser)


def test_any_error_is_shown_and_goes_when_it_is_mended(browser, monkeypatch):
    monkeypatch.setattr(browser, "neighbours", lambda *_: 1 / 0)
    browser.controls["next"].click()
    assert "ZeroDivisionError" in head(browser)
    monkeypatch.setattr(browser, "_draw_query", lambda: 1 / 0)
    browser.controls["next"].click()
    assert "ZeroDivisionError" in browser.message.value
    monkeypatch.undo()
    browser.controls["next"].click()
    assert browser.message.value == ""
    assert len(tiles(browser)) == K


def test_words_of_others_are_not_read_as_html(runs, sets, page):
    gallery = replace(sets[0], name="<i>a</i>")
    browser = RetrievalBrowser({"<b>x</b>": runs["one"]}, gallery, sets[1], k=K)
    browser.show()
    assert "<b>&lt;b&gt;x&lt;/b&gt;</b>" in head(browser, "<b>x</b>")
    browser.controls["set"].value = "gallery"
    assert "<i>" not in browser.caption.value


def test_a_page_without_a_kernel_has_words_for_it(browser, page):
    assert page[0]["text/plain"] == "[a browser of neighbours: run this cell in JupyterLab]"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"layer": "fc9"}, "layer is 'fc9'; expected one of conv1"), ({"k": 0}, "k is 0; expected 1 to 100")],
)
def test_wrong_settings_are_refused(runs, sets, options, words):
    with pytest.raises(CodialError, match=words):
        RetrievalBrowser(runs, *sets, **options)


def test_there_is_no_picture_beyond_the_set(browser):
    with pytest.raises(CodialError, match=r"no picture 20 in photos/test: it has 20"):
        browser.neighbours("one", Place("queries", 20), "fc7", K)
