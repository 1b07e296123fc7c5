"""Presets for a folder of one's own images: all of them, for as many views as the recipe has on its own data set."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from codial.config import RECIPES, Config, TrainConfig, override
from codial.config.preset_names import split_preset
from codial.data.datasets.image_folder import list_images, split_folders
from codial.data.folders.layout import ImageFile
from codial.data.folders.source import absolute, parse_folder
from codial.data.io.hugging_face import PREFIX
from codial.data.registry import data_sets, name_of
from codial.methods.presets import preset

DEFAULT = "codial/photos"  # mild views, and a budget of one to two minutes on two CPU cores


def is_own_folder(source: str | Path) -> bool:
    """Return whether a source of images is an existing folder, and not the name of a data set."""
    named = isinstance(source, str) and (source in data_sets() or source.startswith(PREFIX))
    return not named and source != "" and parse_folder(source).path.is_dir()


def has_held_out(folder: str | Path) -> bool:
    """Return whether a folder has training images and others to measure with, each in a sub-folder for its split.

    Raises:
        CodialError: the folder does not exist or has no image.
    """
    splits = split_folders(folder)
    return "train" in splits and len(splits) > 1


def can_be_probed(folder: str | Path) -> bool:
    """Return whether a folder has training and test images, by its sub-folders or by the hash of their paths."""
    splits = {file.split for file in list_images(folder)}
    return "train" in splits and len(splits) > 1


def preset_for_folder(folder: str | Path, name: str = DEFAULT, changes: Mapping[str, Any] | None = None) -> Config:
    """Return the config of a preset for a folder of images.

    The run is trained on the training split if the folder has sub-folders for splits, otherwise on all images. A
    recipe's epochs are meant for its own data set: here their number is such that the run has as many views, so that
    fewer images are seen more often. Monitors and checkpoints remain as many as on the recipe's data set.

    Args:
        folder: the folder.
        name: METHOD[-VARIANT]/RECIPE.
        changes: settings by dotted name, as `codial.override` takes them; they are never replaced.

    Raises:
        CodialError: there is no such preset or setting, or the folder does not exist or has no image.
    """
    files, base, source = list_images(folder), preset(name), absolute(str(folder))
    own = {"name": f"{name.partition('/')[0]}/{name_of(source) or 'images'}", "data.limit": None}
    own |= {"data.split": "train" if has_held_out(folder) else "all"}
    config = override(base, own | dict(changes or {}) | {"data.source": source})
    views = base.train.epochs * _epoch_views(base, RECIPES[split_preset(name)[2]].images)
    epochs = round(views / _epoch_views(config, _count(files, config)))
    return replace(config, train=_with_epochs(config.train, base.train, max(1, epochs), set(changes or ())))


def _count(files: list[ImageFile], config: Config) -> int:
    """Return the number of images that a config uses of a folder; they are not decoded."""
    split = config.data.split
    count = sum(split in ("all", file.split) for file in files) or len(files)
    return min(count, config.data.limit or count)


def _epoch_views(config: Config, images: int) -> int:
    """Return the number of views of an epoch, whose steps all have the same number of images."""
    batch = min(config.train.batch, images)
    return images // batch * batch * len(config.views.primary)


def _with_epochs(train: TrainConfig, base: TrainConfig, epochs: int, given: set[str]) -> TrainConfig:
    """Return settings with a number of epochs, and as many monitors and checkpoints as the preset; `given` ones stay.

    Args:
        train: settings with the user's changes.
        base: settings of the preset.
        epochs: number of epochs.
        given: the settings that the user has changed.
    """
    if not base.epochs:  # random weights
        return train
    if "train.epochs" not in given:
        train = replace(train, epochs=epochs)
    factor = train.epochs / base.epochs
    every = {name: getattr(base, name) for name in ("monitor_every", "checkpoint_every")}
    scaled = {name: max(1, round(factor * value)) for name, value in every.items() if value}
    return replace(train, **{name: value for name, value in scaled.items() if f"train.{name}" not in given})
