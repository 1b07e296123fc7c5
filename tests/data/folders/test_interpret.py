"""Layouts that people have reported, by the list of their files; generated ones are in tests/faults."""

import pytest

from codial.data.folders.interpret import interpret
from codial.errors import CodialError

CAT_DOG = {"cat": 3, "dog": 2}


def files(folders):
    """Return the paths of images, some per folder, or of a file with the name that is given."""
    paths = []
    for folder, content in folders.items():
        names = [f"{number}.jpg" for number in range(content)] if isinstance(content, int) else [content]
        paths += [f"{folder}/{name}".lstrip("/") for name in names]
    return sorted(paths)


def below(*places, classes=None):
    return {f"{place}/{name}": count for place in places for name, count in (classes or CAT_DOG).items()}


def understood(folders, *choices):
    layout = interpret(files(folders), (".jpg", ".png"), "images", choices)
    return {split: dict(count) for split, count in layout.counts().items()}, layout


BOTH = {"train": CAT_DOG, "test": CAT_DOG}
REPORTED = {  # name -> folders, what is read by split, what is passed over
    "train and valid": (below("train", "valid"), {"train": CAT_DOG, "val": CAT_DOG}, ""),
    "Training and Testing": (below("Training", "Testing"), BOTH, ""),
    "train, valid and test": (below("train", "valid", "test"), BOTH | {"val": CAT_DOG}, ""),
    "images and labels of a detector": (
        {"train/images": 3, "train/labels": "0.txt", "valid/images": 2, "valid/labels": "0.txt", "": "data.yaml"},
        {"train": {None: 3}, "val": {None: 2}},
        ".txt files: 2 (train/labels/0.txt, valid/labels/0.txt); .yaml files: 1 (data.yaml)",
    ),
    "an extra level": (below("animals/animals") | {"animals": "README.md"}, {None: CAT_DOG}, ".md files: 1"),
    "an archive": (below("archive/train", "archive/test") | {"__MACOSX/archive": "._0.jpg"}, BOTH, "(__MACOSX/)"),
    "a level in each split": (
        below("seg_train/seg_train", "seg_test/seg_test") | {"seg_pred/seg_pred": 4},
        BOTH,
        "seg_pred/ with 4",
    ),
    "the archive within itself": (below("x/train", "x/test", "x/x/train", "x/x/test"), BOTH, "x/x/ with 10 images"),
    "a test split without classes": (
        below("train/train") | {"test/test": 4},
        {"train": CAT_DOG, "test": {None: 4}},
        "",
    ),
    "another folder for tests": (below("Training", "Test") | {"test-many": 5}, BOTH, "test-many/ with 5 images"),
    "splits in classes": (
        {"cat/train": 3, "cat/test": 1, "dog/train": 2, "dog/test": 2},
        {"train": CAT_DOG, "test": {"cat": 1, "dog": 2}},
        "",
    ),
    "years": ({"train2017": 3, "val2017": 2}, {"train": {None: 3}, "val": {None: 2}}, ""),
    "unlabeled beside splits": (
        {"train_images": 2, "test_images": 1, "unlabeled_images": 9},
        {"train": {None: 2}, "test": {None: 1}},
        "unlabeled_images/ with 9",
    ),
    "thumbnails of a file server": (
        CAT_DOG | {"cat/@eaDir/0.jpg": 2, "dog": "Thumbs.db", ".git": "a.jpg"},
        {None: {"cat": 3}},
        "cat/@eaDir/",
    ),
    "a class of other files": (
        CAT_DOG | {"emu": "0.heic"},
        {None: CAT_DOG},
        ".heic files: 1 (emu/0.heic); folders without images: 1 (emu/)",
    ),
    "a class named like a container": (
        below("train", "test", classes={"data": 1, "cat": 2}),
        {"train": {"data": 1, "cat": 2}, "test": {"data": 1, "cat": 2}},
        "",
    ),
    "a test split of one class": (below("train") | {"test/cat": 2}, {"train": CAT_DOG, "test": {"cat": 2}}, ""),
    "a folder of images": ({"photos": 4}, {None: {None: 4}}, ""),
    "the class train": ({"car": 2, "plane": 3, "train": 4}, {None: {"car": 2, "plane": 3, "train": 4}}, ""),
}


@pytest.mark.parametrize("name", REPORTED)
def test_reported_layouts_are_understood(name):
    folders, expected, passed_over = REPORTED[name]
    counts, layout = understood(folders)
    assert counts == expected
    assert passed_over in layout.passed_over_in_words()
    assert bool(passed_over) == bool(layout.passed_over)


UNCLEAR = {  # name -> folders, what the choices read
    "test beside classes": (
        CAT_DOG | {"test": 1},
        {"splits": {"test": {None: 1}}, "classes": {None: CAT_DOG | {"test": 1}}},
    ),
    "train beside another": (
        below("train") | {"extra": 4},
        {"splits": {"train": CAT_DOG}, "classes": {None: {"train": 5, "extra": 4}}},
    ),
    "a split beside loose images": (
        below("test") | {"": 4},
        {"splits": {"test": CAT_DOG}, "classes": {None: {None: 4, "test": 5}}},
    ),
    "unknown splits": (
        below("fold1", "fold2"),
        {"classes": {None: {"fold1": 5, "fold2": 5}}, "subfolders": {None: {"cat": 6, "dog": 4}}},
    ),
    "flat folders": (
        {"train": 1, "test": 1, "car": 2},
        {"splits": {"train": {None: 1}, "test": {None: 1}}, "classes": {None: {"train": 1, "test": 1, "car": 2}}},
    ),
    "domains": (
        {f"{split}{domain}": 1 for split in ("train", "test") for domain in "AB"},
        {"classes": {None: {"trainA": 1, "testA": 1, "trainB": 1, "testB": 1}}},
    ),
    "masks": ({"images": 3, "masks": 3}, {"classes": {None: {"images": 3, "masks": 3}}}),
    "unknown splits in splits": (
        below("train/a", "train/b", "test/a", "test/b"),
        {
            "classes": {None: {"train": 10, "test": 10}},
            "subfolders": {"train": {"cat": 6, "dog": 4}, "test": {"cat": 6, "dog": 4}},
        },
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear_layouts_are_refused_and_read_as_chosen(name):
    folders, choices = UNCLEAR[name]
    with pytest.raises(
        CodialError, match=r"^images.* can be read in two ways: .*\(1\).*\(2\).* in quotation marks"
    ) as error:
        understood(folders)
    for choice, expected in choices.items():
        counts, layout = understood(folders, choice)
        assert counts == expected
        if name != "unknown splits in splits":
            assert f"'images#{choice}': {' | '.join(layout.lines(4)[: len(counts)])}" in str(error.value)


@pytest.mark.parametrize(
    ("one", "other"), [("cat", "Cat"), ("straße", "STRASSE"), ("caf\u00e9", "cafe\u0301"), ("a b", "a  b"), ("a", "a ")]
)
@pytest.mark.parametrize("place", ["train", "test"])
def test_classes_that_differ_only_in_how_they_are_written_are_refused(one, other, place):
    folders = {f"train/{one}": 2, "train/dog": 1, "test/dog": 2, f"{place}/{other}": 1}
    with pytest.raises(CodialError, match="differ only in case, spaces or Unicode form") as error:
        understood(folders)
    assert f"{one!a} (train/{one}/)" in str(error.value)
    assert f"{other!a} ({place}/{other}/)" in str(error.value)


def test_classes_that_a_split_lacks_are_told():
    _, layout = understood(below("train") | {"test/cat": 1, "test/emu": 2})
    assert layout.lacking() == {"train": ["emu"], "test": ["dog"]}
    assert layout.lines()[2:] == ["train has no images of: emu", "test has no images of: dog"]


def test_a_folder_without_images_names_what_is_there():
    with pytest.raises(
        CodialError, match=r"No image in images; .*\.heic files: 1 \(cat/0\.heic\); .*pip install pillow-heif"
    ):
        understood({"cat": "0.heic"})
    with pytest.raises(CodialError, match="hf:images reads tables of Hugging Face"):
        understood({"data": "train-00000-of-00001.parquet"})
