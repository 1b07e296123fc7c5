"""`codial retrieve` prints precision, and draws queries with their neighbors."""

import re
import sys

import pytest
import torch

from codial.cli.main import main


def test_it_prints_precision_and_writes_a_figure(run, tmp_path, fast, capsys):
    out = tmp_path / "new/neighbors.png"
    assert main(["retrieve", str(run), "--k", "3", "--images", "2", "--out", str(out), *fast]) == 0
    printed = capsys.readouterr().out
    assert "precision at 3" in printed
    assert re.search(r"^codial/photos +\d+\.\d %$", printed, re.MULTILINE)
    assert f"Wrote {out}" in printed
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_figure_is_in_the_first_run_by_default(run, fast):
    assert main(["retrieve", str(run), "--images", "1", *fast]) == 0
    assert (run / "evaluations/neighbors-photos.png").exists()


def test_k_is_at_most_the_size_of_the_gallery(run, fast, capsys):
    assert main(["retrieve", str(run), "--k", "30", *fast, "--limit", "20"]) == 0
    assert "A query has 20 neighbors here: k is 20 instead of 30." in capsys.readouterr().out


def test_a_collapsed_network_is_called_so(run, fast, monkeypatch, capsys):
    monkeypatch.setattr("codial.evaluate.retrieval.features", lambda *rest, **options: torch.ones(len(rest[1]), 8))
    assert main(["retrieve", str(run), "--images", "1", *fast]) == 0
    assert "codial/photos is collapsed: feature_std 0.00 < 0.05: all images have nearly" in capsys.readouterr().out


def test_without_matplotlib_it_says_what_to_install(run, monkeypatch, fast, capsys):
    monkeypatch.setitem(sys.modules, "codial.plots.retrieval", None)
    assert main(["retrieve", str(run), *fast]) == 2
    printed = capsys.readouterr()
    assert "precision at 7" in printed.out
    assert "pip install 'codial[notebooks]'" in printed.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "x.jpg"], "--out is 'x.jpg'; expected a file name that ends in .png."),
        (["--out", "{tmp}/folder.png"], "which is a folder; expected a file name."),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, trained, tmp_path, error_of):
    (tmp_path / "folder.png").mkdir()
    assert expected in error_of(["retrieve", trained, *(part.format(tmp=tmp_path) for part in arguments)])
