"""`codial shortcuts` measures views, and keeps the numbers with the runs that were trained on them."""

import json
import shutil
from pathlib import Path

import codial
from codial.cli import main
from codial.reports import ending, shortcut
from codial.shortcuts import CUES, shortcuts

SHORT = ("--pictures", "60", "--steps", "4", "--quiet")


def published(tmp_path: Path) -> Path:
    return Path(shutil.copytree("results/photos/codial", tmp_path / "codial"))


def test_a_published_run_gets_its_report_and_a_preset_only_a_line(tmp_path, capsys):
    folder = published(tmp_path)
    assert main(["shortcuts", str(folder), "codial/photos", "supervised/photos", *SHORT]) == 2
    assert "at least two a picture" in capsys.readouterr().err
    assert main(["shortcuts", str(folder), "codial/photos", *SHORT]) == 0
    head, _, of_run, of_preset, note = capsys.readouterr().out.splitlines()
    run = codial.open_run(folder)
    assert head.split() == ["nats", *CUES, "mi_js", "of", "the", "run"]
    assert of_run.split()[-1] == f"{ending(run, 'mi_js')[0]:.2f}"
    assert of_preset.split() == [*of_run.split()[:-1], "-"]
    assert note.startswith("0 tells nothing, 1.39 all.")

    told = json.loads((folder / "shortcuts-photos.json").read_text())
    images = codial.load_images("photos", "train")
    assert told["nats"] == shortcuts(images, run.config.views, pictures=60, steps=4, progress=False)
    assert told["images"] == images.describe()
    assert (told["pictures"], told["steps"], told["seed"]) == (60, 4, 0)
    assert shortcut(run, "colours") == [told["nats"]["colours"]]
    assert not (folder / "evaluations").exists()


def test_a_run_under_work_keeps_it_with_its_other_reports(tmp_path, capsys):
    folder = published(tmp_path)
    (folder / "checkpoints").mkdir()
    assert main(["shortcuts", str(folder), *SHORT]) == 0
    assert (folder / "evaluations/shortcuts-photos.json").is_file()
    assert not (folder / "shortcuts-photos.json").exists()


def test_a_report_of_other_settings_is_left_out(tmp_path):
    folder = published(tmp_path)
    assert main(["shortcuts", str(folder), *SHORT]) == 0
    report = folder / "shortcuts-photos.json"
    report.write_text(report.read_text().replace(codial.open_run(folder).provenance["config_hash"], "0" * 12))
    assert shortcut(codial.open_run(folder), "colours") == []
