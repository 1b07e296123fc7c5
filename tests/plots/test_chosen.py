"""Pictures chosen in maps, checked by what was drawn."""

import pytest
import torch
from matplotlib.colors import to_hex

from codial.data import ImageSet
from codial.evaluate import LayerMap
from codial.plots.chosen import CLASSES, MOST, NEAR, REST, chosen_maps, gallery, neighbours_of, reach
from codial.plots.maps import class_looks
from codial.plots.style import png

SEED = 0


def pictures(count=40, classes=("cat", "dog", "owl"), labelled=True, side=8):
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % len(classes) if labelled else torch.full((count,), -1)
    return ImageSet("made", "test", images, labels, classes if labelled else ())


def a_map(count=40, k=12):
    generator = torch.Generator().manual_seed(SEED)
    near = torch.stack([(torch.arange(k) + 1 + n) % count for n in range(count)])
    return LayerMap(torch.randn(count, 2, generator=generator), 0.9, near, torch.linspace(1, 0.5, k).expand(count, k))


TWO = [("random, fc7", a_map()), ("codial, fc7", a_map())]


def drawn(axes, gid):
    return [c for c in axes.collections if c.get_gid() == gid]


def test_chosen_points_have_their_classes_colours_and_the_rest_is_grey_in_every_map():
    images, chosen = pictures(), [0, 3, 4]
    left, right, *_ = chosen_maps(TWO, images, chosen).axes
    for axes, (title, each) in zip((left, right), TWO, strict=True):
        assert axes.get_title() == title
        (rest,) = drawn(axes, "rest")
        assert len(rest.get_offsets()) == 37
        assert to_hex(rest.get_facecolor()[0]) == REST.lower()
        cats, dogs = drawn(axes, "coloured")
        assert (cats.get_offsets() == each.points[[0, 3]].numpy()).all()
        assert (dogs.get_offsets() == each.points[[4]].numpy()).all()
        colours = [look.lower() for look, _ in class_looks(2)]
        assert [to_hex(each.get_facecolor()[0]) for each in (cats, dogs)] == colours


def test_while_nothing_is_chosen_every_point_has_its_colour():
    axes = chosen_maps(TWO, pictures(), []).axes[0]
    assert len(drawn(axes, "rest")[0].get_offsets()) == 0
    assert sum(len(each.get_offsets()) for each in drawn(axes, "coloured")) == 40


def test_maps_side_by_side_share_one_frame_that_shows_every_point():
    wide = LayerMap(3 * a_map().points, 0.9, a_map().nearest, a_map().similarity)
    figure = chosen_maps([("a", a_map()), ("b", wide)], pictures(), [])
    one, other = figure.axes[:2]
    assert (one.get_xlim(), one.get_ylim()) == (other.get_xlim(), other.get_ylim())
    for side, (low, high) in enumerate((other.get_xlim(), other.get_ylim())):
        assert low < float(wide.points[:, side].min()) < float(wide.points[:, side].max()) < high
    assert reach([wide, a_map()]) == pytest.approx((1.06 * wide.points.abs().amax(0)).tolist())
    png(figure, 50)
    box = one.get_window_extent()
    assert box.width / (one.get_xlim()[1]) == pytest.approx(box.height / one.get_ylim()[1]), "round stays round"


def test_the_gallery_shows_the_chosen_pictures_and_counts_their_classes():
    images, chosen = pictures(), [0, 3, 4]
    shown, bars = gallery(images, chosen).axes
    assert [(image.get_array() == images.images[n].permute(1, 2, 0).numpy()).all() for image, n in
            zip(shown.images, chosen, strict=True)] == [True] * 3  # fmt: skip
    assert shown.get_title(loc="left") == "3 of 40 pictures chosen"
    widths = [patch.get_width() for container in bars.containers for patch in container]
    assert widths == [14, 13, 13, 2, 1, 0]
    assert [text.get_text() for text in bars.texts] == ["2 of 14", "1 of 13", "0 of 13"]


def test_of_many_chosen_pictures_some_evenly_spread_are_shown():
    images = pictures(100)
    shown = gallery(images, range(100)).axes[0]
    assert len(shown.images) == MOST
    assert shown.get_title(loc="left") == f"100 of 100 pictures chosen, {MOST} of them below"
    last = shown.images[-1].get_array()
    assert (last == images.images[99].permute(1, 2, 0).numpy()).all()


def test_a_choice_changes_no_figures_size_and_no_axes_place():
    images = pictures()
    figures = [gallery(images, range(count)) for count in (0, 1, 40)]
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    places = [[axes.get_position().bounds for axes in figure.axes] for figure in figures]
    assert places[0] == places[1] == places[2]
    sizes = {tuple(neighbours_of(n, TWO, images).get_size_inches()) for n in (None, 0, 7)}
    assert len(sizes) == 1


def test_what_is_missing_is_said():
    assert "nothing is chosen" in [text.get_text() for text in gallery(pictures(), []).axes[0].texts]
    bare = pictures(labelled=False)
    assert [text.get_text() for text in gallery(bare, [1]).axes[1].texts] == ["no labels"]
    assert "click a point" in neighbours_of(None, TWO, bare).texts[0].get_text()
    assert png(chosen_maps(TWO, bare, [1, 2]), 40).startswith(b"\x89PNG")


def test_of_many_classes_those_with_the_most_chosen_pictures_are_counted():
    images = pictures(120, tuple(f"a class with the number {n}" for n in range(20)))
    bars = gallery(images, [19, 39, 59, 5]).axes[1]
    names = [tick.get_text() for tick in bars.get_yticklabels()]
    assert len(names) == CLASSES
    assert "3 of 6" in [text.get_text() for text in bars.texts]
    assert all(len(name) <= 14 for name in names)


def test_nothing_written_beside_the_bars_reaches_out_of_the_figure():
    images = pictures(12_000, ("a name of more than fourteen letters", "another of more letters"), side=1)
    figure = gallery(images, range(12_000))
    png(figure)
    bars = figure.axes[1]
    boxes = [text.get_window_extent() for text in [*bars.texts, *bars.get_yticklabels()]]
    assert bars.texts[0].get_text() == "6000 of 6000"
    assert max(box.x1 for box in boxes) < figure.bbox.width
    assert min(box.x0 for box in boxes) > figure.axes[0].get_window_extent().x1


def test_a_picture_stands_before_its_neighbours_in_each_map_with_their_cosines():
    images = pictures()
    own, near, *_ = neighbours_of(7, TWO, images).axes
    assert (own.images[0].get_array() == images.images[7].permute(1, 2, 0).numpy()).all()
    assert len(near.images) == NEAR
    assert (near.images[2].get_array() == images.images[10].permute(1, 2, 0).numpy()).all()
    marks = [text.get_text() for text in near.texts]
    assert marks[:3] == ["✗ 1.00", "✗ 0.95", "✓ 0.91"]  # of pictures 8, 9 and 10; 7 and 10 are dogs
    bare = neighbours_of(7, TWO, pictures(labelled=False)).axes[1]
    assert bare.texts[0].get_text() == "1.00"


def test_large_pictures_are_made_smaller():
    shown = gallery(pictures(6, side=300), range(6)).axes[0]
    assert shown.images[0].get_array().shape == (64, 64, 3)
