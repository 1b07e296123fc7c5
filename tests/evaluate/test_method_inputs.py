"""Inputs of methods: sampled views, or images generated from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

import codial
from codial import preset, pretrain
from codial.evaluate import method_inputs
from codial.transforms import plain_view


def test_inputs_of_codial_are_its_views(few, seed):
    config = preset("codial/photos")
    shown = method_inputs(config, few, [3, 5], seed)
    views = codial.sample_views(few.batch([3, 5]), config.views, torch.Generator().manual_seed(seed))
    assert list(shown) == ["image", *config.views.primary]
    torch.testing.assert_close(shown["image"], plain_view(few.batch([3, 5]), config.views.size))
    for k, name in enumerate(config.views.primary):
        assert torch.equal(shown[name], views.images[:, k])


def test_inputs_of_cmc_are_lightness_and_colors(few, seed):
    config = preset("cmc/photos")
    shown = method_inputs(config, few, [3], seed)
    view = codial.sample_views(few.batch([3]), config.views, torch.Generator().manual_seed(seed)).images[0, 0]
    expected = rgb2lab(view.permute(1, 2, 0).numpy()) / 100 + np.array([0, 0.5, 0.5])
    for i, name in enumerate(list(shown)[1:]):
        got = shown[name][0].numpy()
        assert (got == got[:1]).all(), "gray"
        np.testing.assert_allclose(got[0], expected[..., i].clip(0, 1), atol=2e-3)


def test_inputs_of_deepcluster_are_edges(seed):
    originals = torch.zeros(140, 3, 64, 64, dtype=torch.uint8)
    originals[:, :, :, 32:] = 200  # a vertical edge
    images = codial.data.ImageSet("edges", "train", originals, torch.full((140,), -1), ())
    config = preset("deepcluster/photos")
    config = replace(config, views=replace(config.views, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0)))
    right, down = list(method_inputs(config, images, [0], seed).values())[1:]
    assert float((right - 0.5).abs().max()) > 0.2
    assert float((down - 0.5).abs().max()) < 1e-3


def test_views_of_the_same_transform_are_numbered(few, seed):
    config = preset("simclr/photos")
    shown = method_inputs(config, few, [3, 5], seed)
    views = codial.sample_views(few.batch([3, 5]), config.views, torch.Generator().manual_seed(seed))
    assert list(shown) == ["image", "rot0", "rot0 (2)"]
    assert torch.equal(shown["rot0"], views.images[:, 0])
    assert torch.equal(shown["rot0 (2)"], views.images[:, 1])


@pytest.mark.parametrize("method", ["rotnet", "supervised", "random"])
def test_inputs_default_to_views(method, few):
    config = preset(f"{method}/photos")
    assert list(method_inputs(config, few, [0])) == ["image", *config.views.primary]


def test_inputs_of_a_run_on_another_number_of_images(tiny, few, tmp_path):
    """The number of training images may differ."""
    config = replace(preset("cmc/photos"), train=tiny.train, model=tiny.model)
    run = pretrain(config, tmp_path / "run", images=few, progress=False)
    assert list(method_inputs(run, few.subset(5), [0])) == list(method_inputs(config, few, [0]))


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("globstat", ["rot0", "inpainted", "rot90", "rot180", "rot270", "warp"]),
        ("knowtrans", ["view", "puzzle"]),
        ("spotartifacts", ["view", "autoencoded", "damaged", "repaired", "kept cells"]),
    ],
)
def test_inputs_include_generated_images(method, names, photos):
    shown = method_inputs(preset(f"{method}/photos"), photos["train"], [0, 1])
    assert list(shown) == ["image", *names]
    for image in shown.values():
        assert image.shape[:2] == (2, 3)
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert list(method_inputs(preset(f"{method}/photos"), photos["train"], [0])) == ["image", *names], (
        "of one image too"
    )
