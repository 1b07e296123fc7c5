"""`codial table` prints the paper's tables."""

import re

import pytest

from codial.cli.main import main
from codial.results import paper


@pytest.mark.parametrize("number", [*map(str, paper.TABLES)])
def test_without_runs_it_is_the_papers_own(number, capsys):
    assert main(["table", number]) == 0
    assert capsys.readouterr().out.startswith(f"Table {number} of the paper.")


def test_the_numbers_of_runs_are_below_the_papers(run, fast, capsys):
    assert main(["probe", str(run), "--epochs", "2", *fast]) == 0
    assert main(["table", "2", str(run)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^cr \+ co +60\.5 +71\.5 +74\.3 +75\.3 +75\.4$", out, re.MULTILINE)
    assert re.search(r"^cr \+ co: codial/photos +1( +\d+\.\d){5}$", out, re.MULTILINE)
    assert "not comparable with" in out
