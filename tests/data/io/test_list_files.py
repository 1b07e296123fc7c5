import pytest

from codial.data.io.list_files import find_missing, read_lines, read_numbered_names
from codial.errors import CodialError


def test_line_endings_of_any_system(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("a b/ä.jpg 3\r\nc.jpg 0\r\n\r\n".encode())
    assert read_lines(path) == ["a b/ä.jpg 3", "c.jpg 0"]
    names, numbers = read_numbered_names(path)
    assert names == ["a b/ä.jpg", "c.jpg"]  # a name may have spaces
    assert numbers.tolist() == [3, 0]


def test_a_long_line_is_abbreviated(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a 1\n" + "x" * 1000)
    with pytest.raises(CodialError, match=r"list\.txt, line 2 is 'x{77}\.\.\.'; expected a name"):
        read_numbered_names(path)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(CodialError, match=r"cannot be read: .*directory"):
        read_lines(tmp_path)


def test_missing_files_and_folders(tmp_path):
    for name in ("a/1.jpg", "b/c/2.jpg", "3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_missing(tmp_path, ["3.jpg", "a/1.jpg", "b/c/2.jpg"]) == []
    problems = find_missing(tmp_path, ["a/2.jpg", "d/1.jpg", "d/2.jpg", "4.jpg", "b/2.jpg", "b/c/2.JPG"])
    expected = ["a/2.jpg", "d", "4.jpg", "b/2.jpg", "b/c/2.JPG"]
    assert problems == [f"{tmp_path}/{name} is missing" for name in expected]
