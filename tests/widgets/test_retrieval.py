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
from codial.widgets import RetrievalBrowser, search
from codial.widgets.search import Place

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
    real = search.features
    monkeypatch.setattr(search, "features", lambda *a, **options: calls.append(a[2]) or real(*a, **options))
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
        assert not re.search(r"border-color: #(?!0072B2)", browser.looks.value), "but the query's own frame"


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


def thumbs(browser):
    return browser.strip.tiles.children


def test_pictures_of_the_querys_set_are_there_to_choose_from(browser, sets):
    assert browser.strip.numbers == list(range(9))
    thumbs(browser)[4].click()
    assert browser.trail[-1] == ("queries", 4)
    assert numbers(browser) == browser.neighbours("one", Place("queries", 4), "conv2", K).indices.tolist()
    browser.go("queries", 19)
    assert browser.strip.numbers == [18, 19], "the last page"
    assert len(thumbs(browser)) == 2
    browser.go("gallery", 30)
    assert browser.strip.numbers == list(range(27, 36))
    assert f"{sets[0].classes[sets[0].labels[30]]}: look for it" in thumbs(browser)[3].tooltip
    thumbs(browser)[0].click()
    assert browser.trail[-1] == ("gallery", 27)


def test_layer_and_number_are_chosen_from_python_too(browser):
    browser.choose("conv3", 3)
    assert (browser.controls["layer"].value, len(tiles(browser))) == ("conv3", 3)
    browser.choose(k=4)
    assert (browser.controls["layer"].value, len(tiles(browser))) == ("conv3", 4)
    with pytest.raises(CodialError, match="layer is 'fc9'; expected one of conv1"):
        browser.choose("fc9")
    for k in (0, 60):
        with pytest.raises(CodialError, match=f"k is {k}; expected 1 to 59"):
            browser.choose(k=k)


# The walk as a figure


def test_the_walk_is_drawn_with_every_query_once_and_its_precision(browser, sets):
    tiles(browser)[1].click()
    browser.back()
    browser.go("queries", 5)
    queries, *blocks = browser.figure().axes
    walked = [Place("queries", 0), Place("queries", 5)]
    assert [np.asarray(image.get_array()).shape for image in queries.images] == [(64, 64, 3)] * 2
    for image, place in zip(queries.images, walked, strict=True):
        assert (image.get_array() == sets[1].images[place.number].permute(1, 2, 0).numpy()).all()
    each = [browser.neighbours("one", place, "conv2", K) for place in walked]
    shown = [image.get_array() for image in blocks[0].images]
    wanted = [sets[0].images[n].permute(1, 2, 0).numpy() for one in each for n in one.indices]
    assert all((a == b).all() for a, b in zip(shown, wanted, strict=True))
    right = sum(int(one.related.sum()) for one in each)
    told = f"one, conv2 precision at {K} of these 2: {100 * right / (2 * K):.1f} %"
    assert blocks[0].get_title().split() == told.split()
    assert blocks[1].get_title().startswith("two, conv2")


@pytest.mark.parametrize(("name", "head"), [("walk.png", b"\x89PNG"), ("new/walk.pdf", b"%PDF-")])
def test_the_walk_is_written_where_the_user_says_and_replaces_nothing(browser, tmp_path, name, head):
    browser.controls["file"].value = str(tmp_path / name)
    browser.controls["save"].click()
    first = tmp_path / name
    assert browser.message.value == f"Wrote {first}"
    assert first.read_bytes().startswith(head)
    before = first.read_bytes()
    browser.go("queries", 3)
    assert browser.message.value == ""
    second = browser.export(first)
    assert second == first.with_stem("walk-2")
    assert second.exists()
    assert first.read_bytes() == before


def test_a_file_that_cannot_be_written_is_told_of(browser, tmp_path):
    (tmp_path / "file").write_text("")
    for name, words in (
        ("walk.jpg", "expected one that ends in .png or .pdf"),
        ("", "expected one that ends in .png or .pdf"),
        ("file/walk.png", "can&#x27;t be written"),
    ):
        browser.controls["file"].value = str(tmp_path / name) if name else ""
        browser.controls["save"].click()
        assert words in browser.message.value
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "one", "two"]


def test_a_walk_that_a_run_cannot_show_is_not_written(browser, runs, tmp_path):
    shutil.rmtree(runs["one"].folder)
    browser.choose("fc7")
    browser.controls["file"].value = str(tmp_path / "walk.png")
    browser.controls["save"].click()
    assert "is not a run" in browser.message.value
    assert not (tmp_path / "walk.png").exists()


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
