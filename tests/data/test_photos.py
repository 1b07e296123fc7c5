import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data import describe, load_images, photos
from codial.errors import CodialError

SKIMAGE, SKLEARN = (Path(find_spec(package).origin).parent for package in ("skimage", "sklearn"))
SOURCES = {
    "astronaut": SKIMAGE / "data/astronaut.png",
    "cat": SKIMAGE / "data/chelsea.png",
    "coffee": SKIMAGE / "data/coffee.png",
    "flower": SKLEARN / "datasets/images/flower.jpg",
    "galaxies": SKIMAGE / "data/hubble_deep_field.jpg",
    "motorcycle": SKIMAGE / "data/motorcycle_left.png",
    "pagoda": SKLEARN / "datasets/images/china.jpg",
    "tissue": SKIMAGE / "data/ihc.png",
}
SHAPES = {name: Image.open(path).size[::-1] for name, path in SOURCES.items()}
SHA256 = {
    "train": "1a1625e9b28a7fce044cdccf8a1f13c986481cff7ef175b313c58d6f421e2f29",
    "test": "75a7a591e97eee2dae2903e9aa711825415c2c79018f93a705a2269db3269b05",
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def sets(root):
    return {split: load_images("photos", split, root=root) for split in ("train", "test")}


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty data root and an empty user cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def forget_the_wheels(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda package: None)


@pytest.mark.parametrize(("split", "count"), [("train", 500), ("test", 125)])
def test_every_photograph_has_its_patches(sets, split, count):
    images = sets[split]
    assert images.images.shape == (8 * count, 3, 64, 64)
    assert images.classes == tuple(SOURCES)
    assert images.labels.bincount().tolist() == [count] * 8
    assert images.labels[:8].tolist() == list(range(8))  # they take turns, so any first few show all of them
    assert images.labelled
    assert not images.skipped


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_bytes_are_pinned(sets, split):
    assert hashlib.sha256(sets[split].images.numpy().tobytes()).hexdigest() == SHA256[split]


@pytest.mark.parametrize("split", ["train", "test"])
def test_patches_are_windows_at_two_thirds(sets, split):
    """Against the long way: every pixel twice in each direction, then the mean of three by three."""
    images = sets[split]
    for label, (name, path) in enumerate(SOURCES.items()):
        photograph = np.asarray(Image.open(path).convert("RGB"))
        patches = images.images[images.labels == label].numpy()
        for patch, (top, left) in zip(patches, photos.positions(*SHAPES[name], split), strict=True):
            twice = photograph[top : top + 96, left : left + 96].repeat(2, 0).repeat(2, 1).astype(np.float64)
            expected = np.rint(twice.reshape(64, 3, 64, 3, 3).mean((1, 3)))
            assert np.array_equal(patch.transpose(1, 2, 0), expected)


def test_shrinking_is_exact():
    """Each of nine pixels counts by its area, ninths are rounded to the nearest level."""
    window = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, 3) * 10
    exact = [[(4 * 0 + 2 * 10 + 2 * 30 + 40) / 9, (2 * 10 + 4 * 20 + 40 + 2 * 50) / 9]]
    exact += [[(2 * 30 + 40 + 4 * 60 + 2 * 70) / 9, (40 + 2 * 50 + 2 * 70 + 4 * 80) / 9]]
    assert photos.shrink(window)[0, :, :, 0].tolist() == np.rint(exact).tolist()
    for level in (0, 1, 254, 255):
        assert (photos.shrink(np.full((2, 6, 3, 3), level, dtype=np.uint8)) == level).all()


@pytest.mark.parametrize("name", SOURCES)
def test_train_and_test_share_no_pixel(name):
    covered = {}
    for split in ("train", "test"):
        covered[split] = np.zeros(SHAPES[name], dtype=bool)
        for top, left in photos.positions(*SHAPES[name], split):
            region = covered[split][top : top + 96, left : left + 96]
            assert region.shape == (96, 96)  # wholly inside the photograph
            region[:] = True
    assert not (covered["train"] & covered["test"]).any()
    assert 2 < covered["train"].sum() / covered["test"].sum() < 5
    assert (covered["train"] | covered["test"]).mean() > 0.9  # and little is left unused


@pytest.mark.parametrize("name", SOURCES)
def test_patches_never_repeat_and_show_different_things(name):
    """Windows of 96 pixels that lie well apart: at least three in every split."""
    for split in ("train", "test"):
        corners = photos.positions(*SHAPES[name], split)
        assert len({tuple(corner) for corner in corners.tolist()}) == len(corners) == photos.COUNT[split]
        apart = []
        for corner in corners:
            if all(np.abs(corner - other).max() >= 64 for other in apart):
                apart.append(corner)
        assert len(apart) >= 3


def test_positions_reach_both_ends_and_favour_none_between():
    tops = photos.positions(1000, 1000, "train")[:, 0]
    assert tops.min() < 10
    assert tops.max() > 1000 - 96 - 10
    assert np.bincount(tops // 91, minlength=10).max() <= 2 * 500 / 10


def test_a_nearest_mean_colour_tells_most_photographs_apart(sets):
    means = [images.images.float().mean((2, 3)) for images in sets.values()]  # [N, 3] each
    nearest = torch.cdist(means[1], means[0]).argmin(1)
    right = (sets["train"].labels[nearest] == sets["test"].labels).float().mean()
    assert right > 0.5  # chance is 0.125


def test_it_is_made_once_and_needs_no_wheel_afterwards(sets, root, monkeypatch):
    forget_the_wheels(monkeypatch)
    assert [path.name for path in (root / "photos").iterdir()] == ["photos.safetensors"]
    assert load_images("photos", "test", root=root).fingerprint == sets["test"].fingerprint
    assert describe("photos", root) == f"photos: present in {root / 'photos' / 'photos.safetensors'}"


def flip_a_pixel(content):
    return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]


@pytest.mark.parametrize(
    "damage", [flip_a_pixel, lambda content: content[:-1], lambda content: content[:5], lambda _: b""]
)
def test_a_damaged_file_is_made_again(sets, root, fresh, damage):
    kept = fresh / "photos" / "photos.safetensors"
    kept.parent.mkdir()
    whole = (root / "photos" / "photos.safetensors").read_bytes()
    kept.write_bytes(damage(whole))
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint
    assert kept.read_bytes() == whole


def test_another_choice_of_files_is_not_taken_for_this_one(sets, root, monkeypatch):
    changed = photos.PHOTOS[0]._replace(sha256="0" * 32)
    monkeypatch.setattr(photos, "PHOTOS", (changed, *photos.PHOTOS[1:]))
    with pytest.raises(CodialError, match=r"astronaut\.png is not the picture .*88431cd9.* expected 0000"):
        load_images("photos", root=root)


def test_a_root_that_cannot_be_written_falls_back_to_the_cache(sets, fresh, monkeypatch):
    (fresh / "photos").write_text("in the way")
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint
    assert (fresh.parent / "cache" / "codial" / "photos" / "photos.safetensors").is_file()
    forget_the_wheels(monkeypatch)
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint


def test_nowhere_to_keep_it_is_no_obstacle(sets, fresh, monkeypatch):
    (fresh / "photos").write_text("in the way")
    (fresh.parent / "cache").write_text("in the way")
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint


def test_a_root_that_does_not_exist_is_not_made(sets, fresh):
    load_images("photos", "test", root=fresh / "mistyped")
    assert not (fresh / "mistyped").exists()


def test_missing_wheels_say_how_to_get_them(fresh, monkeypatch):
    forget_the_wheels(monkeypatch)
    with pytest.raises(CodialError, match="skimage, which is not installed: pip install scikit-image scikit-learn"):
        load_images("photos", root=fresh)
    assert describe("photos", fresh) == "photos: missing; get it with `pip install scikit-image scikit-learn`"


def test_wheels_without_cache_count_as_present(fresh):
    assert describe("photos", fresh) == "photos: present in the wheels of scikit-image and scikit-learn"


def test_a_wheel_without_the_picture_is_named(fresh, monkeypatch, tmp_path):
    spec = type("Spec", (), {"origin": str(tmp_path / "skimage" / "__init__.py")})
    monkeypatch.setattr(photos, "find_spec", lambda package: spec)
    with pytest.raises(CodialError, match=r"skimage/data/astronaut\.png, which is missing"):
        load_images("photos", root=fresh)
