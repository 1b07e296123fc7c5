"""The first run of a newcomer."""

from dataclasses import replace

import pytest
from PIL import Image

import codial
from codial.errors import CodialError
from codial.experiments.first_run import first_run
from codial.utils.paths import project_path


def write_images(folder, images):
    """Write images as PNG files."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:02}.png")


def test_the_photographs_are_trained_on_as_by_the_preset():
    first = first_run(seed=3)
    assert first.config == replace(codial.preset("codial/photos"), seed=3)
    assert first.baseline == replace(codial.preset("random/photos"), seed=3)
    assert first.folder == project_path("runs/photos/codial")
    assert (len(first.train), len(first.test), first.k) == (4000, 1000, 7)


def test_a_flat_folder_is_used_whole_for_training_and_comparison(tmp_path, few):
    write_images(tmp_path / "birds", few.images[:6])
    first = first_run(str(tmp_path / "birds"))
    assert first.config.data.split == first.baseline.data.split == "all"
    assert first.train is first.test
    assert len(first.train) == 6
    assert first.k == 5  # all others
    assert first.folder == project_path("runs/birds")
    assert first.baseline_folder == project_path("runs/birds-random")
    assert first.baseline.train.epochs == 0
    assert first.config.model == first.baseline.model


@pytest.mark.parametrize("held_out", ["test", "val"])
def test_a_folder_with_splits_is_compared_on_images_that_were_held_out(held_out, tmp_path, few):
    write_images(tmp_path / "birds" / "train" / "owl", few.images[:6])
    write_images(tmp_path / "birds" / held_out / "owl", few.images[6:10])
    first = first_run(str(tmp_path / "birds"))
    assert first.config.data.split == "train"
    assert (len(first.train), len(first.test), first.k) == (6, 4, 6)
    assert first.test.labeled


@pytest.mark.parametrize("source", ["cifar10", "/no/such/folder", ""])
def test_other_sources_are_refused(source):
    with pytest.raises(CodialError, match="expected 'photos' or an existing folder"):
        first_run(source)
