"""Images selected in maps, checked by the figures' artists."""

import pytest
import torch
from matplotlib.colors import to_hex

from codial.data import ImageSet
from codial.evaluate import LayerMap
from codial.plots.embeddings import class_styles
from codial.plots.selection import (
    MAX_CLASSES,
    MAX_IMAGES,
    NEIGHBORS,
    UNSELECTED,
    gallery,
    map_extent,
    neighbors_of,
    selected_maps,
)
from codial.plots.style import png

SEED = 0


def images(count=40, classes=("cat", "dog", "owl"), labeled=True, side=8):
    generator = torch.Generator().manual_seed(SEED)
    dataset = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % len(classes) if labeled else torch.full((count,), -1)
    return ImageSet("made", "test", dataset, labels, classes if labeled else ())


def a_map(count=40, k=12):
    generator = torch.Generator().manual_seed(SEED)
    near = torch.stack([(torch.arange(k) + 1 + n) % count for n in range(count)])
    return LayerMap(torch.randn(count, 2, generator=generator), 0.9, near, torch.linspace(1, 0.5, k).expand(count, k))


TWO = [("random, fc7", a_map()), ("codial, fc7", a_map())]


def drawn(axes, gid):
    return [c for c in axes.collections if c.get_gid() == gid]


def test_selected_points_have_their_classes_colors_and_all_others_are_gray():
    dataset, selected = images(), [0, 3, 4]
    left, right, *_ = selected_maps(TWO, dataset, selected).axes
    for axes, (title, each) in zip((left, right), TWO, strict=True):
        assert axes.get_title() == title
        (unselected,) = drawn(axes, "unselected")
        assert len(unselected.get_offsets()) == 37
        assert to_hex(unselected.get_facecolor()[0]) == UNSELECTED.lower()
        cats, dogs = drawn(axes, "colored")
        assert (cats.get_offsets() == each.points[[0, 3]].numpy()).all()
        assert (dogs.get_offsets() == each.points[[4]].numpy()).all()
        colors = [look.lower() for look, _ in class_styles(2)]
        assert [to_hex(each.get_facecolor()[0]) for each in (cats, dogs)] == colors


def test_without_a_selection_every_point_has_its_color():
    axes = selected_maps(TWO, images(), []).axes[0]
    assert len(drawn(axes, "unselected")[0].get_offsets()) == 0
    assert sum(len(each.get_offsets()) for each in drawn(axes, "colored")) == 40


def test_maps_share_one_frame_that_contains_every_point():
    wide = LayerMap(3 * a_map().points, 0.9, a_map().nearest, a_map().similarity)
    figure = selected_maps([("a", a_map()), ("b", wide)], images(), [])
    one, other = figure.axes[:2]
    assert (one.get_xlim(), one.get_ylim()) == (other.get_xlim(), other.get_ylim())
    for side, (low, high) in enumerate((other.get_xlim(), other.get_ylim())):
        assert low < float(wide.points[:, side].min()) < float(wide.points[:, side].max()) < high
    assert map_extent([wide, a_map()]) == pytest.approx((1.06 * wide.points.abs().amax(0)).tolist())
    png(figure, 50)
    box = one.get_window_extent()
    assert box.width / (one.get_xlim()[1]) == pytest.approx(box.height / one.get_ylim()[1]), "round stays round"


def test_the_gallery_shows_the_selected_images_and_counts_their_classes():
    dataset, selected = images(), [0, 3, 4]
    shown, bars = gallery(dataset, selected).axes
    assert [(image.get_array() == dataset.images[n].permute(1, 2, 0).numpy()).all() for image, n in
            zip(shown.images, selected, strict=True)] == [True] * 3  # fmt: skip
    assert shown.get_title(loc="left") == "3 of 40 images selected"
    widths = [patch.get_width() for container in bars.containers for patch in container]
    assert widths == [14, 13, 13, 2, 1, 0]
    assert [text.get_text() for text in bars.texts] == ["2 of 14", "1 of 13", "0 of 13"]


def test_a_large_selection_is_subsampled_evenly():
    dataset = images(100)
    shown = gallery(dataset, range(100)).axes[0]
    assert len(shown.images) == MAX_IMAGES
    assert shown.get_title(loc="left") == f"100 of 100 images selected, {MAX_IMAGES} of them below"
    last = shown.images[-1].get_array()
    assert (last == dataset.images[99].permute(1, 2, 0).numpy()).all()


def test_the_layout_does_not_depend_on_the_selection():
    dataset = images()
    figures = [gallery(dataset, range(count)) for count in (0, 1, 40)]
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    positions = [[axes.get_position().bounds for axes in figure.axes] for figure in figures]
    assert positions[0] == positions[1] == positions[2]
    sizes = {tuple(neighbors_of(n, TWO, dataset).get_size_inches()) for n in (None, 0, 7)}
    assert len(sizes) == 1


def test_empty_figures_have_hints():
    assert "no image is selected" in [text.get_text() for text in gallery(images(), []).axes[0].texts]
    bare = images(labeled=False)
    assert [text.get_text() for text in gallery(bare, [1]).axes[1].texts] == ["no labels"]
    assert "click a point" in neighbors_of(None, TWO, bare).texts[0].get_text()
    assert png(selected_maps(TWO, bare, [1, 2]), 40).startswith(b"\x89PNG")


def test_of_many_classes_those_with_the_most_selected_images_are_counted():
    dataset = images(120, tuple(f"a class with the number {n}" for n in range(20)))
    bars = gallery(dataset, [19, 39, 59, 5]).axes[1]
    names = [tick.get_text() for tick in bars.get_yticklabels()]
    assert len(names) == MAX_CLASSES
    assert "3 of 6" in [text.get_text() for text in bars.texts]
    assert all(len(name) <= 14 for name in names)


def test_text_beside_the_bars_stays_within_the_figure():
    dataset = images(12_000, ("a name of more than fourteen letters", "another of more letters"), side=1)
    figure = gallery(dataset, range(12_000))
    png(figure)
    bars = figure.axes[1]
    boxes = [text.get_window_extent() for text in [*bars.texts, *bars.get_yticklabels()]]
    assert bars.texts[0].get_text() == "6000 of 6000"
    assert max(box.x1 for box in boxes) < figure.bbox.width
    assert min(box.x0 for box in boxes) > figure.axes[0].get_window_extent().x1


def test_an_image_is_followed_by_its_neighbors_with_their_cosines():
    dataset = images()
    own, near, *_ = neighbors_of(7, TWO, dataset).axes
    assert (own.images[0].get_array() == dataset.images[7].permute(1, 2, 0).numpy()).all()
    assert len(near.images) == NEIGHBORS
    assert (near.images[2].get_array() == dataset.images[10].permute(1, 2, 0).numpy()).all()
    marks = [text.get_text() for text in near.texts]
    assert marks[:3] == ["✗ 1.00", "✗ 0.95", "✓ 0.91"]  # of images 8, 9 and 10; 7 and 10 are dogs
    bare = neighbors_of(7, TWO, images(labeled=False)).axes[1]
    assert bare.texts[0].get_text() == "1.00"


def test_large_images_are_downscaled():
    shown = gallery(images(6, side=300), range(6)).axes[0]
    assert shown.images[0].get_array().shape == (64, 64, 3)
