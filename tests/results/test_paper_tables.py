"""The paper's tables with our numbers: printed numbers, differences or reasons against them, missing reports."""

import json
import re
from dataclasses import replace
from statistics import mean, stdev

import pytest

from codial import ProbeConfig, ProbeReport, open_run, override, preset
from codial.config import config_hash, to_dict
from codial.errors import CodialError
from codial.models.alexnet import CONV_LAYERS
from codial.results import paper
from codial.results.aggregate import accuracy_by_pairs, gains_over_random, group_by_seed, pairs_note, probe_reports
from codial.results.comparability import differences, image_count
from codial.results.paper_tables import paper_table
from codial.runs.reports import probed_sets

FULL = {"data.source": "stl10", "views.size": 64}  # the paper's data and view size


@pytest.fixture
def published(tmp_path):
    """Return a function that makes a published run with a probe report and without weights."""

    def make(name, accuracies, source="photos", seed=0, counts=(100, 50), images=4000, **changes):
        config = replace(override(preset(name), changes), seed=seed)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(to_dict(config)))
        provenance = {"config_hash": config_hash(config), "images": {"name": config.data.source, "count": images}}
        (folder / "provenance.json").write_text(json.dumps(provenance))
        values = {layer: (a - 1, a + 1) for layer, a in zip(CONV_LAYERS, accuracies, strict=True)}
        described = [f"{source}/{split} {n} aaaa" for split, n in zip(("train", "test"), counts, strict=True)]
        ProbeReport(config.name, values, {}, ProbeConfig(), *described, config_hash(config)).save(
            folder / f"probe-{source}.json"
        )
        return open_run(folder)

    return make


def full(published, name="codial/paper", accuracies=(61.0, 72.0, 75.0, 76.0, 77.0), seed=0, **changes):
    """Make a run at the paper's scale on STL-10."""
    return published(name, accuracies, "stl10", seed, (5000, 8000), 100_000, **(FULL | changes))


def joined(table):
    return " ".join(str(table).split())


def line(table, start):
    (found,) = [each for each in str(table).splitlines() if each.startswith(start)]
    return found.split()


def test_table_without_runs_is_the_papers():
    for number, table in paper.TABLES.items():
        blocks = paper_table(number).blocks
        printed = [cell for block in blocks for row in block.lines for cell in row[2:]]
        numbers = [n for data in dict.fromkeys(d for d, _ in table.columns) for row in table.rows
                   for n in table.numbers(row, data).values()]  # fmt: skip
        assert sorted(printed) == sorted("-" if n is None else f"{n:.1f}" for n in numbers)
        assert "No report" not in str(paper_table(number))
    assert line(paper_table(2).blocks[0], "cr + bl + co")[5:] == ["59.6", "71.0", "73.2", "74.8", "75.1"]


def test_comparable_runs_have_differences(published):
    runs = [full(published, accuracies=(61.0 + s, 72.0, 75.0, 76.0, 77.0 + s), seed=s) for s in (0, 1)]
    block = paper_table(1, runs).blocks[0]
    assert [row for row in block.lines if row[0].startswith("  ")] == [
        ("  codial/paper", "2", "61.5 ± 0.7", "72.0 ± 0.0", "75.0 ± 0.0", "76.0 ± 0.0", "77.5 ± 0.7"),
        ("  difference", "", "+1.0", "+0.5", "+0.7", "+0.7", "+2.1"),
    ]
    assert "not comparable" not in str(block)
    assert "one standard deviation" in str(paper_table(1, runs))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model.width": 0.25}, "quarter width"),
        ({"train.epochs": 20}, "20 of 200 epochs"),
        ({"train.epochs": 300}, "300 epochs instead of 200"),
        ({"views.size": 32}, "views of 32 pixels instead of 64"),
        ({"data.source": "cifar10"}, "pretrained on cifar10, not stl10"),
        ({"method.bound": "nwj"}, "the bound nwj instead of js"),
    ],
)
def test_incomparable_runs_have_reasons_and_no_differences(published, changes, reason):
    table = paper_table(1, [full(published, **changes)])
    assert f"codial/paper: not comparable with the paper's stl10: {reason}." in joined(table)
    assert "difference" not in str(table)
    assert line(table.blocks[0], "  codial/paper")[-1] == "77.0"


def test_fewer_images_are_reasons(published):
    run = published("codial/cifar10", (50,) * 5, "cifar10", 0, (2000, 1000), 10_000)
    text = joined(paper_table(1, [run]))
    assert "10,000 of 50,000 images; quarter width; 20 of 200 epochs" in text
    assert "probes trained on 2,000 of 50,000 images; evaluated on 1,000 of 10,000 images" in text
    assert differences(full(published), "stl10", "stl10/train 5000 aa", "stl10/test 8000 bb") == []
    assert image_count("my set/train 12 aaaa") == 12


def test_methods_with_fewer_views_have_more_epochs(published):
    assert differences(full(published, "rotnet/paper"), "stl10") == []
    assert differences(full(published, "random/paper"), "stl10") == []
    assert differences(full(published, "rotnet/paper", **{"train.epochs": 25}), "stl10") == ["25 of 250 epochs"]


def test_single_numbers_are_the_best_layers(published):
    runs = [published("codial/cifar10", (50, 52 + s, 53 - s, 40, 40), "cifar10", s) for s in (0, 1, 2)]
    cells = line(paper_table(1, runs).blocks[2], "  codial/cifar10")
    assert cells[:5] == ["codial/cifar10", "3", f"{mean((52, 53, 54)):.1f}", "±", f"{stdev((52, 53, 54)):.1f}"]
    assert cells[5:] == ["conv2", "no", "report", "no", "report"]


def test_other_datasets_have_a_block_of_their_own(published):
    runs = [published("codial/photos", (90, 91, 92, 93, 94)), published("codial-mi/photos", (80, 81, 82, 83, 84))]
    block = paper_table(2, runs).blocks[-1]
    assert block.head[0] == "photos, in percent"
    assert [row[0] for row in block.lines] == [
        "cr + co: codial/photos",
        "cls 0, mi 1: codial-mi/photos",
        "cls 1, mi 1: codial/photos",
    ]
    reasons = "pretrained on photos, not stl10; quarter width; the bound infonce instead of js; 6 of 200 epochs"
    assert f"above: {reasons}; probed on photos" in joined(block)
    assert "difference" not in str(block)


def test_missing_reports_are_noted_with_the_command(published):
    table = paper_table(1, [full(published), published("rotnet/photos", (50,) * 5)])
    assert "No report on stl10 of rotnet/photos: `codial probe RUN --train stl10` makes one" in joined(table)
    assert line(table.blocks[0], "  rotnet/photos")[1:] == ["0", "no", "report"]
    assert "No report on celeba of rotnet/photos, codial/paper: `codial probe RUN --train celeba`" in joined(table)


def test_reports_of_other_settings_are_missing(published):
    run = full(published)
    (run.folder / "provenance.json").write_text(json.dumps({"config_hash": "0" * 12, "images": {}}))
    assert "No report on stl10 of codial/paper" in joined(paper_table(1, [run]))


def test_transfer_values_are_in_table_3(published):
    run = published("codial/photos", (50,) * 5)
    values = {"value": 41.5, "metric": "mAP", "config_hash": config_hash(run.config)}
    (run.folder / "transfer-voc2007-detection.json").write_text(json.dumps(values))
    table = paper_table(3, [run])
    assert line(table.blocks[2], "  codial/photos")[1:] == ["1", "no", "report", "41.5", "no", "report"]
    assert "not comparable with the paper's voc2007 detection: pretrained on photos, not imagenet" in joined(table)
    assert "`codial transfer segmentation RUN` makes one" in joined(table)


def test_labels_of_places_and_of_imagenet_are_two_rows(published):
    places = published("supervised/recommended", (50,) * 5, "places205", **{"data.source": "places205"})
    lines = paper_table(3, [places]).blocks[1].lines
    assert [row[0] for row in lines[:3]] == ["Places Labels", "  supervised/recommended", "ImageNet Labels"]


def test_misprints_have_a_star_and_a_note():
    for flag in paper.FLAGS:
        text = joined(paper_table(flag.table))
        assert f"{flag.row}*" in text
        assert f"* {flag.row}: {flag.reason}" in text
    assert "*" not in str(paper_table(2))
    starred = re.findall(r"^(\S+)\*", str(paper_table(3)), re.MULTILINE)
    assert starred == ["KnowTrans", "SpotArtifacts"]


def test_runs_without_a_row_are_noted(published):
    table = paper_table(1, [published("codial-pairs3/photos", (50,) * 5)])
    assert "Table 1 has no row for codial-pairs3/photos." in str(table)


def test_seeds_with_different_images_raise(published):
    runs = [published("codial/photos", (50,) * 5, seed=0), published("codial/photos", (50,) * 5, seed=1, counts=(9, 9))]
    with pytest.raises(CodialError, match="were probed on photos with different images or protocols"):
        paper_table(2, runs)


def test_unknown_table_raises():
    with pytest.raises(CodialError, match="There is no Table 4; the paper has 1, 2, 3"):
        paper_table(4)


# Figure 3, and gains


def test_accuracy_by_pairs(published):
    runs = [published("codial-pairs3/photos", (50 + s,) * 5, seed=s) for s in (0, 1)]
    runs += [published("codial/photos", (60, 61, 62, 63, 64)), published("codial-cls/photos", (1,) * 5)]
    found = accuracy_by_pairs(runs, "photos")
    assert list(found) == list(CONV_LAYERS)
    assert found["conv5"] == {3: [50, 51], 10: [64]}
    assert pairs_note(runs, "photos").startswith(
        "1 to 2 runs per point, the band is one standard deviation over seeds."
    )
    reasons = "pretrained on photos, not stl10; quarter width; the bound infonce instead of js; 6 of 200 epochs"
    assert reasons in pairs_note(runs, "photos")
    assert probed_sets(runs) == ["photos"]
    assert next((group.name, len(group.runs)) for group in group_by_seed(runs)) == ("codial-pairs3/photos", 2)


def test_pairs_of_two_recipes_raise(published):
    runs = [published("codial-pairs3/photos", (50,) * 5), published("codial/cifar10", (60,) * 5)]
    with pytest.raises(CodialError, match="differ in more than pairs and seed"):
        accuracy_by_pairs(runs, "photos")
    with pytest.raises(CodialError, match="`codial sweep figure3/photos --probe` makes such runs"):
        accuracy_by_pairs(runs[:1], "stl10")


def test_gains_are_over_random_weights_of_the_same_seed(published):
    floors = [published("random/photos", (40 + s,) * 5, seed=s) for s in (0, 1)]
    runs = [published("codial/photos", (50 + 3 * s,) * 5, seed=s) for s in (0, 1, 2)]
    assert gains_over_random([*floors, *runs], "photos") == {"codial/photos": {n: [10, 12, 15.5] for n in CONV_LAYERS}}
    with pytest.raises(CodialError, match="of random weights and of trained runs"):
        gains_over_random(runs, "photos")


def test_reports_come_by_configuration_a_report_a_run(published):
    runs = [published("codial/photos", [60 + seed] * 5, seed=seed) for seed in (0, 1)]
    longer = published("codial/photos", [70.0] * 5, **{"train.epochs": 50})
    floor = published("random/photos", [50.0] * 5)
    found = probe_reports([floor, *runs, longer, published("random/photos", [1.0] * 5, "cifar10", seed=1)], "photos")
    values = [[report.mean("conv1") for report in each] for each in found.values()]
    assert values == [[50.0], [60.0, 61.0], [70.0]], "other settings under the same name are another configuration"
    assert next(iter(found)) == "random/photos"
    with pytest.raises(CodialError, match="No run has a probe report on stl10; `codial probe RUN --train stl10`"):
        probe_reports(runs, "stl10")
