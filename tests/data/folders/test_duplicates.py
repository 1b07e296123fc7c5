from codial.data.folders.duplicates import duplicates_in_words, find_duplicates
from codial.data.folders.layout import ImageFile


def test_copies_are_found_by_content_in_splits_and_classes(tmp_path):
    long = bytes(range(256)) * 100
    contents = {
        "train/cat/a.jpg": b"1",
        "train/cat/b.jpg": b"1",
        "test/cat/c.png": b"1",
        "train/dog/d.jpg": b"22",
        "train/cat/e.jpg": b"22",
        "train/cat/f.jpg": b"23",  # of the same size
        "train/cat/g.jpg": long + b"x",
        "train/cat/h.jpg": long + b"y",  # of the same size and beginning
        "train/cat/i.jpg": b"",
        "train/cat/j.jpg": b"",  # empty files are reported as damaged
    }
    for path, content in contents.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    files = [ImageFile(path, *path.split("/")[:2]) for path in [*contents, "train/cat/missing.jpg"]]
    groups = find_duplicates(tmp_path, files)
    assert [[file.path[-5] for file in group] for group in groups] == [["a", "b", "c"], ["d", "e"]]
    assert duplicates_in_words(groups) == [
        "copies across train and test: 1 (train/cat/a.jpg = test/cat/c.png)",
        "copies within train: 1 (train/cat/a.jpg = train/cat/b.jpg)",
        "copies within train, of dog and cat: 1 (train/dog/d.jpg = train/cat/e.jpg)",
    ]


def test_of_many_copies_two_are_shown():
    group = [ImageFile(f"{number}.jpg", None, None) for number in range(5)]
    assert duplicates_in_words([group]) == ["copies in the folder: 4 (0.jpg = 1.jpg, 0.jpg = 2.jpg and 2 more)"]
