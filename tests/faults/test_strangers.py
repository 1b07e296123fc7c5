"""Files made to do harm: nothing they ask for is done, none costs much memory, and each is refused with the reason."""

import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from alike import go, stopping_after
from damage import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import codial
from codial.checkpoints import newest
from codial.config import Config, flatten, from_dict, override, to_dict
from codial.data import cifar, sums
from codial.data.unpack import unpack
from codial.errors import CodialError
from codial.evaluate import ProbeReport
from codial.reports import groups

pytestmark = pytest.mark.faults("hostile file or setting")


# Pickles of pictures


def int4(number):
    return struct.pack("<I", number)


def laughs(depth):
    """A list of ten lists of ten lists ..., each the same one: 10 ** depth numbers in a few bytes."""
    nested = [1] * 10
    for _ in range(depth - 1):
        nested = [nested] * 10
    return nested


ARRAY = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
PICKLES = {
    "a value remembered at place two milliards": (b"\x80\x02Nr" + int4(2**31 - 1) + b".", "remembers a value"),
    "eight exabytes of text": (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.", "expected|exceeds"),
    "sixty gigabytes of room": (b"\x80\x05\x96" + struct.pack("<Q", 2**36) + b"a.", "expected"),
    "an array of 2 ** 40": (ARRAY + b"cnumpy\nndarray\nL1099511627776L\n\x85U\x01b\x87R.", "not a batch"),
    "an array by its class": (b"\x80\x02cnumpy\nndarray\nJ" + int4(2**30) + b"\x85R.", "not callable"),
    "objects as bytes": (pickle.dumps({"data": np.array([object]), "labels": [1]}, 4), "asks for|holds an array"),
    "a changed type of numbers": (pickle.dumps({"data": np.zeros(2, "V8"), "labels": [1]}, 4), "holds an array of"),
    "a milliard of labels": (pickle.dumps({"data": b"", "labels": laughs(9)}, 4), "not a batch"),
    "a set of itself": (b"\x80\x04]\x94h\x00a.", "not a batch"),
    "lists within lists": (b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b".", "not a batch"),
}


@pytest.mark.parametrize("what", PICKLES)
def test_a_pickle_gets_neither_memory_nor_a_call(what, tmp_path, monkeypatch, ledger):
    content, reason = PICKLES[what]
    monkeypatch.setattr(sums, "_fault", lambda path, known: "")  # as if this were what is published
    (tmp_path / "test_batch").write_bytes(content)

    def read():
        cifar.read_batch(tmp_path / "test_batch", {}, "labels", 10, "cifar10")

    assert ledger.file("hostile pickles", read) == "refused"
    with pytest.raises(CodialError, match=rf"test_batch .*({reason})"):
        read()


# Archives


def tarred(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 4 if kind == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def zipped(*names, attributes=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            member = zipfile.ZipInfo(name)
            member.external_attr = attributes << 16
            file.writestr(member, "../../evil")
    return buffer.getvalue()


FILE, DEEP = tarfile.REGTYPE, "/".join(["d" * 200] * 16)
ARCHIVES = {
    "a way up": tarred(("../evil", FILE, "")),
    "a way up after a good file": tarred(("good", FILE, ""), ("a/../../evil", FILE, "")),
    "a link out, and a file through it": tarred(("a", tarfile.SYMTYPE, ".."), ("a/evil", FILE, "")),
    "a link to a link": tarred(("a", tarfile.SYMTYPE, "b"), ("b", tarfile.SYMTYPE, "../.."), ("a/evil", FILE, "")),
    "a hard link out": tarred(("a", tarfile.LNKTYPE, "../archive"), ("a", FILE, "")),
    "a link that is too long to be checked": tarred((DEEP, tarfile.SYMTYPE, "../" * 16), (f"{DEEP}/evil", FILE, "")),
    "a device": tarred(("null", tarfile.CHRTYPE, "")),
    "a pipe": tarred(("pipe", tarfile.FIFOTYPE, "")),
    "a way up in a zip": zipped("../evil"),
    "a way up with the other slash": zipped("..\\evil"),
    "a root": zipped("/evil"),
    "a drive": zipped("C:/evil"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_writes_nothing_outside_its_folder(what, tmp_path):
    room = tmp_path / "in" / "room"
    room.mkdir(parents=True)
    (tmp_path / "in" / "archive").write_bytes(ARCHIVES[what])
    with pytest.raises(CodialError, match=r"archive was not unpacked: "):
        unpack(tmp_path / "in" / "archive", room)
    assert {path.name for path in room.parent.iterdir()} == {"archive", "room"}
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert {path.name for path in room.rglob("*")} <= {"good"}


def test_a_link_in_a_zip_becomes_a_file(tmp_path):
    """Python writes what it points at as text."""
    (tmp_path / "archive").write_bytes(zipped("link", attributes=0o120777))
    (tmp_path / "in").mkdir()
    unpack(tmp_path / "archive", tmp_path / "in")
    assert not (tmp_path / "in" / "link").is_symlink()
    assert (tmp_path / "in" / "link").read_text() == "../../evil"


# Settings


TRAPS = (
    "__import__('os').mkdir('pwned')",
    "$(mkdir pwned)",
    "`mkdir pwned`",
    "; mkdir pwned #",
    "!!python/object/apply:os.mkdir [pwned]",
    "{{ ''.__class__ }}",
    "%(mkdir)s {0.__class__}",
)


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_in_a_config_is_executed(trap, tiny, few, tmp_path, monkeypatch):
    """Text is text, wherever text may be; elsewhere it is refused."""
    monkeypatch.chdir(tmp_path)
    for name, value in flatten(tiny):
        if not isinstance(value, str) or name.split(".")[-1] not in ("name", "source", "split", "device"):
            with pytest.raises(CodialError):
                override(tiny, {name: trap})
    config = override(tiny, {"name": trap, "data.source": trap, "data.split": trap, "train.epochs": 0})
    assert (config.name, config.data.source) == (trap, trap)
    run = codial.pretrain(config, tmp_path / "run", images=few, progress=False)
    assert codial.open_run(run.folder).config == config
    with pytest.raises(CodialError):
        codial.load_images(config.data.source, config.data.split)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_parameters_of_notebooks_in_yaml_are_read_safely(tmp_path, monkeypatch):
    """`papermill -f FILE` is the one place where YAML is read."""
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


@fuzzed(1000)
@given(st.dictionaries(st.sampled_from(SETTINGS) | st.text(), JSON, min_size=1, max_size=3))
def test_any_settings_are_taken_or_refused(changes):
    for read in (lambda: override(Config(), changes), lambda: from_dict(changes)):
        try:
            config = read()
        except CodialError:
            continue
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


# Runs and reports


@pytest.mark.parametrize("name", ["config.json", "provenance.json", "history.jsonl"])
def test_nesting_without_end_is_refused(name, tiny, tmp_path):
    run = codial.runs.create_run(tmp_path / "run", tiny, {}, "cpu")
    (run.folder / name).write_text('{"a":' + "[" * 200_000 + "\n")
    with pytest.raises(CodialError, match=rf"{name}.* nested too deeply"):
        _ = codial.open_run(run.folder).history, run.provenance


@pytest.fixture
def copied(tiny_run, tmp_path):
    return codial.open_run(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def rewritten(path, change):
    """Change a checkpoint's tensors, without a checksum, as a stranger or an older version would."""
    with safe_open(path, "pt") as file:
        note = file.metadata()["note"]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"note": note})


KEY = "optimiser.loss.0.exp_avg"
STATES = {
    "missing": (lambda t: t.pop(KEY), r"0.exp_avg missing"),
    "unknown": (lambda t: t.update({"optimiser.loss.9999.step": torch.tensor(1.0)}), r"9999.step unknown"),
    "no number": (lambda t: t.update({"optimiser.loss.x": torch.tensor(1.0)}), r"x unknown"),
    "of another shape": (lambda t: t.update({KEY: torch.zeros(3)}), r"0.exp_avg is \[3\], expected \["),
    "of the model": (lambda t: t.pop("model.trunk.conv1.conv.weight"), r"trunk.conv1.conv.weight missing"),
}


@pytest.mark.parametrize("what", STATES)
def test_what_does_not_fit_is_listed_before_anything_is_trained(what, tiny, few, tmp_path):
    run = go(tiny, tmp_path / "run", few, stop=stopping_after(2))
    change, reason = STATES[what]
    rewritten(run.folder / "checkpoints" / "last.safetensors", change)
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(CodialError, match=rf"last.safetensors does not fit the config: .*{reason}"):
        go(tiny, run.folder, few)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("note", [[], {}, {"step": "3", "seconds": 1}, {"step": 3, "seconds": None}])
def test_a_note_of_another_kind_is_refused(note, tiny, few, tmp_path):
    run = go(tiny, tmp_path / "run", few, stop=stopping_after(2))
    path = run.folder / "checkpoints" / "last.safetensors"
    save_file(load_file(path), path, {"note": json.dumps(note)})
    with pytest.raises(CodialError, match=r"last.safetensors is (no checkpoint|damaged, or of another version)"):
        go(tiny, run.folder, few)


def test_a_checksum_cannot_be_renamed_away(copied):
    path = copied.folder / "checkpoints" / "last.safetensors"
    content = path.read_bytes()
    assert content.count(b"sha256") == 1
    path.write_bytes(content.replace(b"sha256", b"sha257"))
    with pytest.warns(UserWarning, match=r"its head holds 'sha257'.* previous.safetensors"):
        assert newest(path.parent).name == "previous.safetensors"


REPORTS = {
    "retrieval-photos-fc7": ({"precision": "high"}, "precision is 'high'"),
    "transfer-voc2007-detection": ({"score": 3.5}, "value missing"),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_another_version_is_refused(name, copied):
    values, reason = REPORTS[name]
    codial.results.write_report(copied, name, values)
    (group,) = groups([copied])
    with pytest.raises(CodialError, match=rf"{name}.json is damaged, or of another version of codial: {reason}"):
        _ = group.searched("photos"), group.transferred("voc2007-detection")


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
