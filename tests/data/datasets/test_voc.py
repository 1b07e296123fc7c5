from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data import ImageFiles, ImageSet, describe, load_images
from codial.data.datasets import voc
from codial.errors import CodialError

PERSON, DOG, CAT = (voc.CLASSES.index(name) for name in ("person", "dog", "cat"))
OBJECTS = {  # image -> (class, box from 1 with inclusive ends, difficult)
    "000005": [("dog", (11, 5, 30, 25), 0), ("person", (1, 1, 60, 40), 1)],
    "000007": [("person", (2, 3, 2, 3), 0), ("person", (10, 10, 20, 20), 1)],
    "000009": [("cat", (1, 1, 10, 10), 1)],
    "000012": [],
}
SPLITS = {"train": ["000005", "000009"], "val": ["000007"], "trainval": ["000005", "000007", "000009"]}
WIDTH, HEIGHT = 60, 40


def xml(objects) -> str:
    found = ""
    for name, (xmin, ymin, xmax, ymax), difficult in objects:
        box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        found += f"<object><name>{name}</name><difficult>{difficult}</difficult>{part}<bndbox>{box}</bndbox></object>"
    return f"<annotation><size><width>1</width><height>1</height></size>{found}</annotation>"


def write_mask(path: Path, mask: np.ndarray) -> None:
    image = Image.fromarray(mask, mode="P")
    image.putpalette([i * 37 % 256 for i in range(768)])
    image.save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """VOC2007 and, the same, a small VOC."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    generator = np.random.default_rng(3)
    for name, objects in OBJECTS.items():
        pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "JPEGImages" / f"{name}.jpg")
        (folder / "Annotations" / f"{name}.xml").write_text(xml(objects))
        mask = generator.choice([0, 3, 20, 255], (HEIGHT, WIDTH)).astype(np.uint8)
        write_mask(folder / "SegmentationClass" / f"{name}.png", mask)
    for split, names in (SPLITS | {"test": ["000012"]}).items():
        for task in ("Main", "Segmentation"):
            (folder / "ImageSets" / task / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
        for name in voc.CLASSES:  # officially 1 present, -1 absent, 0 only difficult objects
            lines = "".join(f"{image} {official_value(image, name):2d}\n" for image in names)
            (folder / "ImageSets" / "Main" / f"{name}_{split}.txt").write_text(lines)
    (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(folder)
    return folder


def official_value(image: str, name: str) -> int:
    flags = [difficult for found, _, difficult in OBJECTS[image] if found == name]
    return -1 if not flags else 0 if all(flags) else 1


def tags_by_class_files(folder: Path, split: str) -> torch.Tensor:
    """Read the tags from the files per class, which `voc` does not read."""
    meaning = {"1": 1, "0": -1, "-1": 0}
    files = [folder / "ImageSets" / "Main" / f"{name}_{split}.txt" for name in voc.CLASSES]
    columns = [[meaning[line.split()[1]] for line in path.read_text().splitlines()] for path in files]
    return torch.tensor(columns, dtype=torch.int8).T


@pytest.mark.parametrize("split", ["train", "val", "trainval", "test"])
def test_tags_equal_those_of_the_files_per_class(folder, split):
    images = load_images("voc2007", split, root=folder.parents[1])
    assert torch.equal(images.tags, tags_by_class_files(folder, split))
    assert images.classes == voc.CLASSES
    assert not images.labeled


def test_tags_and_images(folder):
    images = voc.read(folder, "trainval", size=32, storage="files")
    assert isinstance(images, ImageFiles)
    assert images.tags[:, [CAT, DOG, PERSON]].tolist() == [[0, 1, -1], [0, 0, 1], [-1, 0, 0]]
    assert images.batch([0, 2]).shape == (2, 3, 32, 32)
    assert repr(images) == "ImageFiles(voc2007/trainval: 3 images of 32 x 32, 20 tags)"
    assert len(load_images("voc2012", "trainval", root=folder.parents[1], limit=2)) == 2


def test_boxes_start_at_zero_with_exclusive_ends(folder):
    first, second, third = voc.read_annotations(folder.parents[1], "trainval")
    assert first.path == folder / "JPEGImages" / "000005.jpg"
    assert first.size == (HEIGHT, WIDTH)  # of the file; the annotation is wrong
    assert first.boxes.tolist() == [[10, 4, 30, 25], [0, 0, 60, 40]]
    assert first.boxes.dtype == torch.float32
    assert first.labels.tolist() == [DOG, PERSON]
    assert first.difficult.tolist() == [False, True]
    assert (second.boxes[0, 2:] - second.boxes[0, :2]).tolist() == [1, 1]  # a box of one pixel
    assert third.tags[CAT] == -1
    (nothing,) = voc.read_annotations(folder, "test")
    assert nothing.boxes.shape == (0, 4)
    assert nothing.tags.eq(0).all()


def test_masks_are_class_numbers(folder):
    items = voc.list_segmented(folder.parent, "trainval", year=2007)
    assert [item.mask.stem for item in items] == SPLITS["trainval"]
    original, mask = voc.read_image_and_mask(items[0])
    assert mask.shape == original.shape[1:] == (HEIGHT, WIDTH)
    assert mask.dtype == original.dtype == torch.uint8
    assert set(mask.unique().tolist()) == {0, 3, 20, 255}
    with Image.open(items[0].path) as image:
        assert np.array_equal(original.permute(1, 2, 0).numpy(), np.asarray(image))
    assert len(voc.list_segmented(folder.parents[1], "val")) == 1  # of 2012


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_the_root_may_be_any_of_three_folders(folder, levels):
    root = (folder, *folder.parents)[levels]
    assert voc.locate(root, 2007) == folder


def test_status_names_place_and_splits(folder, tmp_path):
    assert describe("voc2007", tmp_path) == f"voc2007: present in {folder}: train, val, trainval, test"
    assert f"missing in {tmp_path}/nowhere/VOCdevkit/VOC2012; " in describe("voc2012", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("box", "expected"),
    [((0.5, 1, 5.25, 4), [0, 0, 5.25, 4]), ((1, 1, WIDTH + 0.7, HEIGHT + 1), [0, 0, WIDTH, HEIGHT])],
)
def test_fractional_boxes_are_clipped_at_the_edge(folder, box, expected):
    (folder / "Annotations" / "000007.xml").write_text(xml([("dog", box, 0)]))
    assert voc.read_annotations(folder, "val")[0].boxes.tolist() == [expected]


@pytest.mark.faults("hostile file or setting")
def test_a_box_that_is_partly_outside_its_image_is_clipped_with_a_warning(folder):
    content = xml([("dog", (-2, 3, WIDTH + 3, HEIGHT + 9), 0), ("dog", (1, 1, 5, 5), 0)])
    (folder / "Annotations" / "000007.xml").write_text(content)
    with pytest.warns(UserWarning, match=r"1 boxes are clipped .* first: .*000007\.xml has a box \[-2\.0, 3\.0, 63\.0"):
        (item,) = voc.read_annotations(folder, "val")
    assert item.boxes.tolist() == [[0, 2, WIDTH, HEIGHT], [0, 0, 5, 5]]


def test_files_and_classes_are_found_in_any_case(folder):
    expected = voc.read_annotations(folder, "val")
    (folder / "Annotations/000007.xml").write_text(xml(OBJECTS["000007"]).replace("person", "Person"))
    (folder / "Annotations/000007.xml").rename(folder / "Annotations/000007.XML")
    (folder / "SegmentationClass/000007.png").rename(folder / "SegmentationClass/000007.Png")
    for name in ("000007.JPG", "000007.Jpeg"):
        next((folder / "JPEGImages").glob("000007.*")).rename(folder / "JPEGImages" / name)
        (item,) = voc.read_annotations(folder, "val")
        assert item.path.name == name
        assert item.labels.tolist() == expected[0].labels.tolist()
        assert voc.problems(folder, "val", 2007) == []
        assert voc.list_segmented(folder, "val", 2007)[0].mask.name == "000007.Png"


@pytest.mark.parametrize("missing", ["JPEGImages/000007.jpg", "Annotations/000007.xml", "ImageSets/Main/val.txt"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(CodialError, match=rf"{missing} does not exist"):
        voc.read_annotations(folder, "val")


@pytest.mark.parametrize("missing", ["JPEGImages/000007.jpg", "SegmentationClass/000007.png"])
def test_a_missing_mask_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(CodialError, match=rf"{missing} does not exist"):
        voc.list_segmented(folder, "val", 2007)


def test_invalid_arguments_are_refused(folder):
    with pytest.raises(CodialError, match=r"year is 2010; expected one of: 2007, 2012"):
        voc.read_annotations(folder, "train", 2010)
    with pytest.raises(CodialError, match=r"No split of voc2007 'valid'.* Did you mean 'val'"):
        load_images("voc2007", "valid", root=folder)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(CodialError, match=r"train.txt is empty"):
        voc.read_annotations(folder, "train")


BOMB = '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.faults("hostile file or setting")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB.encode(), "declares a DOCTYPE"),
        (BOMB.encode("utf-16"), "declares a DOCTYPE"),
        (xml(OBJECTS["000007"])[:-40].encode(), "cannot be read"),
        (b"", "cannot be read"),
        (b"\x00\xff\x00", "cannot be read"),
        (b"<?xml version='1.0' encoding='unheard-of'?><annotation/>", "cannot be read"),
        (xml([("unicorn", (1, 1, 5, 5), 0)]).encode(), r"has a class 'unicorn'; expected one of: aeroplane, "),
        (xml([("dog", (5, 1, 4, 5), 0)]).encode(), r"is empty: xmin is larger than xmax; if the corners are swapped"),
        (xml([("dog", (1, 9, 4, 5), 0)]).encode(), r"is empty: ymin is larger than ymax; if the corners are swapped"),
        (xml([("dog", (1, 1, "nan", 5), 0)]).encode(), f"outside its image of {WIDTH} x {HEIGHT}"),
        (xml([("dog", (WIDTH + 1, 1, WIDTH + 2, 5), 0)]).encode(), f"outside its image of {WIDTH} x {HEIGHT}"),
        (xml([("dog", (1, -9, 5, 0), 0)]).encode(), f"outside its image of {WIDTH} x {HEIGHT}"),
        (xml([("dog", (1, 1, "", 5), 0)]).encode(), "without the four numbers"),
        (b"<annotation><object><name>dog</name></object></annotation>", "without the four numbers"),
    ],
)
def test_an_invalid_annotation_is_named(folder, content, reason):
    (folder / "Annotations" / "000007.xml").write_bytes(content)
    with pytest.raises(CodialError, match=rf"Annotations/000007.xml .*{reason}"):
        voc.read(folder, "val")


def test_a_damaged_image_is_named(folder):
    path = folder / "JPEGImages" / "000007.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    images = voc.read(folder, "trainval", storage="files")
    with pytest.raises(CodialError, match=r"000007.jpg: .*truncated"):
        images.batch([1])
    with pytest.raises(CodialError, match=r"000007.jpg cannot be decoded"):
        voc.read_pixels(path)
    path.write_bytes(b"not an image")
    with pytest.raises(CodialError, match=r"000007.jpg cannot be decoded"):
        voc.read_annotations(folder, "val")


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((WIDTH, HEIGHT), np.uint8), r"is 40 x 60 pixels; its image 000007.jpg is 60 x 40"),
        (np.full((HEIGHT, WIDTH), 21, np.uint8), r"has the value 21; expected 0 to 20, and 255"),
        (np.zeros((HEIGHT, WIDTH, 3), np.uint8), r"is of mode RGB; expected a mask of class numbers"),
    ],
)
def test_an_invalid_mask_is_named(folder, mask, reason):
    Image.fromarray(mask).save(folder / "SegmentationClass" / "000007.png")
    with pytest.raises(CodialError, match=rf"SegmentationClass/000007.png {reason}"):
        voc.read_image_and_mask(voc.list_segmented(folder, "val", 2007)[0])


@pytest.mark.parametrize("year", voc.YEARS)
def test_the_official_set(official, year):
    root = official(f"voc{year}")
    for split in ("train", "val", "trainval"):
        images = voc.read(root, split, year)
        assert torch.equal(images.tags, tags_by_class_files(voc.locate(root, year), split))
    for item in voc.list_segmented(root, "val", year)[:20]:
        voc.read_image_and_mask(item)


def test_options_of_load_images_apply(folder):
    root = folder.parents[1]
    loaded = load_images("voc2007", "trainval", root=root, size=32)
    assert isinstance(loaded, ImageSet)
    part = load_images("voc2007", "trainval", root=root, size=16, limit=2, seed=1, storage="files")
    assert isinstance(part, ImageFiles)
    assert part.batch([0, 1]).shape == (2, 3, 16, 16)
    rows = [loaded.tags.tolist().index(row) for row in part.tags.tolist()]
    assert rows == sorted(rows)
    assert len(rows) == 2


def test_a_damaged_image_is_skipped_with_its_tags(folder):
    path, root = folder / "JPEGImages" / "000007.jpg", folder.parents[1]
    files = voc.read(folder, "trainval", storage="files")
    path.write_bytes(path.read_bytes()[:-200])
    intact = [index for index, name in enumerate(files.paths) if not name.endswith("000007.jpg")]
    with pytest.warns(UserWarning, match="1 of 3 images") as caught:
        images = load_images("voc2007", "trainval", root=root)
    assert caught[0].filename == __file__
    assert torch.equal(images.tags, files.tags[intact])
    with pytest.raises(CodialError, match=r"000007\.jpg"):
        load_images("voc2007", "trainval", root=root, strict=True)


def test_problems_name_missing_files(folder):
    root = folder.parents[1]
    assert voc.problems(root, "trainval", 2007) == []
    (folder / "Annotations" / "000007.xml").unlink()
    assert voc.problems(root, "trainval", 2007) == [f"{folder}/Annotations/000007.xml is missing"]
    (folder / "ImageSets" / "Main" / "val.txt").unlink()
    (problem,) = voc.problems(root, "val", 2007)
    assert f"{folder}/ImageSets/Main/val.txt does not exist" in problem
