"""`codial figure` draws the paper's figures 2, 3 and 4."""

import shutil

import pytest

from codial.cli.main import main


@pytest.fixture(scope="module")
def probed(trained, tmp_path_factory, fast):
    """A copy of the tiny run with a report of probes."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("probed") / "codial")
    assert main(["probe", str(folder), "--epochs", "2", *fast]) == 0
    return folder


@pytest.mark.parametrize(("number", "suffix"), [("2", "png"), ("2", "pdf"), ("3", "png"), ("4", "png")])
def test_it_writes_a_file_and_no_report(number, suffix, probed, tmp_path, fast, capsys):
    before = {path: path.stat().st_mtime_ns for path in probed.rglob("*")}
    out = tmp_path / f"deep/figure.{suffix}"
    runs = [] if suffix == "pdf" else [str(probed)]
    assert main(["figure", number, *runs, "--out", str(out), "--rows", "2", *fast]) == 0
    assert out.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[suffix])
    assert f"Wrote {out}" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in probed.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2", "--out", "x.svg"], "--out is 'x.svg'; expected a file name that ends in .png, .pdf."),
        (["3", "--out", "x.png"], "`codial sweep figure3/photos --probe`"),
        (["4", "--out", "x.png"], "`codial sweep figure4/photos` trains the paper's"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, error_of):
    assert expected in error_of(["figure", *arguments])
