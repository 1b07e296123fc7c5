from pathlib import Path

import pytest

from codial.data.folders.source import absolute, parse_folder
from codial.data.registry import absolute_source, name_of
from codial.errors import CodialError


def test_a_reading_is_separated_from_the_path(tmp_path):
    (tmp_path / "images").mkdir()
    source = f"{tmp_path}/images#splits,subfolders"
    assert parse_folder(source) == (tmp_path / "images", {"splits", "subfolders"})
    assert name_of(source) == "images"
    with pytest.raises(CodialError, match=r"No reading of .*images 'split'\. Did you mean 'splits'"):
        parse_folder(tmp_path / "images#split")


def test_a_folder_whose_name_has_the_sign_is_found(tmp_path):
    (tmp_path / "a#classes").mkdir()
    assert parse_folder(tmp_path / "a#classes") == (tmp_path / "a#classes", set())
    assert parse_folder(tmp_path / "missing#x") == (tmp_path / "missing#x", set())


def test_folders_get_their_absolute_path_and_names_stay(tmp_path, monkeypatch):
    for name in ("plain", "photos"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute("plain") == str(tmp_path / "plain")
    assert absolute("plain#splits") == f"{tmp_path}/plain#splits"
    assert absolute("missing") == "missing"
    assert absolute_source("photos") == "photos"  # the data set
    assert absolute_source("./photos") == str(Path(tmp_path, "photos"))


@pytest.mark.parametrize("rest", ["", ":en", "#image=photo,label=breed"])
def test_tables_on_this_machine_get_their_absolute_path_and_names_of_the_hub_stay(rest, tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path)
    assert absolute_source("hf:./saved" + rest) == f"hf:{tmp_path}/saved{rest}"
    assert name_of("hf:./saved" + rest) == name_of(f"hf:{tmp_path}/saved{rest}")
    for other in ("hf:user/set", "hf:~/saved", "hf:./missing"):
        assert absolute_source(other + rest) == other + rest
