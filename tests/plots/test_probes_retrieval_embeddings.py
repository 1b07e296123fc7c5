"""Figures of probes, retrieval and embeddings, checked by their artists."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

from codial.data import ImageSet
from codial.evaluate import LayerMap, ProbeConfig, ProbeReport, RetrievalResult
from codial.plots.bars import MARKERS
from codial.plots.embeddings import MAX_CLASSES, class_styles, feature_maps
from codial.plots.probes import probe_bars
from codial.plots.retrieval import neighbor_rows
from codial.plots.style import COLORS, WIDTH, png, run_colors
from codial.plots.tooltips import png_with_tooltips
from codial.results.paper import METHODS

SEED = 0
LAYERS = ("conv1", "conv5")
CLASSES = ("cat", "dog", "owl")


def report(name, **accuracies):
    dims = dict.fromkeys(accuracies, 10)
    return ProbeReport(name, accuracies, dims, ProbeConfig(layers=tuple(accuracies)), "photos/train", "photos/test")


def images(count, classes=CLASSES, labeled=True):
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % len(classes) if labeled else torch.full((count,), -1)
    return ImageSet("made", "test", images, labels, classes if labeled else ())


REPORTS = {
    "random/photos": [report("random/photos", conv1=(40.0, 42.0), conv5=(30.0, 30.0))],
    "codial/photos": [
        report("codial/photos", conv1=(50.0, 54.0), conv5=(60.0, 60.0)),
        report("codial/photos", conv1=(55.0, 57.0), conv5=(63.0, 63.0)),
    ],
}


# Probes


def test_bars_are_means_over_runs():
    (axes,) = probe_bars(REPORTS, "photos").axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [41.0, 30.0, 54.0, 61.5]
    assert [text.get_text() for text in axes.texts] == ["41.0", "30.0", "54.0", "61.5"]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[:2] == ["random/photos, one run", "codial/photos, 2 runs"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(LAYERS)
    assert axes.get_title() == "photos"


def test_bars_start_at_0_and_are_grouped_by_layer():
    (axes,) = probe_bars(REPORTS).axes
    assert axes.get_ylim() == (0, 100)
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches)
    assert all(left[1] < right[0] for left, right in pairwise(spans))
    assert (spans[0][0] + spans[1][1]) / 2 == pytest.approx(0)
    assert (spans[2][0] + spans[3][1]) / 2 == pytest.approx(1)


def test_error_bars_are_over_runs_with_caps_and_over_probe_seeds_without():
    (axes,) = probe_bars(REPORTS).axes
    single, several = [each for each in axes.containers if isinstance(each, ErrorbarContainer)][:2]
    assert lengths(single) == pytest.approx([2 * 2**0.5, 0])  # sample deviation of 40 and 42
    assert lengths(several) == pytest.approx([2 * 8**0.5, 2 * 4.5**0.5])  # of 52 and 56, of 60 and 63
    caps = [line.get_markersize() for container in (single, several) for line in container.lines[1]]
    assert all(size > 0 for size in caps)
    assert (len(single.lines[1]), len(several.lines[1])) == (0, 2)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[2:4] == ["± std over runs (capped)", "± std over a run's probe seeds (plain)"]


def lengths(container):
    return [segment[1][1] - segment[0][1] for segment in container.lines[2][0].get_segments()]


def test_markers_are_the_papers_numbers_for_the_same_method():
    (axes,) = probe_bars(REPORTS | {"mine/photos": REPORTS["random/photos"]}).axes
    marks = [line for line in axes.lines if line.get_marker() in MARKERS.values() and len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in marks] == [[48.4, 47.9], [60.5, 75.4]], "Tables 2 and 1, STL-10"
    centers = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert [x for line in marks for x in line.get_xdata()] == pytest.approx(centers[:4])
    assert "the paper, STL-10: other data" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_marker_depends_on_the_papers_data_set():
    (axes,) = probe_bars({"cmc/photos": REPORTS["random/photos"]}).axes
    shapes = {line.get_marker(): line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata())}
    assert shapes == {MARKERS["ImageNet"]: [18.3, 42.8]}


def test_map_of_tags_is_not_compared_with_the_papers_accuracy():
    tagged = {name: [replace(each, metric="mAP") for each in found] for name, found in REPORTS.items()}
    (axes,) = probe_bars(tagged).axes
    assert [line for line in axes.lines if line.get_marker() in MARKERS.values()] == []
    assert "mean average precision" in axes.get_ylabel()


def test_bars_and_markers_have_tooltips():
    texts = [tooltip.text for tooltip in png_with_tooltips(probe_bars(REPORTS))[1]]
    assert sorted(texts) == sorted(
        [
            "random/photos, conv1: 41.0 ± 1.4 (one run, ± over its probe seeds)",
            "random, conv1: 48.4 in the paper, on STL-10",
            "codial/photos, conv1: 54.0 ± 2.8 (2 runs)",
            "codial, conv1: 60.5 in the paper, on STL-10",
            "random/photos, conv5: 30.0 ± 0.0 (one run, ± over its probe seeds)",
            "random, conv5: 47.9 in the paper, on STL-10",
            "codial/photos, conv5: 61.5 ± 2.1 (2 runs)",
            "codial, conv5: 75.4 in the paper, on STL-10",
        ]
    )


def test_many_bars_have_no_numbers():
    figure = probe_bars({f"{number}/photos": REPORTS["codial/photos"] for number in range(10)})
    assert figure.get_figwidth() == WIDTH
    assert len(figure.axes[0].texts) == 0
    assert len(png_with_tooltips(figure)[1]) == 20


def test_runs_have_their_methods_color_and_no_two_the_same():
    assert run_colors(["random/photos", "codial/photos"]) == [COLORS["random"], COLORS["codial"]]
    assert run_colors(["GlobStat", "CODIAL"])[1] == COLORS["codial"]
    twice = run_colors(["codial/photos", "codial/paper", "GlobStat", "Decouple", "supervised/photos"])
    assert twice[0] == COLORS["codial"]
    assert twice[4] == COLORS["supervised"]
    assert len(set(twice)) == 5
    all_and_variants = [f"{name}/photos" for name in METHODS] + ["codial-js/photos", "codial-mi/photos"]
    assert len(set(run_colors(all_and_variants))) >= 13, "of these, as many as there are colors"
    assert len({COLORS[name] for name in METHODS.values() if "-" not in name}) == 10, "the paper's, each its own"


# Neighbors


def result(queries, k=3, relevant=0):
    """Neighbors of which the first `relevant` of each query have its label."""
    is_relevant = torch.zeros(len(queries), k, dtype=torch.bool)
    is_relevant[:, :relevant] = True
    indices = torch.arange(len(queries) * k).view(-1, k) % 5
    return RetrievalResult(indices, torch.ones(len(queries), k), is_relevant, queries.labels >= 0)


def marks(axes, name):
    return [tuple(p) for line in axes.lines if line.get_gid() == name for p in line.get_xydata().round(3).tolist()]


def test_each_neighbor_has_an_image_and_one_mark():
    queries, gallery = images(6), images(5)
    figure = neighbor_rows(queries, gallery, {"random": result(queries, 3, 1), "codial": result(queries, 3, 2)}, [4, 0])
    first, *blocks = figure.axes
    assert len(first.images) == 2
    assert [len(block.images) for block in blocks] == [6, 6]
    assert [(len(marks(b, "right")), len(marks(b, "wrong"))) for b in blocks] == [(2, 4), (4, 2)]
    assert marks(blocks[0], "right") == [(0.8, 0.8), (0.8, 1.8)]


def test_ticks_and_crosses_differ_in_shape_and_color():
    queries = images(3)
    block = neighbor_rows(queries, queries, {"codial": result(queries, 3, 1)}, [0]).axes[1]
    lines = {line.get_gid(): line for line in block.lines if line.get_gid()}
    assert {name: to_hex(line.get_color(), False) for name, line in lines.items()} == {
        name: COLORS[name].lower() for name in ("right", "wrong")
    }
    assert lines["wrong"].get_marker() == "x"
    assert lines["right"].get_marker() != "x"
    assert [to_hex(frame.get_facecolor()) for frame in block.patches] == [
        COLORS[name].lower() for name in ("right", "wrong", "wrong")
    ]


def test_rows_show_the_given_queries_and_their_neighbors():
    queries, gallery = images(6), images(5)
    each = result(queries)
    first, block = neighbor_rows(queries, gallery, {"codial": each}, [4]).axes
    assert (first.images[0].get_array() == queries.images[4].permute(1, 2, 0).numpy()).all()
    for image, index in zip(block.images, each.indices[4], strict=True):
        assert (image.get_array() == gallery.images[index].permute(1, 2, 0).numpy()).all()
    assert [tick.get_text() for tick in first.get_yticklabels()] == [CLASSES[queries.labels[4]]]


def test_titles_give_the_precision_over_all_queries():
    queries = images(6)
    figure = neighbor_rows(queries, queries, {"codial": result(queries, 4, 1)}, [0])
    assert figure.axes[1].get_title() == "codial\nprecision at 4: 25.0 %"


def test_unlabeled_queries_have_no_marks_and_no_precision():
    queries = images(6, labeled=False)
    figure = neighbor_rows(queries, queries, {"codial": result(queries)}, [0, 1])
    assert figure.axes[1].get_title() == "codial"
    assert [marks(figure.axes[1], name) for name in ("right", "wrong")] == [[], []]
    assert png(figure, 40).startswith(b"\x89PNG")


def test_titles_do_not_overlap():
    queries = images(6)
    names = ("random/photos, conv2", "a name that is longer than its block is wide", "codial/photos")
    figure = neighbor_rows(queries, queries, {name: result(queries, 3) for name in names}, [0, 1])
    png(figure)
    spans = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(left.x1 < right.x0 for left, right in pairwise(spans))
    assert max(span.y1 for span in spans) <= figure.bbox.height


@pytest.mark.parametrize(("k", "methods", "width"), [(7, 3, WIDTH), (3, 1, 0.5 * 5.2), (20, 3, 0.3 * 63.4)])
def test_the_width_is_limited_to_the_page(k, methods, width):
    queries = images(6)
    figure = neighbor_rows(queries, queries, {f"{index}": result(queries, k) for index in range(methods)}, [0, 1])
    assert figure.get_figwidth() == pytest.approx(width)


# Maps


def maps(count, layers=LAYERS):
    generator = torch.Generator().manual_seed(SEED)
    near, cosines = torch.zeros(count, 3, dtype=torch.int64), torch.ones(count, 3)
    return {
        layer: LayerMap(torch.randn(count, 2, generator=generator), 0.5 + 0.1 * i, near, cosines)
        for i, layer in enumerate(layers)
    }


def test_each_run_and_layer_has_a_panel_with_every_image():
    figure = feature_maps({"random": maps(10), "codial": maps(10)}, images(10))
    assert [axes.get_title() for axes in figure.axes] == 2 * [
        "conv1\ntrustworthiness 0.50",
        "conv5\ntrustworthiness 0.60",
    ]
    assert [sum(len(c.get_offsets()) for c in axes.collections) for axes in figure.axes] == [10] * 4
    assert [figure.axes[0].get_ylabel(), figure.axes[2].get_ylabel()] == ["random", "codial"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(CLASSES)


def test_points_have_their_classes_color():
    dataset, drawn = images(10), maps(10)
    axes = feature_maps({"codial": drawn}, dataset).axes[0]
    for label, (collection, (color, _)) in enumerate(zip(axes.collections, class_styles(3), strict=True)):
        assert to_hex(collection.get_facecolor()[0]) == color.lower()
        wanted = drawn["conv1"].points[dataset.labels == label].numpy()
        assert (collection.get_offsets() == wanted).all()


def test_unlabeled_images_are_drawn_without_a_legend():
    figure = feature_maps({"codial": maps(10)}, images(10, labeled=False))
    assert figure.legends == []
    assert len(figure.axes[0].collections[0].get_offsets()) == 10


def test_class_styles_are_distinct():
    assert len(set(class_styles(MAX_CLASSES))) == MAX_CLASSES
    assert class_styles(MAX_CLASSES + 1)[MAX_CLASSES] == class_styles(1)[0]


def test_the_legend_stays_within_the_figure():
    classes = tuple(f"a long name {i}" for i in range(12))
    figure = feature_maps({"codial": maps(12)}, images(12, classes))
    png(figure)
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
