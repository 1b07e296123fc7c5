"""Presets for a folder of one's own images have the views of the recipe, whatever the number of images."""

import pytest

import codial
from codial.config import RECIPES
from codial.config.registry import method_names
from codial.data.folders.layout import ImageFile
from codial.errors import CodialError
from codial.methods import own_images, preset_for_folder
from codial.methods.own_images import can_be_probed, has_held_out, is_own_folder


@pytest.fixture
def folder(tmp_path):
    """Return a function that makes a folder of empty files, which are counted but not decoded."""

    def make(*names):
        for name in names:
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "mine"

    return make


@pytest.fixture
def of_size(folder, monkeypatch):
    """Return a function that makes a folder which seems to have a number of images."""

    def make(count):
        monkeypatch.setattr(own_images, "list_images", lambda _: [ImageFile("a.png", "train", None)] * count)
        return folder("a.png")

    return make


def views(config, images):
    """Return the number of views of a run as the training loop counts them: full batches only."""
    batch = min(config.train.batch, images)
    return config.train.epochs * (images // batch) * batch * len(config.views.primary)


def test_recipes_know_the_size_of_their_data_sets():
    assert RECIPES["photos"].images == len(codial.load_images("photos"))
    limits = {name: (recipe.images, recipe.data.limit) for name, recipe in RECIPES.items()}
    assert limits["short"] == limits["cifar10"] == (10_000, 10_000)
    assert limits["brief"] == limits["recommended"] == limits["paper"] == (50_000, None)


@pytest.mark.parametrize("recipe", ["photos", "cifar10"])
@pytest.mark.parametrize("method", method_names())
def test_as_many_images_as_the_recipe_has_change_nothing(method, recipe, of_size):
    plain = codial.preset(f"{method}/{recipe}")
    own = preset_for_folder(of_size(RECIPES[recipe].images), f"{method}/{recipe}")
    assert own.train == plain.train
    assert (own.method, own.views, own.model) == (plain.method, plain.views, plain.model)


@pytest.mark.parametrize("count", [2, 10, 31, 60, 500, 3000, 10_000, 24_000])
def test_other_sizes_have_the_same_number_of_views(count, of_size):
    config = preset_for_folder(of_size(count))
    one_epoch = views(config, count) / config.train.epochs
    assert abs(views(config, count) - 6 * 4000 * 5) <= one_epoch / 2
    checks = [config.train.epochs / every for every in (config.train.monitor_every, config.train.checkpoint_every)]
    assert all(1 <= number < 12 for number in checks)  # 6 on the recipe's own data set


def test_more_images_have_fewer_epochs_but_all_are_seen(of_size):
    epochs = [preset_for_folder(of_size(count)).train.epochs for count in (10, 60, 600, 6000, 24_000, 100_000)]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[0] == 2400
    assert epochs[-2:] == [1, 1]
    assert preset_for_folder(of_size(100_000), "codial/cifar10").data.limit is None


def test_what_the_user_sets_counts(of_size):
    folder = of_size(60)
    config = preset_for_folder(folder, changes={"train.epochs": "50", "data.limit": "20", "train.checkpoint_every": 3})
    assert (config.train.epochs, config.data.limit, config.train.checkpoint_every) == (50, 20, 3)
    assert config.train.monitor_every == 8
    limited = preset_for_folder(folder, changes={"data.limit": 20})
    assert limited.train.epochs == preset_for_folder(of_size(20)).train.epochs
    fewer_views = preset_for_folder(of_size(320), changes={"views.primary": "rot0,rot90", "method.pairs": 1})
    assert fewer_views.train.epochs == pytest.approx(2.5 * preset_for_folder(of_size(320)).train.epochs, rel=0.02)
    assert preset_for_folder(folder, changes={"train.monitor_every": 0}).train.monitor_every == 0


def test_random_weights_are_not_trained(of_size):
    assert preset_for_folder(of_size(60), "random/photos").train.epochs == 0


@pytest.mark.parametrize(
    ("names", "split", "probed"),
    [
        ([f"{n}.png" for n in range(30)], "all", True),  # by hash; that they have no labels is known elsewhere
        ([f"cat/{n}.png" for n in range(20)], "all", True),
        (["train/cat/1.png", "train/dog/1.png"], "all", False),
        (["train/cat/1.png", "test/cat/2.png"], "train", True),
        (["train/cat/1.png", "val/cat/2.png"], "train", True),
    ],
)
def test_only_folders_for_splits_hold_images_out(names, split, probed, folder):
    path = folder(*names)
    config = preset_for_folder(path)
    assert (config.data.split, config.data.source, config.name) == (split, str(path), "codial/mine")
    assert has_held_out(path) == (split == "train")
    assert can_be_probed(path) == probed


def test_paths_are_absolute_and_home_is_expanded(folder, monkeypatch):
    path = folder("a.png", "b.png")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    assert {preset_for_folder(name).data.source for name in ("mine", "./mine", path)} == {str(path)}
    assert preset_for_folder("~/mine").data.source == "~/mine"  # which is the same everywhere
    assert preset_for_folder("mine#classes").data.source == f"{path}#classes"
    assert preset_for_folder("mine#classes").name == "codial/mine"


def test_names_of_data_sets_are_no_folders(folder, monkeypatch):
    path = folder("a.png")
    path.rename(path.parent / "photos")
    monkeypatch.chdir(path.parent)
    named = ("photos", "./photos", "hf:photos", "nowhere", "")
    assert [is_own_folder(name) for name in named] == [False, True, False, False, False]


def test_mistakes_raise(tmp_path, folder):
    with pytest.raises(CodialError, match="nowhere does not exist; expected a folder of images"):
        preset_for_folder(tmp_path / "nowhere")
    with pytest.raises(CodialError, match="No image in"):
        preset_for_folder(tmp_path)
    with pytest.raises(CodialError, match="There is no preset called 'x/photos'"):
        preset_for_folder(folder("a.png"), "x/photos")
    with pytest.raises(CodialError, match=r"There is no setting called 'train\.epoch'"):
        preset_for_folder(folder("a.png"), changes={"train.epoch": 5})
