import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from codial.data import SETS, ImageFiles, ImageSet, data_root, describe, load_images
from codial.data.catalog import ENTRIES
from codial.data.file_list import MEMORY_LIMIT
from codial.errors import CodialError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    """A current folder, a home and an environment without data."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CODIAL_DATA", raising=False)
    return tmp_path


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_decoded(empty_home, monkeypatch):
    """As in a container with a limit, which would kill the process."""
    folder = empty_home / "pets" / "cat"
    image(folder / "1.png")
    monkeypatch.setattr("codial.data.file_list.free_memory", lambda device: 3 * 96**2 - 1)
    monkeypatch.setattr("codial.data.file_list.decode_all", None)
    with pytest.raises(
        CodialError, match=r"take 0\.00 GiB of memory when decoded to 96 px, of which 0\.00 GiB are free"
    ):
        load_images(empty_home / "pets", "all")
    assert isinstance(load_images(empty_home / "pets", "all", storage="files"), ImageFiles)


def image(path: Path) -> None:
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), (40, 50, 60)).save(path)


@pytest.mark.parametrize(("name", "closest"), [("cifar", "cifar10"), ("CIFAR10", "cifar10"), ("photo", "photos")])
def test_an_unknown_name_gets_the_closest_and_the_list(name, closest):
    with pytest.raises(CodialError) as caught:
        load_images(name)
    assert str(caught.value) == (
        f"No data set or folder {name!r}. Did you mean {closest!r}? Expected one of: {', '.join(SETS)}."
        f" Or the path of a folder of images ({Path.cwd() / name} does not exist), or hf:NAME for a data set of Hugging"
        " Face. A data set of your own must be registered first: run its cell, pass its file by `codial --plugin FILE`,"
        " or install its package."
    )
    with pytest.raises(CodialError, match=f"No data set '{name}'. Did you mean '{closest}'"):
        describe(name)


@pytest.mark.parametrize("source", ["", "qqqq"])
def test_a_name_like_no_other_gets_no_suggestion(source):
    with pytest.raises(CodialError, match=rf"^No data set or folder '\w*'\. Expected one of: {', '.join(SETS)}\."):
        load_images(source)


@pytest.mark.parametrize("source", ["./photos", "some/where", Path("photos"), "/no/such/photos"])
def test_a_path_is_a_folder_even_if_its_name_is_that_of_a_set(source):
    with pytest.raises(CodialError, match=r"does not exist( in /.*)?; expected a folder of images"):
        load_images(source)


@pytest.mark.parametrize("source", [None, 5, ["photos"]])
def test_a_source_of_another_type_is_refused(source):
    with pytest.raises(
        CodialError, match=r"source is .*; expected one of photos, cifar10, .*, or the path of a folder"
    ):
        load_images(source)


def test_a_folder_in_the_current_one_needs_no_path():
    image(Path("mine/a/1.png"))
    assert load_images("mine", "all").classes == ("a",)


def test_the_tilde_is_the_home(empty_home):
    image(empty_home / "home" / "images" / "a" / "1.png")
    assert load_images("~/images", "all").classes == ("a",)


@pytest.mark.parametrize("name", ["photos", "cifar10"])
@pytest.mark.parametrize(("split", "suggestion"), [("tset", "Did you mean 'test'? "), ("val", ""), (None, "")])
def test_an_unknown_split_is_refused(name, split, suggestion):
    with pytest.raises(CodialError) as caught:
        load_images(name, split)
    assert str(caught.value) == f"No split of {name} {split!r}. {suggestion}Expected one of: train, test."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit is 0; expected a whole number"),
        ({"limit": 2.0}, "limit is 2.0; expected a whole number"),
        ({"limit": 3, "seed": -1}, "seed is -1; expected a whole number"),
        ({"storage": "disk"}, r"storage is 'disk'; expected one of: auto, memory, files\."),
        ({"storage": None}, r"storage is None; expected one of: auto, memory, files\."),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(options, message):
    for source in (*SETS, "missing"):
        with pytest.raises(CodialError, match=message):
            load_images(source, **options)


def test_a_folder_stays_on_disk_if_it_would_take_more_than_the_limit(monkeypatch):
    image(Path("mine/a/1.png"))
    image(Path("mine/b/1.png"))
    assert 1e9 < MEMORY_LIMIT < 1e10
    monkeypatch.setattr("codial.data.file_list.MEMORY_LIMIT", 2 * 3 * 50 * 50)  # bytes of two images of 50 x 50
    assert isinstance(load_images("mine", "all", size=50), ImageSet)
    assert isinstance(load_images("mine", "all", size=51), ImageFiles)
    assert isinstance(load_images("mine", "all", size=51, limit=1), ImageSet)
    assert isinstance(load_images("mine", "all", size=51, storage="memory"), ImageSet)
    assert isinstance(load_images("mine", "all", size=8, storage="files"), ImageFiles)


def test_a_set_of_one_size_is_read_into_memory(monkeypatch):
    monkeypatch.setattr("codial.data.file_list.MEMORY_LIMIT", 1)
    for storage in ("auto", "memory"):
        assert isinstance(load_images("photos", "test", storage=storage), ImageSet)
    with pytest.raises(CodialError, match=r"photos is always read into memory"):
        load_images("photos", storage="files")


def test_a_set_of_one_size_cannot_be_resized():
    assert load_images("photos", "test", size=64, limit=16).images.shape == (16, 3, 64, 64)
    with pytest.raises(CodialError, match="Images of photos are 64 pixels a side, not 96"):
        load_images("photos", size=96)


def test_the_limit_of_a_named_set_is_its_subset():
    complete, part = load_images("photos", "test"), load_images("photos", "test", limit=40, seed=9)
    assert part.labels.bincount().tolist() == [5] * 8
    assert part.fingerprint == complete.subset(40, 9).fingerprint
    assert load_images("photos", "test", download=True).fingerprint == complete.fingerprint  # nothing to download


def test_root_is_the_argument_then_the_variable_then_the_project(empty_home, monkeypatch):
    assert data_root() == PROJECT / "data"
    monkeypatch.setenv("CODIAL_DATA", str(empty_home / "variable"))
    assert data_root() == empty_home / "variable"
    assert data_root(empty_home / "argument") == empty_home / "argument"
    assert data_root("~/argument") == empty_home / "home" / "argument"
    monkeypatch.setenv("CODIAL_DATA", "")
    assert data_root() == PROJECT / "data"


def test_root_of_an_installed_package_is_data_in_the_current_folder(empty_home, monkeypatch):
    installed = empty_home / "site-packages" / "codial" / "data" / "registry.py"
    monkeypatch.setattr("codial.data.registry.__file__", str(installed))
    assert data_root() == Path.cwd() / "data"


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_described_in_one_line(name, empty_home):
    line = describe(name, empty_home)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line
    assert len(ENTRIES[name].title) < 100


def modules_imported_by(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(PROJECT)},
    )
    assert run.stderr == ""
    return set(run.stdout.split())


def test_listing_imports_nothing_heavy():
    code = "from codial.data import SETS, describe; [describe(name, '.') for name in SETS]"
    assert not modules_imported_by(code) & {"torch", "numpy", "PIL", "requests"}


def test_loading_photos_imports_no_optional_package():
    code = "from codial.data import load_images; load_images('photos', 'test', root='.')"
    heavy = {"torchvision", "skimage", "sklearn", "scipy", "matplotlib", "IPython"}
    assert not modules_imported_by(code) & heavy
