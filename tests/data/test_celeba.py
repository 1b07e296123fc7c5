import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codial.data import PictureFiles, celeba, describe, load_images
from codial.errors import CodialError

SEED = 7
NAMES = [f"{number:06d}.jpg" for number in (3, 12, 40, 41, 77, 100)]
PARTS = [0, 2, 0, 1, 2, 0]
ATTRIBUTES = ["5_o_Clock_Shadow", "Bald", *(f"Tag_{number}" for number in range(38))]
MARKS = np.random.default_rng(SEED).choice([-1, 1], (len(NAMES), 40))


def listed(marks=MARKS) -> str:
    """The attributes as the organisers write them: two columns a mark, a blank at the end of the names."""
    rows = (f"{name} {' '.join(f'{mark:2d}' for mark in row)}\n" for name, row in zip(NAMES, marks, strict=True))
    return f"{len(NAMES)}\n{' '.join(ATTRIBUTES)} \n{''.join(rows)}"


PARTITION = "".join(f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True))


@pytest.fixture
def folder(tmp_path) -> Path:
    """CelebA in little."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "list_attr_celeba.txt").write_text(listed())
    (folder / "list_eval_partition.txt").write_text(PARTITION)
    for red, name in enumerate(NAMES):
        Image.new("RGB", (8, 10), (40 * red, 0, 0)).save(folder / "img_align_celeba" / name)
    return folder


@pytest.mark.parametrize(("split", "part"), [("train", 0), ("val", 1), ("test", 2)])
def test_the_partition_decides_and_the_order_is_the_lists(folder, split, part):
    images = celeba.read(folder.parent, split, size=8)
    chosen = [place for place, other in enumerate(PARTS) if other == part]
    assert images.images[:, 0, 4, 4].tolist() == pytest.approx([40 * place for place in chosen], abs=4)
    assert images.tags.tolist() == ((MARKS[chosen] + 1) // 2).tolist()
    assert images.labels.tolist() == [-1] * len(chosen)
    assert images.classes == tuple(ATTRIBUTES)
    assert (images.name, images.split, images.labelled) == ("celeba", split, False)
    assert celeba.problems(folder, split) == []
    assert celeba.read(folder, split).sides == (96, 96)


@pytest.mark.parametrize("split", ["train", "test"])  # of one picture, as "val" has here, torchvision makes no list
def test_torchvision_reads_the_same(folder, split, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    rows = "".join(f"{name} 1 1\n" for name in NAMES)
    (folder / "identity_CelebA.txt").write_text(rows)
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).write_text(f"{len(NAMES)}\nx y\n{rows}")
    expected = datasets.CelebA(str(folder.parent), split=split)
    images = celeba.read(folder, split, keep="files")
    assert images.paths == expected.filename
    assert images.tags.tolist() == expected.attr.tolist()
    assert list(images.classes) == [name for name in expected.attr_names if name]


def test_no_other_picture_stands_for_one_that_does_not_decode(folder):
    (folder / "img_align_celeba" / NAMES[2]).write_bytes(b"no picture")
    images = celeba.read(folder, "train", keep="files")
    assert isinstance(images, PictureFiles)
    with pytest.raises(CodialError, match=f"{NAMES[2]}: not a picture"):
        images.batch([0, 1])
    with pytest.warns(UserWarning, match=f"1 of 3 pictures .* left out .*{NAMES[2]}"):
        images = celeba.read(folder, "train", size=8)
    assert images.tags.tolist() == ((MARKS[[0, 5]] + 1) // 2).tolist()


def test_limit_keeps_pictures_and_tags_together(folder):
    images = celeba.read(folder, "train", limit=2, keep="files")
    places = [NAMES.index(path) for path in images.paths]
    assert len(places) == 2
    assert images.tags.tolist() == ((MARKS[places] + 1) // 2).tolist()


def other_row(place: int, row: str) -> str:
    rows = listed().split("\n")
    rows[place - 1] = row
    return "\n".join(rows)


ROW = listed().split("\n")[4]  # line 5
TWO = MARKS.copy()
TWO[3, 7] = 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list_attr_celeba.txt", None, r"list_attr_celeba\.txt does not exist"),
        ("list_eval_partition.txt", None, r"list_eval_partition\.txt does not exist"),
        ("list_attr_celeba.txt", "", r"list_attr_celeba\.txt is empty"),
        ("list_attr_celeba.txt", "6\n", r"begins with '6', the number of its pictures, but has 0 lines"),
        ("list_attr_celeba.txt", listed()[: -len(ROW) - 1], r"begins with '6', .* but has 5 lines .*cut short"),
        ("list_attr_celeba.txt", listed()[:-10], r"txt, line 8 is .* 40 times 1 or -1 \(got 37\).*cut short"),
        ("list_attr_celeba.txt", other_row(5, ROW[:-3]), r"txt, line 5 is .* 40 times 1 or -1 \(got 39\)"),
        ("list_attr_celeba.txt", other_row(5, f"{ROW} -1"), r"txt, line 5 is .* 40 times 1 or -1 \(got 41\)"),
        ("list_attr_celeba.txt", other_row(5, ""), r"txt, line 5 is ''"),
        ("list_attr_celeba.txt", other_row(5, f"{ROW[:-2]} x"), r"txt, line 5 is .* \(got 40\)"),
        ("list_attr_celeba.txt", listed(TWO), r"txt, line 6 is .* 40 times 1 or -1"),
        ("list_attr_celeba.txt", listed(MARKS[:, :39]), r"txt, line 3 is .* \(got 39\)"),
        ("list_attr_celeba.txt", other_row(2, "Bald Bangs"), r"txt, line 2 is 'Bald Bangs'; expected 40 different"),
        (
            "list_attr_celeba.txt",
            other_row(2, " ".join([*ATTRIBUTES, "Bald"])),
            r"txt, line 2 is .* expected 40 different",
        ),
        ("list_attr_celeba.txt", f"1\n{' '.join(ATTRIBUTES)}\n000003.jpg\n", r"txt, line 3 is '000003\.jpg'; .*got 0"),
        (
            "list_attr_celeba.txt",
            other_row(5, ROW.replace("40", "39", 1)),
            r"line 3, is of 000040\.jpg, but .*line 5, of",
        ),
        ("list_eval_partition.txt", PARTITION[:-13], r"line 6, is of nothing, but .*line 8, of 000100\.jpg"),
        ("list_eval_partition.txt", PARTITION[:-2], r"txt, line 6 is '000100\.jpg'; expected a name, a space"),
        ("list_eval_partition.txt", PARTITION.replace("jpg 1", "jpg 3"), r"txt, line 4 is '000041\.jpg 3'; expected 0"),
        ("list_eval_partition.txt", PARTITION.replace("jpg 1", "jpg 2"), r"has no picture of 'val' \(1\)"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(folder, file, content, message):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(CodialError, match=message):
        celeba.read(folder, "val")
    (told,) = celeba.problems(folder, "val")
    assert file in told


def test_missing_pictures(folder):
    (folder / "img_align_celeba" / NAMES[5]).unlink()
    assert celeba.problems(folder, "train") == [f"{folder}/img_align_celeba/{NAMES[5]} is missing"]
    assert celeba.problems(folder, "test") == []


def test_the_registry_knows_it(folder, tmp_path):
    assert describe("celeba", tmp_path) == f"celeba: present in {folder}: train, val, test"
    assert load_images("celeba", "test", root=tmp_path, size=16, limit=1).tags.shape == (1, 40)
    (folder / "list_eval_partition.txt").unlink()
    assert f"missing in {folder}; unpack" in describe("celeba", tmp_path)


@pytest.mark.skipif("CODIAL_TEST_SETS" not in os.environ, reason="CODIAL_TEST_SETS names no folder of real sets")
@pytest.mark.parametrize("split", celeba.SPLITS)
def test_the_real_one_is_whole(split):
    root = Path(os.environ["CODIAL_TEST_SETS"])
    images = celeba.read(root, split, keep="files")
    male, smiling = (images.classes.index(name) for name in ("Male", "Smiling"))
    share = images.tags.double().mean(dim=0)
    assert 0.35 < share[male] < 0.5  # 0.42 of all
    assert 0.4 < share[smiling] < 0.56  # 0.48 of all
    assert celeba.problems(root, split) == []
    assert images.batch(range(8)).shape == (8, 3, 96, 96)
    assert images.skipped == ()
