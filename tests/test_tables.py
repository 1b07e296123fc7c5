"""Systems side by side: reports that are there are used, what is missing is measured, seeds are gathered."""

import json
import re
from dataclasses import replace
from statistics import stdev

import pytest

import codial
from codial import ProbeConfig, ProbeReport, open_run, paper, preset
from codial.config import config_hash, to_dict
from codial.errors import CodialError
from codial.models import CONV_TAPS
from codial.tables import compare, laid_out, spread

TRAIN, TEST = "photos/train 24 aaaa", "photos/test 12 bbbb"
QUICK = ProbeConfig(epochs=2, seeds=(0, 1))


def never():
    raise AssertionError("nothing is to be measured, so no pictures are to be loaded")


@pytest.fixture
def published(tmp_path):
    """Makes what `codial publish` leaves of a run: no weights."""

    def make(name, accuracy, seed=0, test=TEST, **changes):
        config = replace(preset(name), seed=seed)
        folder = tmp_path / f"{name.replace('/', '-')}-{seed}-{accuracy}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(to_dict(config)))
        (folder / "provenance.json").write_text(json.dumps({"config_hash": config_hash(config)}))
        (folder / "history.jsonl").write_text('{"kind": "train", "step": 3, "views": 12345}\n')
        protocol = replace(ProbeConfig(), precision="float32", **changes)
        accuracies = {layer: (accuracy + i - 1, accuracy + i + 1) for i, layer in enumerate(CONV_TAPS)}
        report = ProbeReport(config.name, accuracies, {}, protocol, TRAIN, test, config_hash(config))
        report.save(folder / "probe-photos.json")
        values = {"config_hash": config_hash(config), "precision": accuracy / 2, "k": 7}
        values |= {"gallery": TRAIN, "queries": test}
        (folder / "retrieval-photos-fc7.json").write_text(json.dumps(values))
        return open_run(folder)

    return make


def test_seeds_of_a_system_are_one_row_with_mean_and_spread(published):
    runs = [published("codial/photos", accuracy, seed) for seed, accuracy in enumerate((60.0, 61.0, 65.0))]
    found = compare([published("random/photos", 40.0), *runs], never)
    random, ours = found.rows
    assert (random.name, ours.name, ours.system) == ("random/photos", "codial/photos", "codial")
    assert [len(row.judged) for row in found.rows] == [1, 3]
    assert ours.layer("conv2") == [61.0, 62.0, 66.0]
    assert ours.precision == [30.0, 30.5, 32.5]
    assert ours.views == 12345
    text = str(found)
    assert re.search(rf"^codial/photos +3 +12,345 +62\.0 ± {stdev((60, 61, 65)):.1f} ", text, re.MULTILINE)
    assert re.search(r"^random/photos +1 +12,345 +40\.0 +41\.0 +42\.0 +43\.0 +44\.0 +20\.0$", text, re.MULTILINE)
    assert TRAIN in text
    assert "standard deviation over runs" in text


def test_the_papers_numbers_stand_beneath_their_systems(published):
    text = str(compare([published("rotnet/photos", 50.0), published("codial-pairs3/photos", 51.0)], never))
    _, _, rotnet, printed, pairs, *_ = text.splitlines()
    assert rotnet.startswith("rotnet/photos")
    assert printed.split() == ["the", "paper,", "STL-10", "58.2", "67.3", "69.3", "69.9", "70.1"]
    assert pairs.startswith("codial-pairs3/photos"), "of which the paper prints no layers"
    assert "rotnet departs from the original: the trunk" in " ".join(text.split())
    assert "One run each." in " ".join(text.split())


def test_every_row_that_the_paper_prints_is_found():
    for system in paper._PRINTED:
        where, numbers = paper.printed(system)
        assert where in ("STL-10", "ImageNet")
        assert list(numbers) == list(paper.LAYERS)
    assert paper.printed("codial")[1]["conv5"] == 75.4
    assert paper.printed("codial-mi")[1]["conv1"] == 58.2
    assert paper.printed("cmc") == ("ImageNet", dict(zip(paper.LAYERS, (18.3, 33.7, 38.3, 40.5, 42.8), strict=True)))
    assert paper.printed("codial-pairs3") is None


def test_systems_of_one_name_and_other_settings_are_two_rows(published):
    first, second = published("codial/photos", 60.0), published("codial/photos", 61.0)
    config = json.loads((second.folder / "config.json").read_text())
    config["train"]["epochs"] = 7
    (second.folder / "config.json").write_text(json.dumps(config))
    names = [row.name for row in compare([first, open_run(second.folder)], never).rows]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"codial/photos [0-9a-f]{4}", name) for name in names)


def test_what_is_missing_is_measured_and_kept(tiny_run, few, photos, tmp_path):
    """Only once: the second time the folder's reports will do, for other protocols they will not."""
    run = codial.pretrain(tiny_run.config, tmp_path / "run", images=few, progress=False)
    asked = photos["test"].subset(16)
    first = compare([run], lambda: (few, asked), QUICK, progress=False)
    assert str(compare([run], never, QUICK)) == str(first)
    with pytest.raises(AssertionError, match="nothing is to be measured"):
        compare([run], never, replace(QUICK, epochs=3))
    with pytest.raises(AssertionError, match="nothing is to be measured"):
        compare([run], never, QUICK, again=True)
    (row,) = first.rows
    report = codial.probe(run, few, asked, QUICK, progress=False)
    assert row.layer("conv3") == [report.mean("conv3")]
    assert row.precision == [codial.retrieve(run, few, asked, progress=False).precision]


def test_only_what_is_missing_is_measured(tiny_run, few, photos, tmp_path):
    """The run whose reports are there has lost its weights, so that it could not be measured again."""
    asked, runs = photos["test"].subset(16), []
    for name in ("first", "second"):
        runs.append(codial.pretrain(tiny_run.config, tmp_path / name, images=few, progress=False))
    compare(runs[:1], lambda: (few, asked), QUICK, progress=False)
    (runs[0].folder / "checkpoints" / "last.safetensors").unlink()
    (row,) = compare(runs, lambda: (few, asked), QUICK, progress=False).rows
    assert row.layer("conv5")[0] == row.layer("conv5")[1], "runs of one seed"
    with pytest.raises(CodialError, match="has no finished weights"):
        compare(runs, lambda: (few, asked), QUICK, again=True)


def test_reports_of_older_settings_are_not_believed(published):
    run = published("codial/photos", 60.0)
    (run.folder / "provenance.json").write_text(json.dumps({"config_hash": "0" * 12}))
    with pytest.raises(CodialError, match="has no finished weights, and no report by this protocol"):
        compare([run], never)


def test_published_runs_cannot_be_measured_again(published, few):
    run = published("codial/photos", 60.0)
    with pytest.raises(CodialError, match=r"has no finished weights, and no report by this protocol; finish it with"):
        compare([run], lambda: (few, few), replace(ProbeConfig(), epochs=3))


def test_reports_on_other_pictures_are_not_mixed(published):
    runs = [published("codial/photos", 60.0), published("random/photos", 40.0, test="photos/test 11 cccc")]
    with pytest.raises(CodialError, match=r"judged on photos/test 11 cccc .* --again measures all of them alike"):
        compare(runs, never)


def test_no_run_at_all_is_a_mistake():
    with pytest.raises(CodialError, match="There are no runs to compare"):
        compare([], never)


def test_columns_are_as_wide_as_their_widest_cell():
    assert laid_out([("a", "b"), ("long", "c"), ("d", "")]) == "a     b\n-------\nlong  c\nd"
    assert spread([1.0]) == "1.0"
    assert spread([1.0, 3.0]) == "2.0 ± 1.4"
