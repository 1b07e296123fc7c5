"""The paper's tables with ours in them: its numbers as printed, reasons instead of differences, what is missing."""

import json
import re
from dataclasses import replace
from statistics import mean, stdev

import pytest

from codial import ProbeConfig, ProbeReport, open_run, override, paper, preset
from codial.config import config_hash, to_dict
from codial.errors import CodialError
from codial.models import CONV_TAPS
from codial.papertables import paper_table
from codial.reports import by_pairs, gains, groups, pairs_note, probed, probed_sets
from codial.scale import count, differences

FULL = {"data.source": "stl10", "views.size": 64}  # the paper's own scale, with its presets' other settings


@pytest.fixture
def published(tmp_path):
    """Makes what `codial publish` leaves of a run: no weights."""

    def make(name, accuracies, source="photos", seed=0, counts=(100, 50), pictures=4000, **changes):
        config = replace(override(preset(name), changes), seed=seed)
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(to_dict(config)))
        told = {"config_hash": config_hash(config), "pictures": {"name": config.data.source, "count": pictures}}
        (folder / "provenance.json").write_text(json.dumps(told))
        values = {layer: (a - 1, a + 1) for layer, a in zip(CONV_TAPS, accuracies, strict=True)}
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


def test_without_runs_it_is_the_papers_own_table():
    for number, table in paper.TABLES.items():
        blocks = paper_table(number).blocks
        printed = [cell for block in blocks for row in block.lines for cell in row[2:]]
        numbers = [n for data in dict.fromkeys(d for d, _ in table.columns) for row in table.rows
                   for n in table.numbers(row, data).values()]  # fmt: skip
        assert sorted(printed) == sorted("-" if n is None else f"{n:.1f}" for n in numbers)
        assert "No report" not in str(paper_table(number))
    assert line(paper_table(2).blocks[0], "cr + bl + co")[5:] == ["59.6", "71.0", "73.2", "74.8", "75.1"]


def test_at_the_papers_scale_there_is_a_difference(published):
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
        ({"data.source": "cifar10"}, "training on cifar10, not stl10"),
    ],
)
def test_each_departure_is_a_reason_and_there_is_no_difference(published, changes, reason):
    table = paper_table(1, [full(published, **changes)])
    assert f"codial/paper: not comparable with the paper's stl10 because of {reason}." in joined(table)
    assert "difference" not in str(table)
    assert line(table.blocks[0], "  codial/paper")[-1] == "77.0"


def test_fewer_pictures_to_learn_from_or_to_be_judged_on_are_reasons(published):
    run = published("codial/cifar10", (50,) * 5, "cifar10", 0, (2000, 1000), 10_000)
    told = joined(paper_table(1, [run]))
    assert "10,000 of 50,000 pictures; quarter width; 20 of 200 epochs" in told
    assert "probed from 2,000 of 50,000 pictures; judged on 1,000 of 10,000 pictures" in told
    assert differences(full(published), "stl10", "stl10/train 5000 aa", "stl10/test 8000 bb") == []
    assert count("my set/train 12 aaaa") == 12


def test_a_system_with_fewer_views_a_picture_has_more_epochs(published):
    assert differences(full(published, "rotnet/paper"), "stl10") == []
    assert differences(full(published, "random/paper"), "stl10") == []
    assert differences(full(published, "rotnet/paper", **{"train.epochs": 25}), "stl10") == ["25 of 250 epochs"]


def test_single_numbers_are_the_best_layers_by_name(published):
    runs = [published("codial/cifar10", (50, 52 + s, 53 - s, 40, 40), "cifar10", s) for s in (0, 1, 2)]
    cells = line(paper_table(1, runs).blocks[2], "  codial/cifar10")
    assert cells[:5] == ["codial/cifar10", "3", f"{mean((52, 53, 54)):.1f}", "±", f"{stdev((52, 53, 54)):.1f}"]
    assert cells[5:] == ["conv2", "no", "report", "no", "report"]


def test_sets_that_the_paper_lacks_get_a_block_of_their_own(published):
    runs = [published("codial/photos", (90, 91, 92, 93, 94)), published("codial-mi/photos", (80, 81, 82, 83, 84))]
    block = paper_table(2, runs).blocks[-1]
    assert block.head[0] == "photos, in percent"
    assert [row[0] for row in block.lines] == [
        "cr + co: codial/photos",
        "cls 0, mi 1: codial-mi/photos",
        "cls 1, mi 1: codial/photos",
    ]
    assert "because of training on photos, not stl10; quarter width; 6 of 200 epochs; probed on photos" in joined(block)
    assert "difference" not in str(block)


def test_a_missing_report_names_the_command_that_makes_it(published):
    table = paper_table(1, [full(published), published("rotnet/photos", (50,) * 5)])
    assert "No report on stl10 of rotnet/photos: `codial probe RUN --train stl10` makes one" in joined(table)
    assert line(table.blocks[0], "  rotnet/photos")[1:] == ["0", "no", "report"]
    assert "No report on celeba of rotnet/photos, codial/paper: `codial probe RUN --train celeba`" in joined(table)


def test_a_report_of_older_settings_is_missing(published):
    run = full(published)
    (run.folder / "provenance.json").write_text(json.dumps({"config_hash": "0" * 12, "pictures": {}}))
    assert "No report on stl10 of codial/paper" in joined(paper_table(1, [run]))


def test_transfers_stand_in_table_3(published):
    run = published("codial/photos", (50,) * 5)
    values = {"value": 41.5, "metric": "mAP", "config_hash": config_hash(run.config)}
    (run.folder / "transfer-voc2007-detection.json").write_text(json.dumps(values))
    table = paper_table(3, [run])
    assert line(table.blocks[2], "  codial/photos")[1:] == ["1", "no", "report", "41.5", "no", "report"]
    assert "not comparable with the paper's voc2007 detection because of training on photos, not imagenet" in joined(
        table
    )
    assert "`codial transfer segmentation RUN` makes one" in joined(table)


def test_labels_of_places_and_of_imagenet_are_two_rows(published):
    places = published("supervised/recommended", (50,) * 5, "places205", **{"data.source": "places205"})
    lines = paper_table(3, [places]).blocks[1].lines
    assert [row[0] for row in lines[:3]] == ["Places Labels", "  supervised/recommended", "ImageNet Labels"]


def test_misprints_have_a_star_and_a_footnote():
    for flag in paper.FLAGS:
        text = joined(paper_table(flag.table))
        assert f"{flag.row}*" in text
        assert f"* {flag.row}: {flag.reason}" in text
    assert "*" not in str(paper_table(2))
    starred = re.findall(r"^(\S+)\*", str(paper_table(3)), re.MULTILINE)
    assert starred == ["KnowTrans", "SpotArtifacts"]


def test_runs_without_a_row_are_named(published):
    table = paper_table(1, [published("codial-pairs3/photos", (50,) * 5)])
    assert "Table 1 has no row for codial-pairs3/photos." in str(table)


def test_seeds_that_were_judged_differently_are_not_averaged(published):
    runs = [published("codial/photos", (50,) * 5, seed=0), published("codial/photos", (50,) * 5, seed=1, counts=(9, 9))]
    with pytest.raises(CodialError, match="were probed on photos with different pictures or protocols"):
        paper_table(2, runs)


def test_there_are_three_tables():
    with pytest.raises(CodialError, match="There is no Table 4; the paper has 1, 2, 3"):
        paper_table(4)


# Figure 3, and gains


def test_accuracies_by_pairs_are_those_of_the_reports(published):
    runs = [published("codial-pairs3/photos", (50 + s,) * 5, seed=s) for s in (0, 1)]
    runs += [published("codial/photos", (60, 61, 62, 63, 64)), published("codial-cls/photos", (1,) * 5)]
    found = by_pairs(runs, "photos")
    assert list(found) == list(CONV_TAPS)
    assert found["conv5"] == {3: [50, 51], 10: [64]}
    assert pairs_note(runs, "photos").startswith("1 to 2 runs a point, the band is one standard deviation over seeds.")
    assert "training on photos, not stl10; quarter width; 6 of 200 epochs" in pairs_note(runs, "photos")
    assert probed_sets(runs) == ["photos"]
    assert next((group.name, len(group.runs)) for group in groups(runs)) == ("codial-pairs3/photos", 2)


def test_pairs_at_two_scales_are_not_one_curve(published):
    runs = [published("codial-pairs3/photos", (50,) * 5), published("codial/cifar10", (60,) * 5)]
    with pytest.raises(CodialError, match="differ in more than their pairs and seeds"):
        by_pairs(runs, "photos")
    with pytest.raises(CodialError, match="`codial sweep figure3/photos --probe` makes such runs"):
        by_pairs(runs[:1], "stl10")


def test_gains_are_over_the_random_weights_of_the_same_seed(published):
    floors = [published("random/photos", (40 + s,) * 5, seed=s) for s in (0, 1)]
    runs = [published("codial/photos", (50 + 3 * s,) * 5, seed=s) for s in (0, 1, 2)]
    assert gains([*floors, *runs], "photos") == {"codial/photos": {n: [10, 12, 15.5] for n in CONV_TAPS}}
    with pytest.raises(CodialError, match="of random weights and of trained runs"):
        gains(runs, "photos")


def test_reports_come_by_configuration_a_report_a_run(published):
    runs = [published("codial/photos", [60 + seed] * 5, seed=seed) for seed in (0, 1)]
    longer = published("codial/photos", [70.0] * 5, **{"train.epochs": 50})
    floor = published("random/photos", [50.0] * 5)
    found = probed([floor, *runs, longer, published("random/photos", [1.0] * 5, "cifar10", seed=1)], "photos")
    values = [[report.mean("conv1") for report in each] for each in found.values()]
    assert values == [[50.0], [60.0, 61.0], [70.0]], "other settings under the same name are another configuration"
    assert next(iter(found)) == "random/photos"
    with pytest.raises(CodialError, match="No run here has a probe report on stl10; `codial probe RUN --train stl10`"):
        probed(runs, "stl10")
