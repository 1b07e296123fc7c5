"""Comparison of methods: existing reports are used, missing ones are evaluated, seeds are grouped."""

import json
import re
from dataclasses import replace
from statistics import stdev

import pytest

import codial
from codial import ProbeConfig, ProbeReport, open_run, preset
from codial.config import config_hash, to_dict
from codial.errors import CodialError
from codial.models.alexnet import CONV_LAYERS
from codial.results import paper
from codial.results.comparison import compare, mean_and_std

TRAIN, TEST = "photos/train 24 aaaa", "photos/test 12 bbbb"
QUICK = ProbeConfig(epochs=2, seeds=(0, 1))


def never():
    raise AssertionError("no images should be loaded")


@pytest.fixture
def published(tmp_path):
    """Return a function that makes a published run with reports and without weights."""

    def make(name, accuracy, seed=0, test=TEST, **changes):
        config = replace(preset(name), seed=seed)
        folder = tmp_path / f"{name.replace('/', '-')}-{seed}-{accuracy}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(to_dict(config)))
        (folder / "provenance.json").write_text(json.dumps({"config_hash": config_hash(config)}))
        (folder / "history.jsonl").write_text('{"kind": "train", "step": 3, "views": 12345}\n')
        protocol = replace(ProbeConfig(), **{"precision": "float32", "layers": CONV_LAYERS} | changes)
        accuracies = {layer: (accuracy + i - 1, accuracy + i + 1) for i, layer in enumerate(CONV_LAYERS)}
        report = ProbeReport(config.name, accuracies, {}, protocol, TRAIN, test, config_hash(config))
        report.save(folder / "probe-photos.json")
        values = {"config_hash": config_hash(config), "precision": accuracy / 2, "k": 7}
        values |= {"gallery": TRAIN, "queries": test}
        (folder / "retrieval-photos-fc7.json").write_text(json.dumps(values))
        return open_run(folder)

    return make


def test_seeds_are_one_row_with_mean_and_std(published):
    runs = [published("codial/photos", accuracy, seed) for seed, accuracy in enumerate((60.0, 61.0, 65.0))]
    found = compare([published("random/photos", 40.0), *runs], never)
    random, ours = found.groups
    assert (random.name, ours.name, ours.method) == ("random/photos", "codial/photos", "codial")
    assert [len(group.runs) for group in found.groups] == [1, 3]
    assert found.accuracies(ours, "conv2") == [61.0, 62.0, 66.0]
    assert found.precisions(ours) == [30.0, 30.5, 32.5]
    text = str(found)
    assert re.search(rf"^codial/photos +3 +12,345 +62\.0 ± {stdev((60, 61, 65)):.1f} ", text, re.MULTILINE)
    assert re.search(r"^random/photos +1 +12,345 +40\.0 +41\.0 +42\.0 +43\.0 +44\.0 +20\.0$", text, re.MULTILINE)
    assert TRAIN in text
    assert "standard deviation over runs" in text


def test_the_papers_numbers_are_below_our_methods(published):
    text = str(compare([published("rotnet/photos", 50.0), published("codial-pairs3/photos", 51.0)], never))
    _, _, rotnet, printed, pairs, *_ = text.splitlines()
    assert rotnet.startswith("rotnet/photos")
    assert printed.split() == ["the", "paper,", "STL-10", "58.2", "67.3", "69.3", "69.9", "70.1"]
    assert pairs.startswith("codial-pairs3/photos"), "without a row of the paper"
    assert "rotnet departs from the original: " in " ".join(text.split())
    assert "One run each." in " ".join(text.split())


def test_printed_accuracies():
    for method in paper._PRINTED:
        dataset, numbers = paper.printed_accuracies(method)
        assert dataset in ("STL-10", "ImageNet")
        assert list(numbers) == list(paper.LAYERS)
    assert paper.printed_accuracies("codial")[1]["conv5"] == 75.4
    assert paper.printed_accuracies("codial-mi")[1]["conv1"] == 58.2
    cmc = dict(zip(paper.LAYERS, (18.3, 33.7, 38.3, 40.5, 42.8), strict=True))
    assert paper.printed_accuracies("cmc") == ("ImageNet", cmc)
    assert paper.printed_accuracies("codial-pairs3") is None


def test_equal_names_with_different_settings_are_two_rows(published):
    first, second = published("codial/photos", 60.0), published("codial/photos", 61.0)
    config = json.loads((second.folder / "config.json").read_text())
    config["train"]["epochs"] = 7
    (second.folder / "config.json").write_text(json.dumps(config))
    names = [group.name for group in compare([first, open_run(second.folder)], never).groups]
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"codial/photos [0-9a-f]{4}", name) for name in names)


def test_missing_reports_are_evaluated_and_saved(tiny_run, few, photos, tmp_path):
    """Reports are used the second time, unless the protocol differs."""
    run = codial.pretrain(tiny_run.config, tmp_path / "run", images=few, progress=False)
    test = photos["test"].subset(16)
    first = compare([run], lambda: (few, test), QUICK, progress=False)
    assert str(compare([run], never, QUICK)) == str(first)
    with pytest.raises(AssertionError, match="no images should be loaded"):
        compare([run], never, replace(QUICK, epochs=3))
    with pytest.raises(AssertionError, match="no images should be loaded"):
        compare([run], never, QUICK, again=True)
    (group,) = first.groups
    report = codial.probe(run, few, test, QUICK, progress=False)
    assert first.accuracies(group, "conv3") == [report.mean("conv3")]
    assert first.precisions(group) == [codial.retrieve(run, few, test, progress=False).precision]


def test_only_missing_reports_are_evaluated(tiny_run, few, photos, tmp_path):
    """The run with reports has no weights, so it cannot be evaluated again."""
    test, runs = photos["test"].subset(16), []
    for name in ("first", "second"):
        runs.append(codial.pretrain(tiny_run.config, tmp_path / name, images=few, progress=False))
    compare(runs[:1], lambda: (few, test), QUICK, progress=False)
    (runs[0].folder / "checkpoints" / "last.safetensors").unlink()
    table = compare(runs, lambda: (few, test), QUICK, progress=False)
    (group,) = table.groups
    first, second = table.accuracies(group, "conv5")
    assert first == second, "runs of one seed"
    with pytest.raises(CodialError, match="has no finished weights"):
        compare(runs, lambda: (few, test), QUICK, again=True)


def test_reports_of_other_settings_are_ignored(published):
    run = published("codial/photos", 60.0)
    (run.folder / "provenance.json").write_text(json.dumps({"config_hash": "0" * 12}))
    with pytest.raises(CodialError, match="has no finished weights, and no report by this protocol"):
        compare([run], never)


def test_published_runs_cannot_be_evaluated(published, few):
    run = published("codial/photos", 60.0)
    with pytest.raises(CodialError, match=r"has no finished weights, and no report by this protocol; finish it with"):
        compare([run], lambda: (few, few), replace(ProbeConfig(), epochs=3))


def test_reports_on_different_images_raise(published):
    runs = [published("codial/photos", 60.0), published("random/photos", 40.0, test="photos/test 11 cccc")]
    with pytest.raises(CodialError, match=r"evaluated on photos/test 11 cccc .* --again evaluates all runs alike"):
        compare(runs, never)


def test_reports_in_other_precisions_are_compared_and_named(published):
    runs = [
        published("codial/photos", 60.0),
        published("codial/photos", 61.0, seed=1, precision="bf16"),
        published("random/photos", 40.0, precision="bf16"),
    ]
    text = " ".join(str(compare(runs, never)).split())
    assert "in bfloat16, unlike the others: 1 of 2 runs of codial/photos, random/photos." in text


def test_no_runs_raise():
    with pytest.raises(CodialError, match="There are no runs to compare"):
        compare([], never)


def test_mean_and_std_of_one_value_and_of_two():
    assert mean_and_std([1.0]) == "1.0"
    assert mean_and_std([1.0, 3.0]) == "2.0 ± 1.4"
