"""Unusual files in a folder of images: each is decoded correctly, or skipped, counted and listed."""

import os
import warnings

import numpy as np
import pytest
from damage import python_without_privileges
from PIL import Image

from codial.data import load_images
from codial.errors import CodialError

pytestmark = pytest.mark.faults("unusual image")

RED, GREEN, BLUE = (200, 40, 30), (10, 160, 20), (20, 30, 220)
SIDE = 16


def red(mode="RGB", size=(24, 20)):
    return Image.new("RGB", size, RED).convert(mode)


def saved(name, image, **options):
    return lambda folder: image.save(folder / name, **options)


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def truncated(name, image):
    def write(folder):
        image.save(folder / name)
        (folder / name).write_bytes((folder / name).read_bytes()[:-60])

    return write


def linked(name, target):
    return lambda folder: (folder / name).symlink_to(target)


def both(*writers):
    return lambda folder: [write(folder) for write in writers]


def huge(name):
    """Its header states 100,000 x 100,000 pixels."""

    def write(folder):
        red().save(folder / name)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:18] + 2 * (100_000).to_bytes(4, "little") + content[26:])

    return write


def bomb(folder):
    """400 MB in memory, so not made when the tests are collected."""
    Image.new("1", (20_000, 20_000)).save(folder / "a.png")


def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))


def wide():
    """Blue at both ends, red in the middle."""
    image = Image.new("RGB", (30_000, 9), BLUE)
    image.paste(RED, (14_980, 0, 15_020, 9))
    return image


def rotated():
    """Blue at the top and bottom once its EXIF orientation is applied."""
    image = Image.new("RGB", (60, 20), BLUE)
    image.paste(RED, (20, 0, 40, 20))
    return image


def other_name(name, kind):
    def write(folder):
        with (folder / name).open("wb") as file:
            red().save(file, kind)

    return write


EXIF = Image.Exif()
EXIF[0x0112] = 6
GRAY16 = Image.fromarray(np.full((20, 24), 257 * 100, np.uint16))
HALF = Image.new("RGBA", (24, 20), (*RED, 128))
WHITENED = tuple(round(c * 128 / 255 + 127) for c in RED)

DECODED = {  # name -> (how to write it, the expected color)
    "wrong extension": (other_name("a.jpg", "PNG"), RED),
    "another wrong extension": (other_name("a.png", "JPEG"), RED),
    "CMYK": (saved("a.jpg", red("CMYK")), RED),
    "16-bit": (saved("a.png", GRAY16), (100, 100, 100)),
    "palette": (saved("a.png", red("P")), RED),
    "palette with transparency": (saved("a.gif", red("P"), transparency=255), RED),
    "alpha": (saved("a.png", HALF), WHITENED),
    "alpha in WebP": (saved("a.webp", HALF, lossless=True), WHITENED),
    "gray": (saved("a.jpg", red("L")), (87, 87, 87)),
    "black and white": (saved("a.png", Image.new("1", (24, 20), 1)), (255, 255, 255)),
    "animated GIF": (saved("a.gif", red(), save_all=True, append_images=[Image.new("RGB", (24, 20), BLUE)]), RED),
    "animated WebP": (saved("a.webp", red(), save_all=True, append_images=[Image.new("RGB", (24, 20), BLUE)]), RED),
    "animated PNG": (saved("a.png", red(), save_all=True, append_images=[Image.new("RGB", (24, 20), BLUE)]), RED),
    "1 x 1": (saved("a.png", red(size=(1, 1))), RED),
    "30,000 pixels wide": (saved("a.png", wide()), RED),
    "30,000 pixels wide, JPEG": (saved("a.jpg", wide(), subsampling=0), RED),
    "30,000 pixels high": (saved("a.tif", wide().rotate(90, expand=True)), RED),
    "EXIF orientation": (saved("a.jpg", rotated(), exif=EXIF, quality=95, subsampling=0), RED),
    "unicode name": (saved("a ünï 日本 🐈‍⬛ \u202e.png", red()), RED),
    "name of 255 bytes": (saved("n" * 251 + ".png", red()), RED),
    "name with a line break": (saved("a\nb\t.png", red()), RED),
    "name with shell commands": (saved("$(touch pwned) ; 'x' *.png", red()), RED),
    "link to an image": (both(saved("z.dat", red(), format="PNG"), linked("a.png", "z.dat")), RED),
}

REFUSED = {  # name -> (how to write it, the expected reason)
    "truncated JPEG": (truncated("a.jpg", noise()), "truncated"),
    "truncated PNG": (truncated("a.png", noise()), "truncated|incomplete|broken|cut"),
    "truncated WebP": (truncated("a.webp", noise()), "known format|truncated|failed|not"),
    "truncated BMP": (truncated("a.bmp", noise()), "truncated"),
    "empty": (written("a.png", b""), "the file is empty"),
    "text": (written("a.jpg", b"<html>404 Not Found</html>"), "not an image of a known format"),
    "PostScript": (written("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "known format"),
    "a script": (written("a.png", b"#!/bin/sh\ntouch pwned\n"), "known format"),
    "decompression bomb": (bomb, "decompression bomb"),
    "decompression bomb of a few bytes": (huge("a.bmp"), "decompression bomb"),
    "links in a loop": (both(linked("a.png", "b"), linked("b", "a.png")), "not a file"),
    "link to itself": (linked("a.png", "a.png"), "not a file"),
    "broken link": (linked("a.png", "nothing"), "not a file"),
    "link to a device": (linked("a.png", "/dev/zero"), "not a file"),
    "pipe": (lambda folder: os.mkfifo(folder / "a.png"), "not a file"),
}


@pytest.fixture
def folder(tmp_path):
    """One good image, green."""
    (tmp_path / "set").mkdir()
    Image.new("RGB", (30, 30), GREEN).save(tmp_path / "set" / "zz good.png")
    return tmp_path / "set"


def load(folder, storage, **options):
    return load_images(folder, "all", size=SIDE, storage=storage, **options)


@pytest.mark.parametrize("storage", ["memory", "files"])
@pytest.mark.parametrize("kind", DECODED)
def test_a_file_is_decoded(kind, storage, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    write, color = DECODED[kind]
    write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = load(folder, storage, strict=True)
        batch = images.batch([0, 1])
    assert (len(images), images.skipped) == (2, ())
    assert batch[0].float().mean((1, 2)).tolist() == pytest.approx(color, abs=8)
    assert batch[1].float().mean((1, 2)).tolist() == pytest.approx(GREEN, abs=2)
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_an_exif_orientation_is_applied_in_the_right_direction(folder):
    halves = Image.new("RGB", (40, 40), BLUE)
    halves.paste(RED, (0, 0, 20, 40))
    saved("a.png", halves, exif=EXIF)(folder)  # rotated clockwise, the left is at the top
    image = load(folder, "memory").images[0].float()
    assert image[0, : SIDE // 2 - 1].min() > 190
    assert image[0, SIDE // 2 + 1 :].max() < 30


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_skipped_counted_and_listed(kind, folder):
    write, reason = REFUSED[kind]
    write(folder)
    with pytest.warns(UserWarning, match=r"1 of 2 images in .* could not be decoded and are skipped"):
        images = load(folder, "memory")
    assert (len(images), len(images.skipped)) == (1, 1)
    assert images.skipped[0].startswith("a.")
    assert any(word in images.skipped[0] for word in reason.split("|"))
    files = load(folder, "files")
    with pytest.warns(UserWarning, match="another replaces it"):
        assert (files.batch([0, 1])[0] == files.batch([1])[0]).all()
    assert files.skipped == images.skipped
    for storage in ("memory", "files"):
        with pytest.raises(CodialError, match=r"set/a\.\w+: .*\. Repair or remove the file, or load without strict"):
            load(folder, storage, strict=True).batch([0])


CHILD = """
import sys, warnings
from codial.data import load_images
from codial.errors import CodialError
warnings.simplefilter("ignore")
for options in ({}, {"strict": True}):
    try:
        images = load_images(sys.argv[1], "all", size=16, **options)
        print(len(images), images.skipped)
    except CodialError as error:
        print("refused:", error)
"""


def test_an_unreadable_file_is_skipped_counted_and_listed(folder):
    saved("a.png", red())(folder)
    (folder / "a.png").chmod(0)
    done = python_without_privileges(CHILD, folder)
    assert done.returncode == 0, done.stderr
    default, strict = done.stdout.splitlines()
    assert default.startswith("1 (")
    assert "a.png: [Errno 13] Permission denied" in default
    assert strict.startswith("refused: ")
    assert "Repair or remove the file" in strict


def test_an_unreadable_folder_is_named(folder):
    (folder / "closed").mkdir(mode=0)
    done = python_without_privileges(CHILD, folder)
    (folder / "closed").chmod(0o700)
    assert (
        done.stdout.splitlines()
        == [f"refused: Cannot read {folder}/closed: Permission denied. Change its permissions, or move it away."] * 2
    )


def test_folders_linked_in_a_loop_are_read_once(folder):
    (folder / "round").symlink_to(".")
    (folder / "up").symlink_to("..")
    (folder / "there").symlink_to("back")
    (folder / "back").symlink_to("there")
    assert len(load(folder, "files")) == 1


def test_all_files_in_one_folder(folder):
    for number, (write, _) in enumerate([*DECODED.values(), *REFUSED.values()]):
        (folder / f"{number:03}").mkdir()
        write(folder / f"{number:03}")
    with pytest.warns(UserWarning, match=rf"{len(REFUSED)} of {len(DECODED) + len(REFUSED) + 1} images"):
        images = load(folder, "memory")
    assert len(images) == len(DECODED) + 1
    assert len(images.skipped) == len(REFUSED)
    assert images.labels.tolist() == [*range(len(DECODED)), -1]
