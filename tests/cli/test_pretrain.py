"""`codial pretrain` trains, resumes, lists presets and shows settings."""

import re
import signal
import subprocess
import sys
import time

import pytest

from codial import open_run, preset
from codial.cli.main import main
from codial.config import RECIPES
from codial.methods.presets import heads


def test_it_applies_settings_and_prints_the_next_step(tmp_path, tiny_settings, capsys):
    out = tmp_path / "a run"
    assert main(["pretrain", "codial/photos", "--out", str(out), "--quiet", "--device", "cpu", *tiny_settings]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    run = open_run(out)
    assert (run.finished, run.config.train.epochs, run.config.model.width) == (True, 1, 0.05)
    assert run.config.train.device == "cpu"
    assert re.fullmatch(
        rf"{out}: finished, 1 epoch, too few views \(400\); best kNN \d+\.\d %, best quick probe \d+\.\d %", first
    )
    assert second.startswith("It cannot have learned much: train on at least 10,000 views")
    assert third == f"Next: codial probe '{out}'"


def test_a_finished_run_is_not_trained_again_and_its_config_is_a_source(run, capsys):
    before = (run / "history.jsonl").read_bytes()
    assert main(["pretrain", str(run / "config.json"), "--out", str(run)]) == 0
    assert (run / "history.jsonl").read_bytes() == before
    assert "finished" in capsys.readouterr().out


def test_runs_are_in_the_folder_of_their_recipe_and_method(tmp_path, monkeypatch, tiny_settings, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "random/photos", "--quiet", *tiny_settings[:6]]) == 0
    assert open_run(tmp_path / "runs/photos/random").finished
    assert "finished, 0 epochs" in capsys.readouterr().out


def test_list_prints_methods_variants_and_recipes(capsys):
    assert main(["pretrain", "--list"]) == 0
    _, methods, variants, recipes = capsys.readouterr().out.split("\n\n")
    names = [[line.split()[0] for line in table.splitlines()[2:]] for table in (methods, variants, recipes)]
    assert sorted(names[0] + names[1]) == sorted(heads())
    assert names[2] == list(RECIPES)
    assert re.search(r"^codial-hue50 +views\.hue=0\.5$", variants, re.MULTILINE)
    assert re.search(r"^cifar10 +cifar10, 10000 +20 +64 px +0\.25$", recipes, re.MULTILINE)


def test_show_prints_settings_and_the_last_change_counts(capsys):
    assert main(["pretrain", "codial/photos", "--show", "--set", "train.lr=0.5", "--set", "train.lr=0.25"]) == 0
    shown = dict(line.split(" = ", 1) for line in capsys.readouterr().out.splitlines())
    assert shown["train.lr"] == "0.25"
    assert shown["views.size"] == str(preset("codial/photos").views.size)


def test_only_the_first_process_of_torchrun_prints(run, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main(["pretrain", str(run / "config.json"), "--out", str(run)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(tmp_path, tiny_settings):
    command = [sys.executable, "-m", "codial", "pretrain", "codial/photos", "--out", str(tmp_path), *tiny_settings]
    command += ["--set", "train.epochs=100000", "--set", "train.monitor_every=0", "--set", "train.log_every=1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # may be ignored in a script
    )
    end = time.monotonic() + 120
    while not (tmp_path / "history.jsonl").exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Saved. The same command resumes" in out
    assert "Traceback" not in err
    assert open_run(tmp_path).progress["step"] >= 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "FOLDER, PRESET or CONFIG.json is missing; `codial pretrain --list` shows the presets."),
        (["codial/photo"], "There is no preset called 'codial/photo'; a preset is METHOD[-VARIANT]/RECIPE. Nearest:"),
        (["codial-hue5/photos"], "Nearest: codial-hue50/photos"),
        (["{tmp}"], "No image in {tmp}; expected files ending in"),
        (["codial/photos", "--set", "train.epochs"], "--set got 'train.epochs'; expected KEY=VALUE"),
        (["codial/photos", "--set", "=5"], "There is no setting called ''"),
        (["codial/photos", "--set", "train.epoch=5"], "'train.epoch'. Did you mean train.epochs"),
        (["codial/photos", "--set", "train.epochs=many"], "train.epochs is 'many'"),
        (["codial/photos", "--device", "cuda:99", "--out", "{tmp}/run"], "'cuda:99'"),
        (["codial/photos", "--out", "{tmp}/file"], "is not a run"),
        (["codial/photos", "--out", "{run}"], "holds a run with other settings"),
        (["codial/photos", "--out", "{tmp}/file/run"], "{tmp}/file"),
        (["codial/photos", "--set", "data.source={tmp}/ünknown", "--out", "{tmp}/run"], "{tmp}/ünknown"),
        (["{tmp}/none.json"], "Cannot read {tmp}/none.json: No such file"),
        (["{tmp}/folder.json"], "Cannot read {tmp}/folder.json: Is a directory"),
        (["{tmp}/file.json"], "{tmp}/file.json is not JSON"),
        (["{tmp}/latin1.json"], "{tmp}/latin1.json is not JSON"),
        (["{tmp}/list.json"], "config is [1]"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, trained, tmp_path, error_of):
    (tmp_path / "file").write_text("{")
    (tmp_path / "file.json").write_text("{")
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "latin1.json").write_bytes(b'{"name": "\xe9"}')
    (tmp_path / "folder.json").mkdir()
    paths = {"tmp": tmp_path, "run": trained}
    assert expected.format(**paths) in error_of(["pretrain", *(part.format(**paths) for part in arguments)])
