"""The command line, called as users call it: on the bundled photos, with a network that trains in a second."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from codial import __version__, open_run, preset
from codial.cli import main
from codial.evaluate import projection
from codial.presets import PRESETS

TINY = [
    "data.limit=80", "views.size=16", "model.width=0.05", "train.epochs=1", "train.batch=40", "objective.z_dim=4",
    "objective.critic_hidden=16",
]  # fmt: skip
SETS = [part for setting in TINY for part in ("--set", setting)]
LITTLE = ["--limit", "80", "--quiet", "--device", "cpu"]
COMMANDS = (
    "pretrain",
    "probe",
    "retrieve",
    "compare",
    "table",
    "figure",
    "sweep",
    "reproduce",
    "embed",
    "transfer",
    "data",
    "runs",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two tiny runs of one preset, made by the command line."""
    root = tmp_path_factory.mktemp("runs")
    for name in ("first", "second"):
        assert main(["pretrain", "codial/photos", "--out", str(root / name), "--quiet", "--device", "cpu", *SETS]) == 0
    return root


def told(capsys, arguments):
    """Call a command that must fail by the user's mistake; return what it says, which must be one message."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("codial: ")
    assert shown.err.count("\n") == 1
    return shown.err


# pretrain


def test_pretrain_applies_settings_and_names_the_next_step(runs, tmp_path, capsys):
    assert main(["pretrain", "codial/photos", "--out", str(tmp_path / "run"), "--quiet", "--device", "cpu", *SETS]) == 0
    out = capsys.readouterr().out
    run = open_run(tmp_path / "run")
    assert (run.finished, run.config.train.epochs, run.config.model.width) == (True, 1, 0.05)
    assert run.config.train.device == "cpu"
    assert f"{tmp_path / 'run'}: finished, 1 epoch;" in out
    assert f"Next: codial probe {tmp_path / 'run'}" in out


def test_pretrain_returns_at_once_when_finished_and_takes_a_runs_own_config(runs, capsys):
    before = (runs / "first/history.jsonl").read_bytes()
    assert main(["pretrain", str(runs / "first/config.json"), "--out", str(runs / "first")]) == 0
    assert (runs / "first/history.jsonl").read_bytes() == before
    assert "finished" in capsys.readouterr().out


def test_pretrain_lists_presets_and_shows_settings(capsys):
    assert main(["pretrain", "--list"]) == 0
    table, *told = capsys.readouterr().out.split("\n\n")
    listed = [line.split()[0] for line in table.splitlines()[2:]]
    studied = ("short", "cifar10", "brief", "recommended")
    for line, scales in zip(told, (("photos", "paper", *studied), studied), strict=True):
        listed += [f"{name}/{scale}" for name in re.findall(r"codial-[a-z0-9-]+", line) for scale in scales]
    assert sorted(listed) == sorted(PRESETS)
    assert main(["pretrain", "codial/photos", "--show", "--set", "train.lr=0.5", "--set", "train.lr=0.25"]) == 0
    shown = dict(line.split(" = ", 1) for line in capsys.readouterr().out.splitlines())
    assert shown["train.lr"] == "0.25"
    assert shown["views.size"] == str(preset("codial/photos").views.size)


def test_pretrain_puts_runs_where_their_preset_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny = [part for setting in TINY[:3] for part in ("--set", setting)]
    assert main(["pretrain", "random/photos", "--quiet", *tiny]) == 0
    assert open_run(tmp_path / "runs/photos/random").finished
    assert "finished, 0 epochs" in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "codial.cli", "pretrain", "codial/photos", "--out", str(tmp_path), *SETS]
    command += ["--set", "train.epochs=100000", "--set", "train.monitor_every=0", "--set", "train.log_every=1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (tmp_path / "history.jsonl").exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Saved. The same command goes on from here" in out
    assert "Traceback" not in err
    assert open_run(tmp_path).progress["step"] >= 1


# probe, retrieve, embed


def test_probe_prints_a_row_for_each_run_and_the_protocol(runs, capsys):
    folders = [str(runs / "first"), str(runs / "second")]
    assert main(["probe", *folders, "--layers", "conv1,conv5", "--epochs", "2", "--seeds", "2", *LITTLE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == ["conv1", "conv5"]
    assert [line.split()[0] for line in lines[2:4]] == folders  # their names are the same, so folders tell them apart
    assert re.findall(r"\d+\.\d ± \d+\.\d", lines[2]) == re.findall(r"\d+\.\d ± \d+\.\d", lines[3])  # same seed
    assert len(re.findall(r"\d+\.\d ± \d+\.\d", lines[2])) == 2
    assert "photos/train: 80 pictures" in lines[5]
    assert "photos/test: 80 pictures" in lines[5]
    assert "2 epochs" in lines[6]
    assert "2 probe seeds" in lines[6]
    assert (runs / "first/evaluations/probe-photos.json").exists()


@pytest.mark.parametrize(
    ("protocol", "length", "said"),
    [("zhang", "--steps", "2 steps, where the original"), ("globstat", "--epochs", "2 epochs, where the original")],
)
def test_probe_by_an_older_protocol(protocol, length, said, runs, capsys):
    arguments = ["--protocol", protocol, length, "2", "--seeds", "2", "--layers", "conv1,conv5", *LITTLE]
    assert main(["probe", str(runs / "first"), *arguments]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"\d+\.\d ± \d+\.\d", out)) == 2
    assert said in out
    assert re.search(r"^Dimensions: conv1 \d+, conv5 \d+\.$", out, re.MULTILINE)
    assert (runs / f"first/evaluations/probe-photos-{protocol}.json").exists()


def test_retrieve_prints_precision_and_draws(runs, tmp_path, capsys):
    picture = tmp_path / "new/neighbours.png"
    assert main(["retrieve", str(runs / "first"), "--k", "3", "--pictures", "2", "--out", str(picture), *LITTLE]) == 0
    out = capsys.readouterr().out
    assert "precision at 3" in out
    assert re.search(r"^codial/photos +\d+\.\d %$", out, re.MULTILINE)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_retrieve_draws_into_the_first_run_by_default(runs, capsys):
    assert main(["retrieve", str(runs / "second"), "--pictures", "1", *LITTLE]) == 0
    assert (runs / "second/evaluations/neighbours-photos.png").exists()


def test_compare_prints_a_row_for_each_system_with_the_papers_beneath(runs, capsys):
    """The two runs have one seed, and so the same numbers."""
    assert main(["compare", str(runs / "first"), str(runs / "second"), "--epochs", "2", *LITTLE]) == 0
    head, _, ours, printed, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "top-1",
        "in",
        "percent",
        "runs",
        "views",
        "conv1",
        "conv2",
        "conv3",
        "conv4",
        "conv5",
        "P@7",
    ]
    assert ours.split()[:3] == ["codial/photos", "2", "400"]
    assert ours.count("± 0.0") == 6
    assert printed.split()[-5:] == ["60.5", "71.5", "74.3", "75.3", "75.4"]
    assert "standard deviation" in " ".join(rest)


def test_embed_writes_features_in_two_forms(runs, tmp_path, capsys):
    for name in ("features.safetensors", "features.npz"):
        assert main(["embed", str(runs / "first"), "--layer", "conv5", "--out", str(tmp_path / name), *LITTLE]) == 0
    tensors = load_file(tmp_path / "features.safetensors")
    arrays = np.load(tmp_path / "features.npz")
    assert tensors["features"].shape == arrays["features"].shape
    assert len(tensors["features"]) == 80
    assert np.array_equal(tensors["features"].numpy(), arrays["features"])
    assert np.array_equal(tensors["labels"].numpy(), arrays["labels"])
    with safe_open(tmp_path / "features.safetensors", framework="pt") as file:
        note = file.metadata()
    assert (note["run"], note["layer"], note["set"]) == ("codial/photos", "conv5", "photos/test")
    assert json.loads(note["classes"]) == list(arrays["classes"])


def test_embed_draws_a_map(runs, tmp_path, monkeypatch, capsys):
    # UMAP itself takes half a minute to start.
    monkeypatch.setattr(projection, "project", lambda vectors, **_: vectors[:, :2])
    assert main(["embed", str(runs / "first"), "--out", str(tmp_path / "map.png"), *LITTLE]) == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


# data and runs


def test_data_lists_the_sets(tmp_path, capsys):
    assert main(["data", "--data-root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("photos: present") for line in lines)
    assert any(line.startswith("cifar10: missing") for line in lines)


def test_data_checks_a_set(capsys):
    assert main(["data", "check", "photos"]) == 0
    out = capsys.readouterr().out
    assert "photos/train: 4000 pictures" in out
    assert "photos/test: 1000 pictures" in out
    assert len(re.findall(r"fingerprint [0-9a-f]{16}", out)) == 2


def test_data_check_names_what_is_broken(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_2").write_bytes(b"damaged")
    assert main(["data", "check", "cifar10", "--data-root", str(tmp_path)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cifar10/train: broken"
    assert lines[1] == f"  {folder}/data_batch_1 is missing"
    assert lines[2].startswith(f"  {folder}/data_batch_2 is damaged: MD5 ")
    assert lines[6:] == ["cifar10/test: not there", f"  {folder}/test_batch does not exist"]


def test_data_check_names_a_handful(tmp_path, capsys):
    folder = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "val.txt").write_text("".join(f"2008_{number:06}\n" for number in range(4)))
    assert main(["data", "check", "voc2012", "--data-root", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "voc2012/val: broken" in out
    assert out.count("is missing") == 5
    assert "  and 3 more" in out


def test_data_tells_of_pictures_that_do_not_decode(tmp_path, capsys, monkeypatch):
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split / "red").mkdir(parents=True)
        Image.new("RGB", (20, 20), "red").save(tmp_path / split / "red/a.png")
    (tmp_path / "train/red/b.png").write_bytes(b"no picture")
    assert main(["data", "check", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "left out train/red/b.png" in shown.out
    assert shown.err.startswith("codial: warning: 1 of 2 pictures")
    assert ".py" not in shown.err
    monkeypatch.setattr("codial.data.listed.MEMORY_LIMIT", 1)
    assert main(["data", "check", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "PictureFiles" in shown.out
    assert "left out train/red/b.png" in shown.out
    assert shown.err == ""


def test_runs_tells_states_and_best_numbers(runs, capsys):
    assert main(["runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[2:]] == [str(runs / "first"), str(runs / "second")]
    assert all("finished, 1 epoch " in line for line in lines[2:])


def test_runs_tells_what_is_not_finished(runs, tmp_path, capsys):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.json").write_bytes((runs / "first/config.json").read_bytes())
    assert main(["runs", str(tmp_path)]) == 0
    assert "stopped or under way, 0 of 1 epoch " in capsys.readouterr().out


# Mistakes


def test_an_unknown_setting_gets_the_near_names(capsys):
    message = told(capsys, ["pretrain", "codial/photos", "--set", "train.epoch=5"])
    assert "'train.epoch'" in message
    assert "Did you mean train.epochs" in message


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pretrain", "codial/photo"], "no preset called 'codial/photo'. Did you mean 'codial/photos'?"),
        (["pretrain"], "--list shows the presets"),
        (["pretrain", "codial/photos", "--set", "train.epochs"], "expected KEY=VALUE"),
        (
            ["pretrain", "codial/photos", "--set", "train.epochs=many"],
            "train.epochs is 'many'; expected a whole number",
        ),
        (["pretrain", "codial/photos", "--device", "cuda:99", "--out", "{tmp}/run"], "'cuda:99'"),
        (["pretrain", "codial/photos", "--out", "{tmp}/file"], "is not a run"),
        (["pretrain", "codial/photos", "--out", "{runs}/first"], "holds a run with other settings"),
        (["pretrain", "{tmp}/none.json"], "Cannot read {tmp}/none.json: No such file"),
        (["pretrain", "{tmp}/file.json"], "{tmp}/file.json is not JSON"),
        (["pretrain", "codial/photos", "--out", "{tmp}/file/run"], "{tmp}/file"),
        (["probe", "{runs}/third"], "is not a run: it has no config.json. Runs beside it:"),
        (["probe", "{runs}/first", "--train", "foto", "--limit", "20"], "Expected one of: photos, cifar10"),
        (["probe", "{runs}/first", "--layers", "conv9", "--limit", "20"], "expected some of conv1, conv2"),
        (["probe", "{runs}/first", "--seeds", "0", "--limit", "20"], "at least one layer, seed"),
        (["probe", "{runs}/first", "--limit", "0"], "limit is 0"),
        (
            ["probe", "{runs}/first", "--steps", "9"],
            "--steps does not fit --protocol codial, whose length is --epochs.",
        ),
        (["probe", "{runs}/first", "--protocol", "zhang", "--epochs", "9"], "whose length is --steps"),
        (["probe", "{runs}/first", "--test-split", "tset"], "Did you mean 'test'?"),
        (["retrieve", "{runs}/first", "--k", "30", "--limit", "20"], "expected 1 to 20"),
        (["embed", "{runs}/first", "--out", "features.csv"], "expected a file that ends in .safetensors, .npz, .png"),
        (["embed", "{runs}/first", "--layer", "fc8", "--out", "x.npz"], "expected some of conv1"),
        (["data", "get"], "with one of photos, cifar10"),
        (["data", "check", "cifar10", "--data-root", "{tmp}"], "codial data get cifar10"),
        (["runs", "{tmp}/none"], "codial pretrain codial/photos"),
    ],
)
def test_a_mistake_gets_one_message(runs, tmp_path, capsys, arguments, expected):
    for name in ("file", "file.json"):
        (tmp_path / name).write_text("{")
    places = {"tmp": tmp_path, "runs": runs}
    message = told(capsys, [argument.format(**places) for argument in arguments])
    assert expected.format(**places) in message


@pytest.mark.parametrize("arguments", [[], ["train"], ["probe"], ["retrieve", "x", "--k", "seven"], ["data", "fetch"]])
def test_a_malformed_call_gets_usage_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: codial" in capsys.readouterr().err


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_and_gives_examples_that_parse(command, capsys):
    from codial.cli.arguments import parser

    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert max(map(len, shown.split("examples:")[1].splitlines())) < 80
    examples = re.findall(r"^  codial (.*?)(?:   .*)?$", shown, re.MULTILINE)
    assert examples
    assert all(parser().parse_args(example.split()).command == command for example in examples)


def test_help_lists_every_command_with_a_sentence(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {command}\s+\w.+", shown, re.MULTILINE) for command in COMMANDS)


def test_the_installed_command_knows_its_version():
    done = subprocess.run(
        [sys.executable, "-m", "codial.cli", "--version"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"codial {__version__}")


def test_drawing_without_matplotlib_says_what_to_install(runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "codial.plots.neighbours", None)
    assert main(["retrieve", str(runs / "first"), *LITTLE]) == 2
    shown = capsys.readouterr()
    assert "precision at 7" in shown.out
    assert "pip install 'codial[notebooks]'" in shown.err
