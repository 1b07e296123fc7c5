import hashlib
import os
import pickle

import pytest

from codial.data.io.checksums import find_problems, load_pickle, verify
from codial.errors import CodialError


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({"labels": [1, 2]}))
    return path


def md5_of(path):
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest()}


def test_a_pickle_with_the_pinned_checksum_is_loaded(file):
    verify(file, md5_of(file), "cifar10")
    assert load_pickle(file, md5_of(file), "cifar10") == {"labels": [1, 2]}


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.faults("hostile file or setting")
def test_another_pickle_is_refused_before_it_runs(file, tmp_path):
    md5 = md5_of(file)
    file.write_bytes(pickle.dumps(Harmful(str(tmp_path / "trap"))))
    actual = hashlib.md5(file.read_bytes()).hexdigest()
    message = rf"{file} is damaged: its MD5 is {actual}, expected {md5['file']}\. Remove .*`codial data get cifar10`"
    with pytest.raises(CodialError, match=message):
        load_pickle(file, md5, "cifar10")
    assert not (tmp_path / "trap").exists()


def test_problems_name_each_file_or_all_at_once(file):
    md5 = md5_of(file) | {"other": ""}
    assert find_problems(file.parent, ["file"], md5) == []
    assert find_problems(file.parent, ["file", "other"], md5) == [f"{file.parent}/other is missing"]
    (problem,) = find_problems(file.parent, ["file"], {"file": "0" * 32})
    assert problem.startswith(f"{file} is damaged: its MD5 is ")
    file.unlink()
    (problem,) = find_problems(file.parent, ["file", "other"], md5)
    assert problem == f"{file} does not exist, nor do the split's other files"
    with pytest.raises(CodialError, match=r"folder/file does not exist\. Remove .*folder and download the official"):
        verify(file, md5, "cifar10")
