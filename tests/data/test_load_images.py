import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from codial.data import SETS, ImageSet, PictureFiles, data_root, describe, load_images
from codial.data.listed import MEMORY_LIMIT
from codial.errors import CodialError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A current folder, a home and an environment without any data."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CODIAL_DATA", raising=False)
    return tmp_path


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), (40, 50, 60)).save(path)


@pytest.mark.parametrize(("name", "guess"), [("cifar", "cifar10"), ("CIFAR10", "cifar10"), ("photo", "photos")])
def test_an_unknown_name_gets_the_closest_and_the_list(name, guess):
    with pytest.raises(CodialError) as caught:
        load_images(name)
    assert str(caught.value) == (
        f"No set or folder {name!r}. Did you mean {guess!r}? Expected one of: {', '.join(SETS)}."
        " Or the path of a folder of pictures."
    )
    with pytest.raises(CodialError, match=f"No set '{name}'. Did you mean '{guess}'"):
        describe(name)


@pytest.mark.parametrize("source", ["", "qqqq"])
def test_a_name_like_no_other_gets_no_guess(source):
    with pytest.raises(CodialError, match=rf"^No set or folder '\w*'\. Expected one of: {', '.join(SETS)}\."):
        load_images(source)


@pytest.mark.parametrize("source", ["./photos", "some/where", Path("photos"), "/no/such/photos"])
def test_a_path_is_a_folder_even_where_its_name_is_a_sets(source):
    with pytest.raises(CodialError, match="does not exist; expected a folder of pictures"):
        load_images(source)


@pytest.mark.parametrize("source", [None, 5, ["photos"]])
def test_a_source_that_is_no_text(source):
    with pytest.raises(
        CodialError, match=r"source is .*; expected one of photos, cifar10, .*, or the path of a folder"
    ):
        load_images(source)


def test_a_folder_in_the_current_one_needs_no_path():
    picture(Path("mine/a/1.png"))
    assert load_images("mine", "all").classes == ("a",)


def test_the_tilde_is_the_home(nowhere):
    picture(nowhere / "home" / "pictures" / "a" / "1.png")
    assert load_images("~/pictures", "all").classes == ("a",)


@pytest.mark.parametrize("name", ["photos", "cifar10"])
@pytest.mark.parametrize(("split", "guess"), [("tset", "Did you mean 'test'? "), ("val", ""), (None, "")])
def test_a_split_that_a_set_does_not_have(name, split, guess):
    with pytest.raises(CodialError) as caught:
        load_images(name, split)
    assert str(caught.value) == f"No split of {name} {split!r}. {guess}Expected one of: train, test."


@pytest.mark.parametrize(
    ("numbers", "said"),
    [({"limit": 0}, "limit is 0"), ({"limit": 2.0}, "limit is 2.0"), ({"limit": 3, "seed": -1}, "seed is -1")],
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(numbers, said):
    for source in (*SETS, "missing"):
        with pytest.raises(CodialError, match=f"{said}; expected a whole number"):
            load_images(source, **numbers)


@pytest.mark.parametrize("keep", ["disk", "Files", None, True])
def test_a_way_to_keep_pictures_that_there_is_not(keep):
    for source in (*SETS, "missing"):
        with pytest.raises(CodialError, match=r"keep is .*; expected one of: auto, memory, files\."):
            load_images(source, keep=keep)


def test_a_folder_stays_on_disk_when_it_would_take_more_than_the_limit(monkeypatch):
    picture(Path("mine/a/1.png"))
    picture(Path("mine/b/1.png"))
    assert 1e9 < MEMORY_LIMIT < 1e10
    monkeypatch.setattr("codial.data.listed.MEMORY_LIMIT", 2 * 3 * 50 * 50)  # bytes: two pictures of 50 x 50 fit
    assert isinstance(load_images("mine", "all", size=50), ImageSet)
    assert isinstance(load_images("mine", "all", size=51), PictureFiles)
    assert isinstance(load_images("mine", "all", size=51, limit=1), ImageSet)
    assert isinstance(load_images("mine", "all", size=51, keep="memory"), ImageSet)
    assert isinstance(load_images("mine", "all", size=8, keep="files"), PictureFiles)


def test_a_named_set_is_in_memory(monkeypatch):
    monkeypatch.setattr("codial.data.listed.MEMORY_LIMIT", 1)
    for keep in ("auto", "memory"):
        assert isinstance(load_images("photos", "test", keep=keep), ImageSet)
    with pytest.raises(CodialError, match=r"photos is read whole; leave keep out"):
        load_images("photos", keep="files")


def test_size_of_a_named_set():
    assert load_images("photos", "test", size=64, limit=16).images.shape == (16, 3, 64, 64)
    with pytest.raises(CodialError, match="photos is 64 pixels a side, not 96"):
        load_images("photos", size=96)


def test_limit_of_a_named_set_is_its_subset():
    whole, part = load_images("photos", "test"), load_images("photos", "test", limit=40, seed=9)
    assert part.labels.bincount().tolist() == [5] * 8
    assert part.fingerprint == whole.subset(40, 9).fingerprint
    assert load_images("photos", "test", download=True).fingerprint == whole.fingerprint  # nothing to download


def test_root_is_the_argument_then_the_variable_then_the_project(nowhere, monkeypatch):
    assert data_root() == PROJECT / "data"
    monkeypatch.setenv("CODIAL_DATA", str(nowhere / "variable"))
    assert data_root() == nowhere / "variable"
    assert data_root(nowhere / "argument") == nowhere / "argument"
    assert data_root("~/argument") == nowhere / "home" / "argument"
    monkeypatch.setenv("CODIAL_DATA", "")
    assert data_root() == PROJECT / "data"


def test_root_of_an_installed_package_is_data_in_the_current_folder(nowhere, monkeypatch):
    monkeypatch.setattr(
        "codial.data.registry.__file__", str(nowhere / "site-packages" / "codial" / "data" / "registry.py")
    )
    assert data_root() == Path.cwd() / "data"


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_described_in_one_line(name, nowhere):
    line = describe(name, nowhere)
    assert line.startswith(f"{name}: ")
    assert "\n" not in line


def test_reading_imports_nothing_heavy(nowhere):
    code = (
        "import sys; from codial.data import load_images; load_images('photos', 'test', root='.');"
        "heavy = 'torchvision', 'skimage', 'sklearn', 'scipy', 'matplotlib', 'IPython';"
        "print([name for name in heavy if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(PROJECT)})
    assert (run.stdout, run.stderr) == ("[]\n", "")
