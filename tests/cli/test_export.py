"""`codial export` writes the backbone of a run; tests/runs/test_export.py has what the folder holds."""

import pytest

from codial import load_backbone, open_run
from codial.cli.main import main


def test_it_writes_a_folder_and_prints_its_size(run, tmp_path, capsys):
    assert main(["export", str(run), "--name", "mine", "--out", str(tmp_path / "shared")]) == 0
    folder = tmp_path / "shared/mine"
    assert capsys.readouterr().out == f"{folder}: conv1 to conv5, 0.0 MB, and README.md, the model card\n"
    assert open_run(folder).backbone().layers == ("conv1", "conv2", "conv3", "conv4", "conv5")


def test_options_choose_layers_precision_license_and_program(run, tmp_path, capsys):
    options = ["--layers", "all", "--precision", "full", "--license", "mit", "--program", "--name", "mine"]
    assert main(["export", str(run), "--out", str(tmp_path), *options]) == 0
    folder = tmp_path / "mine"
    assert capsys.readouterr().out == f"{folder}: conv1 to fc7, 0.2 MB, README.md, the model card, and backbone.pt2\n"
    assert load_backbone(folder).layers == load_backbone(run).layers
    assert (folder / "README.md").read_text().startswith('---\nlicense: "mit"\n')


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "a/b", "--out", "{tmp}"], "name is 'a/b'"),
        (["--name", "run", "--out", "{tmp}"], "is the run itself"),
        (["--layers", "conv5"], "'conv5' is not one of"),
        (["--precision", "double"], "'double' is not one of"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, run, tmp_path, error_of):
    assert expected in error_of(["export", run, *(part.format(tmp=tmp_path) for part in arguments)])
