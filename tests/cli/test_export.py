"""`codial export` writes the convolutional layers of a run; tests/runs/test_export.py has what they hold."""

import pytest

from codial import open_run
from codial.cli.main import main


def test_it_writes_a_folder_and_prints_its_size(run, tmp_path, capsys):
    assert main(["export", str(run), "--name", "mine", "--out", str(tmp_path / "shared")]) == 0
    folder = tmp_path / "shared/mine"
    assert capsys.readouterr().out == f"{folder}: conv1 to conv5, 0.0 MB, and README.md, the model card\n"
    assert open_run(folder).backbone().layers == ("conv1", "conv2", "conv3", "conv4", "conv5")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "a/b", "--out", "{tmp}"], "name is 'a/b'"),
        (["--name", "run", "--out", "{tmp}"], "is the run itself"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, run, tmp_path, error_of):
    assert expected in error_of(["export", run, *(part.format(tmp=tmp_path) for part in arguments)])
