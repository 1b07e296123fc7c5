"""`codial shortcuts` measures views, and keeps the numbers with the runs that were trained on them."""

import json
import shutil
from pathlib import Path

import pytest

import codial
from codial.cli.main import main
from codial.evaluate.shortcuts import CUES, shortcuts
from codial.results.aggregate import final_value, shortcut_bound

SHORT = ("--limit", "60", "--steps", "4", "--quiet")


def published(tmp_path: Path) -> Path:
    return Path(shutil.copytree("results/photos/codial-js", tmp_path / "codial-js"))


def test_a_published_run_gets_its_report_and_a_preset_only_a_line(tmp_path, capsys):
    folder = published(tmp_path)
    assert main(["shortcuts", str(folder), "codial-js/photos", *SHORT]) == 0
    head, _, of_run, of_preset, note = capsys.readouterr().out.splitlines()
    run = codial.open_run(folder)
    assert head.split() == ["nats", *CUES, "mi_js", "of", "the", "run"]
    assert of_run.split()[-1] == f"{final_value(run, 'mi_js'):.2f}"
    assert of_preset.split() == [*of_run.split()[:-1], "-"]
    assert note.startswith("Between 0 (the cue gives nothing) and 1.39 (all).")

    report = json.loads((folder / "shortcuts-photos.json").read_text())
    images = codial.load_images("photos", "train")
    assert report["nats"] == shortcuts(images, run.config.views, limit=60, steps=4, progress=False)
    assert report["images"] == images.describe()
    assert (report["limit"], report["steps"], report["seed"]) == (60, 4, 0)
    assert shortcut_bound(run, "colors") == report["nats"]["colors"]
    assert not (folder / "evaluations").exists()


def test_a_run_with_checkpoints_keeps_it_with_its_other_reports(tmp_path, capsys):
    folder = published(tmp_path)
    (folder / "checkpoints").mkdir()
    assert main(["shortcuts", str(folder), *SHORT]) == 0
    assert (folder / "evaluations/shortcuts-photos.json").is_file()
    assert not (folder / "shortcuts-photos.json").exists()


def test_a_report_of_other_settings_is_ignored(tmp_path):
    folder = published(tmp_path)
    assert main(["shortcuts", str(folder), *SHORT]) == 0
    report = folder / "shortcuts-photos.json"
    report.write_text(report.read_text().replace(codial.open_run(folder).provenance["config_hash"], "0" * 12))
    assert shortcut_bound(codial.open_run(folder), "colors") is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["codial/foto"], "There is no preset called 'codial/foto'"),
        (["supervised/photos"], "at least two views"),
        (["codial/photos", "--limit", "5"], "limit is 5"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, error_of):
    assert expected in error_of(["shortcuts", *arguments])
