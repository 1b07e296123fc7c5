import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from codial.data import catalog, describe, load_images
from codial.data.datasets import photos
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


def hide_the_packages(monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda package: None)
    monkeypatch.setattr(catalog, "find_spec", lambda package: None)


@pytest.mark.parametrize(("split", "count"), [("train", 500), ("test", 125)])
def test_number_and_labels_of_patches(sets, split, count):
    images = sets[split]
    assert images.images.shape == (8 * count, 3, 64, 64)
    assert images.classes == tuple(SOURCES)
    assert images.labels.bincount().tolist() == [count] * 8
    assert images.labels[:8].tolist() == list(range(8))  # cycling, so that the first few are of all
    assert images.labeled
    assert not images.skipped


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_pixels_are_pinned(sets, split):
    assert hashlib.sha256(sets[split].images.numpy().tobytes()).hexdigest() == SHA256[split]


@pytest.mark.parametrize("split", ["train", "test"])
def test_patches_are_windows_at_two_thirds(sets, split):
    """Compared with repeating each pixel 2 x 2, then averaging 3 x 3."""
    images = sets[split]
    for label, (name, path) in enumerate(SOURCES.items()):
        photograph = np.asarray(Image.open(path).convert("RGB"))
        patches = images.images[images.labels == label].numpy()
        for patch, (top, left) in zip(patches, photos.positions(*SHAPES[name], split), strict=True):
            twice = photograph[top : top + 96, left : left + 96].repeat(2, 0).repeat(2, 1).astype(np.float64)
            expected = np.rint(twice.reshape(64, 3, 64, 3, 3).mean((1, 3)))
            assert np.array_equal(patch.transpose(1, 2, 0), expected)


def test_shrinking_is_exact():
    """Each of nine pixels is weighted by its area, and the mean is rounded to the nearest value."""
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
            assert region.shape == (96, 96)  # inside the photograph
            region[:] = True
    assert not (covered["train"] & covered["test"]).any()
    assert 2 < covered["train"].sum() / covered["test"].sum() < 5
    assert (covered["train"] | covered["test"]).mean() > 0.9  # most of the photograph is used


@pytest.mark.parametrize("name", SOURCES)
def test_patches_are_distinct_and_far_apart(name):
    """At least three windows of every split hardly overlap."""
    for split in ("train", "test"):
        corners = photos.positions(*SHAPES[name], split)
        assert len({tuple(corner) for corner in corners.tolist()}) == len(corners) == photos.COUNT[split]
        apart = []
        for corner in corners:
            if all(np.abs(corner - other).max() >= 64 for other in apart):
                apart.append(corner)
        assert len(apart) >= 3


def test_positions_are_spread_evenly():
    tops = photos.positions(1000, 1000, "train")[:, 0]
    assert tops.min() < 10
    assert tops.max() > 1000 - 96 - 10
    assert np.bincount(tops // 91, minlength=10).max() <= 2 * 500 / 10


def test_mean_colors_distinguish_most_photographs(sets):
    means = [images.images.float().mean((2, 3)) for images in sets.values()]  # [N, 3] each
    nearest = torch.cdist(means[1], means[0]).argmin(1)
    accuracy = (sets["train"].labels[nearest] == sets["test"].labels).float().mean()
    assert accuracy > 0.5  # chance is 0.125


def test_decoded_photographs_are_cached(sets, root, monkeypatch):
    hide_the_packages(monkeypatch)
    assert [path.name for path in (root / "photos").iterdir()] == ["photos.safetensors"]
    assert load_images("photos", "test", root=root).fingerprint == sets["test"].fingerprint
    assert describe("photos", root) == f"photos: present in {root / 'photos' / 'photos.safetensors'}"


def flip_a_pixel(content):
    return content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:]


@pytest.mark.parametrize(
    "damage", [flip_a_pixel, lambda content: content[:-1], lambda content: content[:5], lambda _: b""]
)
def test_a_damaged_cache_is_replaced(sets, root, fresh, damage):
    cache = fresh / "photos" / "photos.safetensors"
    cache.parent.mkdir()
    content = (root / "photos" / "photos.safetensors").read_bytes()
    cache.write_bytes(damage(content))
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint
    assert cache.read_bytes() == content


def test_a_cache_of_other_files_is_not_used(sets, root, monkeypatch):
    changed = photos.PHOTOS[0]._replace(sha256="0" * 32)
    monkeypatch.setattr(photos, "PHOTOS", (changed, *photos.PHOTOS[1:]))
    with pytest.raises(CodialError, match=r"astronaut\.png differs from the image .*88431cd9.* expected 0000"):
        load_images("photos", root=root)


def test_a_root_that_cannot_be_written_falls_back_to_the_cache(sets, fresh, monkeypatch):
    (fresh / "photos").write_text("in the way")
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint
    assert (fresh.parent / "cache" / "codial" / "photos" / "photos.safetensors").is_file()
    hide_the_packages(monkeypatch)
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint


def test_without_a_writable_cache_it_is_decoded_again(sets, fresh, monkeypatch):
    (fresh / "photos").write_text("in the way")
    (fresh.parent / "cache").write_text("in the way")
    assert load_images("photos", "test", root=fresh).fingerprint == sets["test"].fingerprint


def test_a_root_that_does_not_exist_is_not_created(sets, fresh):
    load_images("photos", "test", root=fresh / "mistyped")
    assert not (fresh / "mistyped").exists()


def test_missing_packages_are_named(fresh, monkeypatch):
    hide_the_packages(monkeypatch)
    with pytest.raises(CodialError, match="skimage, which is not installed: pip install scikit-image scikit-learn"):
        load_images("photos", root=fresh)
    assert describe("photos", fresh) == "photos: missing; get it with `pip install scikit-image scikit-learn`"


def test_installed_packages_count_as_present(fresh):
    assert describe("photos", fresh) == "photos: present in the packages scikit-image and scikit-learn"


def test_a_package_without_the_image_is_named(fresh, monkeypatch, tmp_path):
    spec = type("Spec", (), {"origin": str(tmp_path / "skimage" / "__init__.py")})
    monkeypatch.setattr(photos, "find_spec", lambda package: spec)
    with pytest.raises(CodialError, match=r"skimage/data/astronaut\.png, which is missing"):
        load_images("photos", root=fresh)
