"""What systems are shown: the sampler's views, or what they make of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

import codial
from codial import preset, pretrain
from codial.evaluate import looks
from codial.views import plain_view


def test_views_are_shown_as_they_are_drawn(few, seed):
    config = preset("codial/photos")
    shown = looks(config, few, [3, 5], seed)
    views = codial.sample_views(few.batch([3, 5]), config.views, torch.Generator().manual_seed(seed))
    assert list(shown) == ["picture", *config.views.primary]
    torch.testing.assert_close(shown["picture"], plain_view(few.batch([3, 5]), config.views.size))
    for k, name in enumerate(config.views.primary):
        assert torch.equal(shown[name], views.images[:, k])


def test_cmc_sees_lightness_and_colours_apart(few, seed):
    config = preset("cmc/photos")
    shown = looks(config, few, [3], seed)
    view = codial.sample_views(few.batch([3]), config.views, torch.Generator().manual_seed(seed)).images[0, 0]
    expected = rgb2lab(view.permute(1, 2, 0).numpy()) / 100 + np.array([0, 0.5, 0.5])
    for i, name in enumerate(list(shown)[1:]):
        got = shown[name][0].numpy()
        assert (got == got[:1]).all(), "grey"
        np.testing.assert_allclose(got[0], expected[..., i].clip(0, 1), atol=2e-3)


def test_deepcluster_sees_edges(seed):
    pictures = torch.zeros(140, 3, 64, 64, dtype=torch.uint8)
    pictures[:, :, :, 32:] = 200  # an upright edge
    images = codial.data.ImageSet("edges", "train", pictures, torch.full((140,), -1), ())
    config = preset("deepcluster/photos")
    config = replace(config, views=replace(config.views, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0)))
    right, down = list(looks(config, images, [0], seed).values())[1:]
    assert float((right - 0.5).abs().max()) > 0.2
    assert float((down - 0.5).abs().max()) < 1e-3


@pytest.mark.parametrize("system", ["rotnet", "supervised", "random"])
def test_systems_without_pictures_of_their_own_show_their_views(system, few):
    config = preset(f"{system}/photos")
    assert list(looks(config, few, [0])) == ["picture", *config.views.primary]


def test_a_run_shows_with_its_own_weights(tiny, few, tmp_path):
    """Whatever number of pictures it was trained on."""
    config = replace(preset("cmc/photos"), train=tiny.train, model=tiny.model)
    run = pretrain(config, tmp_path / "run", images=few, progress=False)
    assert list(looks(run, few.subset(5), [0])) == list(looks(config, few, [0]))


@pytest.mark.parametrize(
    ("system", "names"),
    [
        ("globstat", ["plain", "inpainted", "turn90", "turn180", "turn270", "warp"]),
        ("knowtrans", ["view", "puzzle"]),
        ("spotartifacts", ["view", "autoencoded", "damaged", "repaired", "kept cells"]),
    ],
)
def test_systems_that_make_pictures_show_them(system, names, photos):
    shown = looks(preset(f"{system}/photos"), photos["train"], [0, 1])
    assert list(shown) == ["picture", *names]
    for picture in shown.values():
        assert picture.shape[:2] == (2, 3)
        assert 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert list(looks(preset(f"{system}/photos"), photos["train"], [0])) == ["picture", *names], "of one picture too"
