"""`codial sweep` trains many presets, and prints what became of each."""

import pytest

from codial import open_run
from codial.cli.main import main


def test_it_prints_what_became_of_each_run(tmp_path, tiny_settings, capsys):
    names = ["codial-pairs[12]/photos", "random/photos"]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/codial-pairs1").write_text("in the way")
    settings = ["--quiet", "--device", "cpu", *tiny_settings[:10]]
    assert main(["sweep", *names, "--out", str(tmp_path), *settings]) == 2
    first, second, third, summary, failure = capsys.readouterr().out.splitlines()
    assert first.startswith("1/3 codial-pairs1/photos, seed 0: FAILED, ")
    assert second.startswith("2/3 codial-pairs2/photos, seed 0: trained, ")
    assert third.startswith("3/3 random/photos, seed 0: trained, ")
    assert summary == "2 of 3 done."
    assert failure.startswith(f"Failed: codial-pairs1/photos, seed 0, {tmp_path / 'photos/codial-pairs1'}: ")
    assert open_run(tmp_path / "photos/random").config.train.epochs == 0


def test_a_stopped_sweep_returns_130_and_names_what_is_left(tmp_path, capsys):
    assert main(["sweep", "random/photos", "--out", str(tmp_path), "--minutes", "0", "--quiet"]) == 130
    assert "Remaining: random/photos, seed 0. The same command continues." in capsys.readouterr().out


def test_a_task_trains_its_share(tmp_path, capsys):
    names = ["random/photos", "random/short", "random/cifar10"]
    arguments = ["--out", str(tmp_path), "--quiet", "--set", "data.source=photos", "--set", "data.limit=20"]
    assert main(["sweep", *names, *arguments, "--task", "1", "--of", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 done."
    assert [path.parent.name for path in tmp_path.glob("*/*")] == ["short"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["codial/foto"], "There is no preset called 'codial/foto'"),
        (["codial-*/foto"], "No preset matches 'codial-*/foto'"),
        (["figure3/foto"], "'figure3/foto' is a sweep without a recipe"),
        (["codial/photos", "--set", "train.epochs"], "expected KEY=VALUE"),
        (["codial/photos", "--set", "train.epoch=1"], "Did you mean train.epochs"),
        (["codial/photos", "--set", "seed=1"], "--seeds"),
        (["codial/photos", "--task", "2", "--of", "2"], "expected 0 to 1"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, error_of):
    assert expected in error_of(["sweep", *arguments])
