import pytest

from codial.data.datasets.wordnet import is_wnid, list_class_folders, list_images, name_classes
from codial.errors import CodialError


@pytest.mark.parametrize("name", ["n0144076", "n014407640", "m01440764", "n0144076x", "xn01440764", ""])
def test_names_that_are_no_wordnet_id(name):
    assert is_wnid("n01440764")
    assert not is_wnid(name)


def test_images_by_class_and_name(tmp_path):
    assert list_class_folders(tmp_path / "nowhere") == []
    for name in (
        "n00000002/b.JPEG",
        "n00000002/a.jpeg",
        "n00000002/notes.txt",
        "n00000002/._a.JPEG",
        "n00000001/z.JPEG",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "n00000003").touch()  # a file
    wnids = list_class_folders(tmp_path)
    assert wnids == ["n00000001", "n00000002"]
    paths, labels = list_images(tmp_path, wnids)
    assert (paths, labels) == (["n00000001/z.JPEG", "n00000002/a.jpeg", "n00000002/b.JPEG"], [0, 1, 1])
    with pytest.raises(CodialError, match=r"1 of 3 classes have no image .*; the first: n00000004\."):
        list_images(tmp_path, [*wnids, "n00000004"])


def test_names_are_unique():
    words = {"n00000001": "crane, bird", "n00000002": "crane", "n00000003": "tench, Tinca tinca"}
    names = name_classes(sorted([*words, "n00000004"]), words)
    assert names == ("crane (n00000001)", "crane (n00000002)", "tench", "n00000004")
