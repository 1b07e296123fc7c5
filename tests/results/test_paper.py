"""The paper's tables: complete, consistent, and with misprints flagged."""

import pytest

from codial.errors import CodialError
from codial.results import paper


@pytest.mark.parametrize(("number", "rows", "columns"), [(1, 4, 13), (2, 8, 10), (3, 11, 13)])
def test_tables_have_the_papers_rows_and_columns(number, rows, columns):
    table = paper.TABLES[number]
    assert len(table.rows) == rows
    assert len(table.columns) == len(set(table.columns)) == columns
    assert all(len(numbers) == columns for numbers in table.rows.values())


def test_numbers_are_percentages_with_one_decimal():
    numbers = [n for table in paper.TABLES.values() for row in table.rows.values() for n in row if n is not None]
    assert len(numbers) == 4 * 13 + 8 * 10 + 11 * 13 - 8 - 5
    assert all(0 < n < 100 and round(n, 1) == n for n in numbers)


def test_only_labels_and_cmc_have_empty_cells():
    gaps = {name for table in paper.TABLES.values() for name, row in table.rows.items() if None in row}
    assert gaps == {"Places Labels", "CMC"}


# One or more from each block of columns.
SAMPLES = [
    (1, "RotNet", "stl10", "conv5", 70.1),
    (1, "GlobStat", "celeba", "conv1", 71.8),
    (1, "CODIAL", "cifar10", "", 69.9),
    (1, "Decouple", "cifar100", "", 37.7),
    (1, "CODIAL", "tiny-imagenet", "", 33.6),
    (2, "Random", "stl10", "conv5", 47.9),
    (2, "cr + bl + co", "celeba", "conv5", 82.5),
    (2, "cls 0, mi 1", "stl10", "conv2", 67.0),
    (3, "CMC", "imagenet", "conv5", 42.8),
    (3, "ImageNet Labels", "places205", "conv3", 38.4),
    (3, "CODIAL", "voc2007 classification", "", 75.2),
    (3, "DeepCluster", "voc2012 segmentation", "", 45.1),
    (3, "Random", "voc2007 detection", "", 43.4),
]


@pytest.mark.parametrize(("table", "row", "data", "layer", "number"), SAMPLES)
def test_numbers_are_in_the_papers_cells(table, row, data, layer, number):
    assert paper.TABLES[table].numbers(row, data)[layer] == number


def test_numbers_are_in_the_order_of_layers():
    assert tuple(paper.TABLES[1].numbers("CODIAL", "stl10")) == paper.LAYERS
    assert tuple(paper.TABLES[1].numbers("CODIAL", "cifar10")) == ("",)


def test_codials_row_is_equal_in_tables_1_and_2():
    headline = paper.TABLES[1].rows["CODIAL"][:10]
    assert paper.TABLES[2].rows["cr + co"] == paper.TABLES[2].rows["cls 1, mi 1"] == headline


def test_repeated_rows_are_flagged():
    third = paper.TABLES[3]
    assert third.numbers("KnowTrans", "places205") == third.numbers("KnowTrans", "imagenet")
    assert paper.flags(3, "KnowTrans", "places205")
    assert not paper.flags(3, "KnowTrans", "imagenet")
    for task in ("voc2007 classification", "voc2007 detection", "voc2012 segmentation"):
        assert third.numbers("SpotArtifacts", task) == third.numbers("Decouple", task)
        assert paper.flags(3, "SpotArtifacts", task)
        assert not paper.flags(3, "Decouple", task)


@pytest.mark.parametrize(
    ("data", "other", "margin"),
    [
        ("stl10", "Decouple", 2.30),
        ("stl10", "GlobStat", 1.88),
        ("celeba", "Decouple", 11.96),
        ("celeba", "GlobStat", 12.26),
    ],
)
def test_flag_has_the_margins_of_table_1(data, other, margin):
    ours, theirs = (paper.TABLES[1].numbers(row, data).values() for row in ("CODIAL", other))
    found = sum(a - b for a, b in zip(ours, theirs, strict=True)) / 5
    assert found == pytest.approx(margin, abs=1e-9)
    assert f"{margin:.1f}" in paper.flags(1, "CODIAL", data)[0]


def test_flags_refer_to_existing_numbers():
    for flag in paper.FLAGS:
        assert all(paper.TABLES[flag.table].numbers(flag.row, data) for data in flag.data)


@pytest.mark.parametrize(("row", "data", "hint"), [("CODAIL", "stl10", "'CODIAL'"), ("CODIAL", "stl-10", "'stl10'")])
def test_unknown_names_raise_with_the_nearest(row, data, hint):
    with pytest.raises(CodialError, match=f"Did you mean {hint}"):
        paper.TABLES[1].numbers(row, data)


@pytest.mark.parametrize(
    ("method", "where", "layer", "points"),
    [("codial", "STL-10", "conv5", 75.4 - 47.9), ("codial-cls", "STL-10", "conv1", 57.8 - 48.4),
     ("cmc", "ImageNet", "conv5", 42.8 - 14.1), ("supervised", "ImageNet", "conv1", 19.3 - 11.6)],
)  # fmt: skip
def test_printed_gains_are_over_random_weights(method, where, layer, points):
    found = paper.printed_gains(method)
    assert found[0] == where
    assert found[1][layer] == pytest.approx(points)


@pytest.mark.parametrize("method", ["random", "codial-pairs3", "mine"])
def test_methods_without_printed_gains(method):
    assert paper.printed_gains(method) is None
