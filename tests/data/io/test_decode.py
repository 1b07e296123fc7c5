import io
import threading
import time

import numpy as np
import pytest
from PIL import Image, features

from codial.data.datasets.photos import load_photographs
from codial.data.io import decode as decode_module
from codial.data.io.decode import EXTENSIONS, WORKERS, decode, decode_all, decode_into, extensions
from codial.data.registry import data_root

SEED = 11
SIDE = 24
GENERATOR = np.random.default_rng(SEED)
NOISE = GENERATOR.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)  # [H, W, 3]
GRAY = NOISE[:, :, 0]


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.fixture(scope="module")
def photograph():
    return Image.fromarray(load_photographs(data_root())["cat"])


def exact(path, expected, size=SIDE):
    got = decode(path, size)
    assert got.dtype == np.uint8
    expected = np.broadcast_to(np.atleast_3d(expected), (size, size, 3))
    assert np.array_equal(got.transpose(1, 2, 0), expected)


@pytest.mark.parametrize("extension", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_formats_keep_every_pixel(tmp_path, extension):
    options = {"lossless": True} if extension == "webp" else {}
    exact(saved(tmp_path / f"a.{extension}", Image.fromarray(NOISE), **options), NOISE)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("name", ["a.avif", "a.jpg"])
def test_avif_is_read_also_under_another_ending(tmp_path, name):
    color = np.broadcast_to(np.array([200, 100, 40], np.uint8), (SIDE, SIDE, 3))
    Image.fromarray(color).save(tmp_path / name, "AVIF")
    assert np.abs(decode(tmp_path / name, SIDE).transpose(1, 2, 0).astype(int) - color).max() <= 4
    assert ".avif" in extensions()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heic_of_a_phone_is_read_upright(tmp_path, photograph, orientation):
    """As a JPEG of the same orientation; Pillow decodes JPEG, libheif HEIC."""
    heif = pytest.importorskip("pillow_heif")
    assert ".heic" in extensions()
    heif.register_heif_opener()  # to save one
    exif = Image.Exif()
    exif[0x0112] = orientation
    files = [saved(tmp_path / f"a.{ending}", photograph, exif=exif.tobytes(), quality=95) for ending in ("heic", "jpg")]
    heic, jpeg = (decode(file, 64).astype(float) for file in files)
    assert abs(heic - jpeg).mean() < 3


def test_gray_and_black_and_white(tmp_path):
    exact(saved(tmp_path / "gray.png", Image.fromarray(GRAY)), GRAY)
    exact(saved(tmp_path / "bits.png", Image.fromarray(GRAY > 127)), np.where(GRAY > 127, 255, 0).astype(np.uint8))


def test_palette(tmp_path):
    image = Image.fromarray(GRAY % 5, "P")
    palette = [10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200, 255, 255, 255]
    image.putpalette(palette)
    exact(saved(tmp_path / "a.png", image), np.array(palette, dtype=np.uint8).reshape(5, 3)[GRAY % 5])


def over_white(color, alpha):
    alpha = alpha[:, :, None] / 255
    return color * alpha + 255 * (1 - alpha)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(tmp_path, mode):
    color, alpha = (NOISE, NOISE[:, :, 1]) if mode == "RGBA" else (np.atleast_3d(GRAY), NOISE[:, :, 1])
    image = Image.fromarray(np.concatenate([color, alpha[:, :, None]], axis=2), mode)
    got = decode(saved(tmp_path / "a.png", image), SIDE).transpose(1, 2, 0)
    assert np.abs(got - over_white(color, alpha)).max() <= 1


@pytest.mark.parametrize(("mode", "pixel", "clear"), [("P", 2, 2), ("L", 77, 77), ("RGB", (9, 8, 7), (9, 8, 7))])
def test_a_transparent_color_is_white(tmp_path, mode, pixel, clear):
    image = Image.new(mode, (SIDE, SIDE), pixel)
    if mode == "P":
        image.putpalette([0, 0, 0, 50, 50, 50, 90, 0, 0])
    image.putpixel((3, 4), 1 if mode != "RGB" else (50, 50, 50))
    got = decode(saved(tmp_path / "a.png", image, transparency=clear), SIDE).copy()
    assert got[:, 4, 3].tolist() == ([1, 1, 1] if mode == "L" else [50, 50, 50])
    got[:, 4, 3] = 255
    assert (got == 255).all()


def test_transparent_gif_shows_its_first_frame_over_white(tmp_path):
    first, second = Image.new("P", (SIDE, SIDE), 1), Image.new("P", (SIDE, SIDE), 2)
    for frame in (first, second):
        frame.putpalette([0, 0, 0, 200, 10, 20, 0, 0, 250])
    first.paste(0, (0, 0, 5, SIDE))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], transparency=0, duration=50)
    expected = np.full((SIDE, SIDE, 3), (200, 10, 20), dtype=np.uint8)
    expected[:, :5] = 255
    exact(tmp_path / "a.gif", expected)


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, extension):
    values = GENERATOR.integers(0, 65536, (SIDE, SIDE)).astype(np.uint16)
    path = tmp_path / f"a.{extension}"
    if extension == "pgm":
        path.write_bytes(f"P5 {SIDE} {SIDE} 65535\n".encode() + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    exact(path, np.rint(values / 257).astype(np.uint8))


def test_sixteen_bits_are_not_stretched(tmp_path):
    values = np.full((SIDE, SIDE), 257 * 3, dtype=np.uint16)
    exact(saved(tmp_path / "dark.png", Image.fromarray(values)), np.full((SIDE, SIDE), 3, dtype=np.uint8))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (GRAY.astype(np.int32), GRAY),
        (GRAY.astype(np.float32), GRAY),
        (GRAY.astype(np.float32) / 255, GRAY),
        (GRAY.astype(np.int32) * 1000 - 5, (GRAY - GRAY.min()) * (255 / (int(GRAY.max()) - int(GRAY.min())))),
        (GRAY.astype(np.float32) - 128, (GRAY - GRAY.min()) * (255 / (int(GRAY.max()) - int(GRAY.min())))),
        (np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE))),
        (np.full((SIDE, SIDE), 10**6, np.int32), np.zeros((SIDE, SIDE))),
    ],
)
def test_wide_gray(tmp_path, values, expected):
    exact(saved(tmp_path / "a.tif", Image.fromarray(values)), np.rint(expected).astype(np.uint8))


@pytest.mark.parametrize("color", [(250, 20, 30), (20, 30, 250), (255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize(("mode", "extension"), [("CMYK", "jpg"), ("CMYK", "tif"), ("YCbCr", "jpg"), ("RGB", "jpg")])
def test_cmyk_and_ycbcr_are_converted_to_rgb(tmp_path, color, mode, extension):
    image = Image.new("RGB", (SIDE, SIDE), color).convert(mode)
    got = decode(saved(tmp_path / f"a.{extension}", image), SIDE)
    assert np.abs(got.astype(int) - np.array(color).reshape(3, 1, 1)).max() <= 4


# How a file stores the image `upright`, by EXIF orientation (EXIF 2.3, tag 0x0112).
STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("extension", ["png", "webp", "tif"])
def test_exif_orientation_is_applied(tmp_path, orientation, extension):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](NOISE)))
    options = {"lossless": True} if extension == "webp" else {}
    exact(saved(tmp_path / f"a.{extension}", image, exif=exif, **options), NOISE)


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_of_a_reduced_jpeg(tmp_path, orientation):
    upright = np.zeros((300, 200, 3), dtype=np.uint8)
    upright[50:150, :100] = (250, 0, 0)  # within the central square: its top left quarter
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    got = decode(saved(tmp_path / "a.jpg", image, exif=exif), 20).astype(int)
    assert (got[0, 1:9, 1:9] > 200).all()
    assert (got[0, 11:] < 50).all()
    assert (got[0, :, 11:] < 50).all()


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact(saved(tmp_path / "a.png", Image.fromarray(NOISE), exif=exif), NOISE)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # decode_all suppresses it
def test_damaged_exif_is_ignored(tmp_path):
    exact(saved(tmp_path / "a.png", Image.fromarray(NOISE), exif=b"Exif\0\0II*\0\xff\xff\xff\x00"), NOISE)


def smooth(height, width):
    """A color image without detail finer than about 20 pixels, so that every good resampling agrees on it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 17), np.cos(y / 23), np.sin((x + y) / 29)]
    return np.stack([np.rint(127 + 100 * wave) for wave in waves], axis=2).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(150, 200), (200, 151), (97, 300), (40, 60)])
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_shorter_side_to_size_then_central_crop(tmp_path, height, width, extension):
    size, image = 48, Image.fromarray(smooth(height, width))
    path = saved(
        tmp_path / f"a.{extension}", image, **({"quality": 98, "subsampling": 0} if extension == "jpg" else {})
    )
    scale = size / min(height, width)
    small = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    left, top = (small.width - size) // 2, (small.height - size) // 2
    expected = np.asarray(small.crop((left, top, left + size, top + size))).astype(int)
    difference = np.abs(decode(path, size).transpose(1, 2, 0) - expected)
    assert difference.mean() < 2.5
    assert difference.max() < 16


@pytest.mark.parametrize("shape", [(96, 96), (96, 192), (288, 96), (24, 48)])
def test_one_resampling_equals_resizing_and_cropping(tmp_path, shape):
    image = Image.fromarray(GENERATOR.integers(0, 256, (*shape, 3), dtype=np.uint8))
    width, height = image.width * 48 // min(shape), image.height * 48 // min(shape)
    left, top = (width - 48) // 2, (height - 48) // 2
    expected = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + 48, top + 48))
    exact(saved(tmp_path / "a.png", image), np.asarray(expected), 48)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_shrinking_is_antialiased(tmp_path, extension):
    board = np.indices((640, 640)).sum(0) % 2 * 255  # single-pixel checks: gray from afar, aliases if sampled
    got = decode(saved(tmp_path / f"a.{extension}", Image.fromarray(board.astype(np.uint8))), 60).astype(int)
    assert np.abs(got - 127.5).max() < 8


def test_one_pixel_and_extreme_shapes(tmp_path):
    exact(
        saved(tmp_path / "dot.png", Image.new("RGB", (1, 1), (1, 2, 3))), np.full((SIDE, SIDE, 3), (1, 2, 3), np.uint8)
    )
    line = np.zeros((1, 999), dtype=np.uint8)
    line[0, 498:501] = 200  # the central pixel, and the two that antialiasing reads beside it
    exact(saved(tmp_path / "line.png", Image.fromarray(line)), np.full((SIDE, SIDE), 200, np.uint8))


def test_the_first_image_of_a_stereo_file_is_decoded(tmp_path):
    left, right = Image.new("RGB", (SIDE, SIDE), (200, 0, 0)), Image.new("RGB", (SIDE, SIDE), (0, 0, 200))
    left.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[right])
    assert np.abs(decode(tmp_path / "a.jpg", SIDE).astype(int) - [[[200]], [[0]], [[0]]]).max() <= 4


def bad_files(folder):
    """Write files that cannot be decoded; return the reason for each."""
    jpeg = io.BytesIO()
    Image.fromarray(smooth(200, 200)).save(jpeg, "JPEG")
    png = io.BytesIO()
    Image.fromarray(NOISE).save(png, "PNG")
    contents = {
        "half.jpg": (jpeg.getvalue()[: len(jpeg.getvalue()) // 2], "truncated"),
        "half.png": (png.getvalue()[: len(png.getvalue()) // 2], "truncated|incomplete|broken|cut"),
        "empty.png": (b"", "empty"),
        "text.jpg": (b"<html>404 Not Found</html>", "known format"),
        "postscript.jpg": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
            "known format",
        ),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    (folder / "lost.png").symlink_to(folder / "nothing.png")
    (folder / "folder.png").mkdir()
    contents["lost.png"] = contents["folder.png"] = (b"", "not a file")
    return {name: reason for name, (_, reason) in contents.items()}


def test_bad_files_give_a_reason_and_the_others_their_pixels(tmp_path):
    patterns = bad_files(tmp_path)
    good = saved(tmp_path / "good.png", Image.fromarray(NOISE))
    images, reasons = decode_all([good, *(tmp_path / name for name in patterns), good], SIDE)
    assert reasons[0] == reasons[-1] == ""
    for reason, pattern in zip(reasons[1:-1], patterns.values(), strict=True):
        assert any(word in reason for word in pattern.split("|")), reason
        assert "\n" not in reason
        assert str(tmp_path) not in reason
    assert np.array_equal(images[0].numpy().transpose(1, 2, 0), NOISE)
    assert np.array_equal(images[-1].numpy(), images[0].numpy())
    assert not images[1:-1].any()


def test_a_decompression_bomb_is_not_decoded(tmp_path, monkeypatch, recwarn):
    path = saved(tmp_path / "bomb.png", Image.new("L", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "decompression bomb" in decode_all([path], SIDE)[1][0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)  # large, but no bomb: Pillow's warning is suppressed
    assert decode_all([path], SIDE)[1] == [""]
    assert not recwarn.list


def test_infinite_values_are_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(np.full((4, 4), np.inf, np.float32)))
    assert "infinite" in decode_all([path], SIDE)[1][0]


def test_many_images_keep_their_order(tmp_path):
    count = 10 * WORKERS
    paths = [
        saved(tmp_path / f"{i}.png", Image.new("RGB", (5 + 31 * (i % 7), 9), (i, 255 - i, 0))) for i in range(count)
    ]
    images, reasons = decode_all(paths, 8)
    assert images[:, 0, 0, 0].tolist() == list(range(count))
    assert images[:, 1, 7, 7].tolist() == [255 - i for i in range(count)]
    assert not any(reasons)


def test_closing_the_iterator_cancels_the_rest(tmp_path, monkeypatch):
    begun, go = [], threading.Event()

    def slow(path, size):
        begun.append(path)
        assert path.name == "0" or go.wait(1)
        return np.zeros((3, size, size), np.uint8)

    monkeypatch.setattr(decode_module, "decode", slow)
    work = decode_into([tmp_path / str(i) for i in range(50)], np.empty((50, 3, 4, 4), np.uint8))
    assert next(work) == ""
    work.close()
    go.set()
    assert len(begun) <= 1 + 2 * WORKERS


def test_there_is_no_progress_bar_for_short_work(tmp_path, capsys):
    decode_all([saved(tmp_path / "a.png", Image.fromarray(NOISE))] * 20, SIDE)
    assert capsys.readouterr() == ("", "")


def test_extensions_are_lower_case_with_a_dot():
    assert all(extension == extension.lower() and extension.startswith(".") for extension in EXTENSIONS)


def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    """Smaller images are decoded in parallel."""
    paths = [saved(tmp_path / f"{i}.png", Image.new("RGB", (20, 20), (i, 0, 0))) for i in range(4 * WORKERS)]
    busy, most, to_rgb = [], [], decode_module.to_rgb

    def slow(image):
        busy.append(1)
        time.sleep(0.01)
        most.append(len(busy))
        busy.pop()
        return to_rgb(image)

    monkeypatch.setattr(decode_module, "to_rgb", slow)
    for large, expected in ((400, min(2, WORKERS)), (399, 1)):
        monkeypatch.setattr(decode_module, "LARGE", large)
        most.clear()
        images, reasons = decode_all(paths, 8)
        assert min(max(most), 2) == expected
        assert images[:, 0, 0, 0].tolist() == list(range(4 * WORKERS))
        assert not any(reasons)
