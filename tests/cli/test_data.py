"""`codial data` lists, downloads and checks data sets."""

import re

import pytest
from PIL import Image

from codial.cli.main import main
from codial.data import SETS


@pytest.mark.parametrize("arguments", [["data"], ["data", "list"]])
def test_list_prints_a_line_for_each_set(arguments, tmp_path, capsys):
    assert main([*arguments, "--data-root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == list(SETS)
    assert any(line.startswith("photos: present") for line in lines)
    assert any(line.startswith("cifar10: missing") for line in lines)


def test_get_downloads_into_the_data_root_and_checks(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr("codial.data.download.get", lambda *arguments: calls.append(arguments))
    assert main(["data", "get", "photos", "--data-root", str(tmp_path)]) == 0
    assert calls == [("photos", tmp_path)]
    assert "photos/train: 4000 images" in capsys.readouterr().out


def test_check_reads_all_splits(capsys):
    assert main(["data", "check", "photos"]) == 0
    out = capsys.readouterr().out
    assert "photos/train: 4000 images" in out
    assert "photos/test: 1000 images" in out
    assert len(re.findall(r"fingerprint [0-9a-f]{16}", out)) == 2


def test_check_names_missing_and_damaged_files(tmp_path, capsys):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_2").write_bytes(b"damaged")
    assert main(["data", "check", "cifar10", "--data-root", str(tmp_path)]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "cifar10/train: damaged"
    assert lines[1].startswith(f"  {folder}/data_batch_1 ")
    assert lines[2].startswith(f"  {folder}/data_batch_2 ")
    assert lines[6] == "cifar10/test: missing"
    assert lines[7].startswith(f"  {folder}/test_batch ")


def test_check_names_five_files_and_counts_the_others(tmp_path, capsys):
    folder = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "val.txt").write_text("".join(f"2008_{number:06}\n" for number in range(4)))
    assert main(["data", "check", "voc2012", "--data-root", str(tmp_path)]) == 2
    out = capsys.readouterr().out
    assert "voc2012/val: damaged" in out
    assert out.count("is missing") == 5
    assert "  and 3 more" in out


def test_check_names_images_of_a_folder_that_do_not_decode(tmp_path, capsys, monkeypatch):
    for split in ("train", "test"):
        (tmp_path / split / "red").mkdir(parents=True)
        Image.new("RGB", (20, 20), "red").save(tmp_path / split / "red/a.png")
    (tmp_path / "train/red/b.png").write_bytes(b"no image")
    assert main(["data", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "skipped train/red/b.png" in printed.out
    assert printed.err.startswith("codial: warning: 1 of 2 images")
    assert ".py" not in printed.err
    monkeypatch.setattr("codial.data.file_list.MEMORY_LIMIT", 1)
    assert main(["data", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "ImageFiles" in printed.out
    assert "skipped train/red/b.png" in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["get"], "NAME is missing: codial data get NAME, with one of photos, cifar10"),
        (["check"], "NAME is missing"),
        (["check", "cifar10", "--data-root", "{tmp}"], "codial data get cifar10"),
        (["get", "imagenet", "--data-root", "{tmp}"], "imagenet cannot be downloaded"),
    ],
)
def test_a_mistake_gets_one_line(arguments, expected, tmp_path, error_of):
    assert expected in error_of(["data", *(part.format(tmp=tmp_path) for part in arguments)])


def test_check_tells_how_a_folder_is_understood(tmp_path, capsys):
    for number, path in enumerate(["Training/cat/a", "Training/dog/a", "Testing/cat/a", "Testing/emu/a", "extra/a"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{path}.png")
    (tmp_path / "Testing/cat/a.png").write_bytes((tmp_path / "Training/cat/a.png").read_bytes())
    (tmp_path / "Training/dog/a.mp4").touch()
    (tmp_path / "Training/dog/Thumbs.db").touch()
    assert main(["data", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[:6] == [
        "train (in Training/): 2 images, 2 classes: cat 1, dog 1",
        "test (in Testing/): 2 images, 2 classes: cat 1, emu 1",
        "passed over: .mp4 files: 1 (Training/dog/a.mp4); system or hidden: 1 (Training/dog/Thumbs.db);"
        " folders beside the splits: 1 (extra/ with 1 image)",
        "train has no images of: emu",
        "test has no images of: dog",
        "copies across train and test: 1 (Training/cat/a.png = Testing/cat/a.png)",
    ]


def test_check_shows_the_readings_of_an_unclear_folder_and_reads_the_one_that_is_chosen(tmp_path, capsys, error_of):
    for path in ("train/a", "test/a", "car/a"):
        (tmp_path / path).parent.mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / f"{path}.png")
    message = error_of(["data", "check", str(tmp_path)])
    assert f"(1) '{tmp_path}#splits': train (in train/): 1 image, no classes | test (in test/): 1 image" in message
    assert f"(2) '{tmp_path}#classes': no splits: 3 images, 3 classes: car 1, test 1, train 1" in message
    assert main(["data", "check", f"{tmp_path}#splits"]) == 0
    assert f"{tmp_path.name}/test: 1 images" in capsys.readouterr().out
    assert "No reading of" in error_of(["data", "check", f"{tmp_path}#split"])


def test_an_unknown_name_is_an_error(error_of):
    assert "Did you mean 'cifar10'" in error_of(["data", "check", "cifar11"])
