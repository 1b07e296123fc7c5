from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from codial.data import ImageFiles, describe, load_images
from codial.data.datasets import celeba
from codial.errors import CodialError

SEED = 7
NAMES = [f"{number:06d}.jpg" for number in (3, 12, 40, 41, 77, 100)]
PARTS = [0, 2, 0, 1, 2, 0]
ATTRIBUTES = ["5_o_Clock_Shadow", "Bald", *(f"Tag_{number}" for number in range(38))]
VALUES = np.random.default_rng(SEED).choice([-1, 1], (len(NAMES), 40))


def attributes_file(values=VALUES) -> str:
    """Return the attributes in the official format: two columns per value, a space after the last name."""
    rows = (f"{name} {' '.join(f'{value:2d}' for value in row)}\n" for name, row in zip(NAMES, values, strict=True))
    return f"{len(NAMES)}\n{' '.join(ATTRIBUTES)} \n{''.join(rows)}"


PARTITION = "".join(f"{name} {part}\n" for name, part in zip(NAMES, PARTS, strict=True))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A small CelebA."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    (folder / "list_attr_celeba.txt").write_text(attributes_file())
    (folder / "list_eval_partition.txt").write_text(PARTITION)
    for red, name in enumerate(NAMES):
        Image.new("RGB", (8, 10), (40 * red, 0, 0)).save(folder / "img_align_celeba" / name)
    return folder


@pytest.mark.parametrize(("split", "part"), [("train", 0), ("val", 1), ("test", 2)])
def test_the_partition_selects_images_in_the_order_of_the_list(folder, split, part):
    images = celeba.read(folder.parent, split, size=8)
    indices = [index for index, other in enumerate(PARTS) if other == part]
    assert images.images[:, 0, 4, 4].tolist() == pytest.approx([40 * index for index in indices], abs=4)
    assert images.tags.tolist() == ((VALUES[indices] + 1) // 2).tolist()
    assert images.labels.tolist() == [-1] * len(indices)
    assert images.classes == tuple(ATTRIBUTES)
    assert (images.name, images.split, images.labeled) == ("celeba", split, False)
    assert celeba.problems(folder, split) == []
    assert celeba.read(folder, split).image_size == (96, 96)


@pytest.mark.parametrize("split", ["train", "test"])  # torchvision fails on splits of one image, such as "val" here
def test_torchvision_reads_the_same(folder, split, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets", exc_type=Exception)
    monkeypatch.setattr(datasets.CelebA, "_check_integrity", lambda self: True)
    rows = "".join(f"{name} 1 1\n" for name in NAMES)
    (folder / "identity_CelebA.txt").write_text(rows)
    for name in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt"):
        (folder / name).write_text(f"{len(NAMES)}\nx y\n{rows}")
    expected = datasets.CelebA(str(folder.parent), split=split)
    images = celeba.read(folder, split, storage="files")
    assert images.paths == expected.filename
    assert images.tags.tolist() == expected.attr.tolist()
    assert list(images.classes) == [name for name in expected.attr_names if name]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_kaggles_copy_is_read_as_it_unpacks(folder, split):
    """Images one folder deeper, and lists as CSV."""
    expected = celeba.read(folder, split, size=8)
    (folder / "img_align_celeba").rename(folder / "inner")
    (folder / "img_align_celeba").mkdir()
    (folder / "inner").rename(folder / "img_align_celeba" / "img_align_celeba")
    for name in ("list_attr_celeba", "list_eval_partition"):
        (folder / f"{name}.txt").unlink()
    rows = (",".join([name, *map(str, row)]) for name, row in zip(NAMES, VALUES, strict=True))
    (folder / "list_attr_celeba.csv").write_text("\n".join([",".join(["image_id", *ATTRIBUTES]), *rows]) + "\n")
    rows = (f"{name},{part}" for name, part in zip(NAMES, PARTS, strict=True))
    (folder / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *rows]) + "\n")
    images = celeba.read(folder.parent, split, size=8)
    assert images.fingerprint == expected.fingerprint
    assert celeba.problems(folder, split) == []
    assert describe("celeba", folder.parent).startswith("celeba: present")


def test_a_damaged_list_of_kaggle_is_named(folder):
    (folder / "list_eval_partition.txt").unlink()
    (folder / "list_eval_partition.csv").write_text("image_id,partition\n000003.jpg,x\n")
    with pytest.raises(CodialError, match=r"list_eval_partition\.csv, line 2 is '000003\.jpg x'"):
        celeba.read(folder, "train")


def test_an_image_with_tags_is_not_replaced_by_another(folder):
    (folder / "img_align_celeba" / NAMES[2]).write_bytes(b"no image")
    images = celeba.read(folder, "train", storage="files")
    assert isinstance(images, ImageFiles)
    with pytest.raises(CodialError, match=f"{NAMES[2]}: not an image"):
        images.batch([0, 1])
    with pytest.warns(UserWarning, match=f"1 of 3 images .* skipped .*{NAMES[2]}"):
        images = celeba.read(folder, "train", size=8)
    assert images.tags.tolist() == ((VALUES[[0, 5]] + 1) // 2).tolist()


def test_limit_keeps_images_and_tags_together(folder):
    images = celeba.read(folder, "train", limit=2, storage="files")
    indices = [NAMES.index(path) for path in images.paths]
    assert len(indices) == 2
    assert images.tags.tolist() == ((VALUES[indices] + 1) // 2).tolist()


def with_row(number: int, row: str) -> str:
    rows = attributes_file().split("\n")
    rows[number - 1] = row
    return "\n".join(rows)


ROW = attributes_file().split("\n")[4]  # line 5
TWO = VALUES.copy()
TWO[3, 7] = 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("list_attr_celeba.txt", None, r"list_attr_celeba\.txt does not exist"),
        ("list_eval_partition.txt", None, r"list_eval_partition\.txt does not exist"),
        ("list_attr_celeba.txt", "", r"list_attr_celeba\.txt is empty"),
        ("list_attr_celeba.txt", "6\n", r"begins with '6', the number of its images, but has 0 lines"),
        (
            "list_attr_celeba.txt",
            attributes_file()[: -len(ROW) - 1],
            r"begins with '6', .* but has 5 lines .*truncated",
        ),
        ("list_attr_celeba.txt", attributes_file()[:-10], r"txt, line 8 is .* 40 times 1 or -1 \(got 37\).*truncated"),
        ("list_attr_celeba.txt", with_row(5, ROW[:-3]), r"txt, line 5 is .* 40 times 1 or -1 \(got 39\)"),
        ("list_attr_celeba.txt", with_row(5, f"{ROW} -1"), r"txt, line 5 is .* 40 times 1 or -1 \(got 41\)"),
        ("list_attr_celeba.txt", with_row(5, ""), r"txt, line 5 is ''"),
        ("list_attr_celeba.txt", with_row(5, f"{ROW[:-2]} x"), r"txt, line 5 is .* \(got 40\)"),
        ("list_attr_celeba.txt", attributes_file(TWO), r"txt, line 6 is .* 40 times 1 or -1"),
        ("list_attr_celeba.txt", attributes_file(VALUES[:, :39]), r"txt, line 3 is .* \(got 39\)"),
        ("list_attr_celeba.txt", with_row(2, "Bald Bangs"), r"txt, line 2 is 'Bald Bangs'; expected 40 different"),
        (
            "list_attr_celeba.txt",
            with_row(2, " ".join([*ATTRIBUTES, "Bald"])),
            r"txt, line 2 is .* expected 40 different",
        ),
        ("list_attr_celeba.txt", f"1\n{' '.join(ATTRIBUTES)}\n000003.jpg\n", r"txt, line 3 is '000003\.jpg'; .*got 0"),
        (
            "list_attr_celeba.txt",
            with_row(5, ROW.replace("40", "39", 1)),
            r"line 3, names 000040\.jpg, but .*line 5, names",
        ),
        ("list_eval_partition.txt", PARTITION[:-13], r"line 6, names nothing, but .*line 8, names 000100\.jpg"),
        ("list_eval_partition.txt", PARTITION[:-2], r"txt, line 6 is '000100\.jpg'; expected a name, a space"),
        ("list_eval_partition.txt", PARTITION.replace("jpg 1", "jpg 3"), r"txt, line 4 is '000041\.jpg 3'; expected 0"),
        ("list_eval_partition.txt", PARTITION.replace("jpg 1", "jpg 2"), r"has no image of 'val' \(1\)"),
    ],
)
def test_errors_name_file_and_line(folder, file, content, message):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(CodialError, match=message):
        celeba.read(folder, "val")
    (problem,) = celeba.problems(folder, "val")
    assert file in problem


def test_missing_images_are_problems(folder):
    (folder / "img_align_celeba" / NAMES[5]).unlink()
    assert celeba.problems(folder, "train") == [f"{folder}/img_align_celeba/{NAMES[5]} is missing"]
    assert celeba.problems(folder, "test") == []


def test_it_is_loaded_by_name(folder, tmp_path):
    assert describe("celeba", tmp_path) == f"celeba: present in {folder}: train, val, test"
    assert load_images("celeba", "test", root=tmp_path, size=16, limit=1).tags.shape == (1, 40)
    (folder / "list_eval_partition.txt").unlink()
    assert f"missing in {folder}; get it with" in describe("celeba", tmp_path)


@pytest.mark.parametrize("split", celeba.SPLITS)
def test_the_official_set(official, split):
    root = official("celeba")
    images = celeba.read(root, split, storage="files")
    male, smiling = (images.classes.index(name) for name in ("Male", "Smiling"))
    share = images.tags.double().mean(dim=0)
    assert 0.35 < share[male] < 0.5  # 0.42 of all
    assert 0.4 < share[smiling] < 0.56  # 0.48 of all
    assert celeba.problems(root, split) == []
    assert images.batch(range(8)).shape == (8, 3, 96, 96)
    assert images.skipped == ()
