"""Manipulated settings, runs and reports: nothing in them is executed, and each is refused with the reason."""

import json
import shutil

import pytest
import torch
from comparing_runs import pretrain_quietly, stop_after
from damage import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import codial
from codial.config import Config, flatten, from_dict, override, to_dict
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.results.aggregate import group_by_seed
from codial.runs.checkpoints import latest_checkpoint
from codial.runs.create import create_run
from codial.runs.reports import write_report

pytestmark = pytest.mark.faults("hostile file or setting")


# Settings


INJECTIONS = (
    "__import__('os').mkdir('pwned')",
    "$(mkdir pwned)",
    "`mkdir pwned`",
    "; mkdir pwned #",
    "!!python/object/apply:os.mkdir [pwned]",
    "{{ ''.__class__ }}",
    "%(mkdir)s {0.__class__}",
)
TEXTS = ("name", "source", "split", "device")  # settings that may be any text


@pytest.mark.parametrize("injection", INJECTIONS)
def test_nothing_in_a_config_is_executed(injection, tiny, few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in flatten(tiny):
        if not isinstance(value, str) or name.split(".")[-1] not in TEXTS:
            with pytest.raises(CodialError):
                override(tiny, {name: injection})
    changes = {"name": injection, "data.source": injection, "data.split": injection, "train.epochs": 0}
    config = override(tiny, changes)
    assert (config.name, config.data.source) == (injection, injection)
    run = codial.pretrain(config, tmp_path / "run", images=few, progress=False)
    assert codial.open_run(run.folder).config == config
    with pytest.raises(CodialError):
        codial.load_images(config.data.source, config.data.split)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_notebook_parameters_in_yaml_are_read_safely(tmp_path, monkeypatch):
    """YAML is read in one place, `papermill -f FILE`."""
    monkeypatch.chdir(tmp_path)
    iorw = pytest.importorskip("papermill.iorw")
    (tmp_path / "good.yaml").write_text("epochs: 3")
    assert iorw.read_yaml_file(str(tmp_path / "good.yaml")) == {"epochs": 3}
    (tmp_path / "bad.yaml").write_text("epochs: !!python/object/apply:os.mkdir [pwned]")
    with pytest.raises(Exception, match="could not determine a constructor"):
        iorw.read_yaml_file(str(tmp_path / "bad.yaml"))
    assert not (tmp_path / "pwned").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just("9" * 5000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SETTINGS = [name for name, _ in flatten(Config())]


@fuzzed(300)
@given(st.dictionaries(st.sampled_from(SETTINGS) | st.text(), JSON, min_size=1, max_size=3))
def test_any_settings_are_accepted_or_refused(changes):
    for read in (lambda: override(Config(), changes), lambda: from_dict(changes)):
        try:
            config = read()
        except CodialError:
            continue
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


# Runs and reports


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "history.jsonl"])
def test_deeply_nested_json_is_refused(name, tiny, tmp_path):
    run = create_run(tmp_path / "run", tiny, {}, "cpu")
    (run.folder / name).write_text('{"a":' + "[" * 200_000 + "\n")
    with pytest.raises(CodialError, match=rf"{name}.* nested too deeply"):
        _ = codial.open_run(run.folder).history, run.provenance


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A copy of a finished run that a test may damage."""
    return codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def rewrite(path, change):
    """Change a checkpoint's tensors and remove its checksum."""
    with safe_open(path, "pt") as file:
        note = file.metadata()["note"]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"note": note})


KEY = "optimizer.loss.0.exp_avg"
STATES = {
    "missing": (lambda t: t.pop(KEY), r"0.exp_avg missing"),
    "unknown": (lambda t: t.update({"optimizer.loss.9999.step": torch.tensor(1.0)}), r"9999.step unknown"),
    "not an index": (lambda t: t.update({"optimizer.loss.x": torch.tensor(1.0)}), r"x unknown"),
    "of another shape": (lambda t: t.update({KEY: torch.zeros(3)}), r"0.exp_avg is \[3\], expected \["),
    "of the model": (lambda t: t.pop("model.backbone.conv1.conv.weight"), r"backbone.conv1.conv.weight missing"),
}


@pytest.mark.parametrize("state", STATES)
def test_tensors_that_do_not_fit_are_listed_before_training_resumes(state, tiny, few, tmp_path):
    run = pretrain_quietly(tiny, tmp_path / "run", few, stop=stop_after(2))
    change, reason = STATES[state]
    rewrite(run.folder / "checkpoints" / "last.safetensors", change)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(CodialError, match=rf"last.safetensors does not fit the config: .*{reason}"):
        pretrain_quietly(tiny, run.folder, few)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("metadata", [[], {}, {"step": "3", "seconds": 1}, {"step": 3, "seconds": None}])
def test_metadata_of_other_types_are_refused(metadata, tiny, few, tmp_path):
    run = pretrain_quietly(tiny, tmp_path / "run", few, stop=stop_after(2))
    path = run.folder / "checkpoints" / "last.safetensors"
    save_file(load_file(path), path, {"note": json.dumps(metadata)})
    with pytest.raises(CodialError, match=r"last.safetensors is (not a checkpoint|damaged or of another version)"):
        pretrain_quietly(tiny, run.folder, few)


def test_a_renamed_checksum_is_detected(copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    content = path.read_bytes()
    assert content.count(b"sha256") == 1
    path.write_bytes(content.replace(b"sha256", b"sha257"))
    with pytest.warns(UserWarning, match=r"unexpected key 'sha257' in its header.* previous.safetensors"):
        assert latest_checkpoint(path.parent).name == "previous.safetensors"


REPORTS = {
    "retrieval-photos-fc7": ({"precision": "high"}, "precision is 'high'"),
    "transfer-voc2007-detection": ({"score": 3.5}, "value missing"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_another_version_is_refused(name, copied):
    values, reason = REPORTS[name]
    write_report(copied, name, values)
    (group,) = group_by_seed([copied])
    with pytest.raises(CodialError, match=rf"{name}.json is damaged or of another version of codial: {reason}"):
        _ = group.retrieval_precision("photos"), group.transfer_values("voc2007-detection")


@pytest.mark.parametrize(
    "change", [{"protocol": {"name": "newer"}}, {"accuracies": {}}, {"accuracies": {"conv1": []}}, []]
)
def test_a_probe_report_of_another_version_is_refused(change, tmp_path):
    report = ProbeReport("tiny", {"conv1": (50.0,)}, {"conv1": 9}, codial.ProbeConfig(), "a/b 1 c", "a/b 1 c")
    path = tmp_path / "probe.json"
    report.save(path)
    assert ProbeReport.load(path) == report
    path.write_text(json.dumps(json.loads(path.read_text()) | change if change else change))
    with pytest.raises(CodialError, match=r"probe.json is (not a probe report|not JSON)"):
        ProbeReport.load(path)
