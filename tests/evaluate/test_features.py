import importlib

import pytest
import torch
from PIL import Image

import codial
from codial.config import ModelConfig
from codial.errors import CodialError
from codial.evaluate import features as whole_features
from codial.evaluate import taps
from codial.models import CONV_TAPS, TAPS, AlexNet
from codial.views import plain_view

MODULE = importlib.import_module("codial.evaluate.features")  # `codial.evaluate.features` is its function
USUAL = {"conv1": 9600, "conv2": 9216, "conv3": 9600, "conv4": 9600, "conv5": 9216}


def assert_close(got, expected):
    """Equal within a ten-thousandth of the layer's largest activation; random weights put out very small ones."""
    torch.testing.assert_close(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.fixture(scope="module")
def trunk(seed):
    torch.manual_seed(seed)
    return AlexNet(ModelConfig(width=0.1), 48).eval()


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_pooled_maps_have_the_usual_dimensions_at_224(resolution):
    """Those of Zhang et al. (2016), which all papers of the comparison share: 10, 6, 5, 5 and 6 a side."""
    with torch.device("meta"):
        trunk = AlexNet(ModelConfig(resolution=resolution), 224)
    found = taps(trunk, torch.zeros(1, 3, 224, 224, dtype=torch.uint8), CONV_TAPS, dims=9000, progress=False)
    assert {name: tap[0].numel() for name, tap in found.items()} == USUAL
    assert [tap.shape[-1] for tap in found.values()] == [10, 6, 5, 5, 6]


def test_smaller_maps_are_left_whole():
    """At 64 pixels only conv1 and conv2 have more than 9,000 numbers (research/method.md, section 10)."""
    with torch.device("meta"):
        trunk = AlexNet(ModelConfig(), 64)
    found = taps(trunk, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TAPS, dims=9000, progress=False)
    sizes = {name: tap[0].numel() for name, tap in found.items()}
    expected = {"conv1": 9600, "conv2": 9216, "conv3": 6144, "conv4": 6144, "conv5": 4096, "fc6": 4096, "fc7": 4096}
    assert sizes == expected


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_pooling_is_over_equal_blocks_where_they_fit(pool, trunk, photos):
    whole = taps(trunk, photos["test"], ("conv1",), progress=False)["conv1"]  # [160, 8, 12, 12]
    channels = whole.shape[1]
    pooled = taps(trunk, photos["test"], ("conv1",), dims=channels * 16, pool=pool, progress=False)["conv1"]
    blocks = whole.view(160, channels, 4, 3, 4, 3)
    expected = blocks.mean((3, 5)) if pool == "avg" else blocks.amax((3, 5))
    torch.testing.assert_close(pooled, expected)


def test_whole_pictures_go_through_the_trunk_in_evaluation(trunk, photos):
    pictures = photos["test"].images
    with torch.no_grad():
        expected = trunk.taps(plain_view(pictures, 48))
    trunk.train()
    found = taps(trunk, photos["test"], TAPS, progress=False)
    assert not trunk.training
    for name in TAPS:
        assert_close(found[name], expected[name])
    assert list(found) == list(TAPS)
    assert not any(tap.requires_grad for tap in found.values())


def test_batches_do_not_show(trunk, photos, monkeypatch):
    expected = taps(trunk, photos["test"], ("conv3", "fc7"), progress=False)
    monkeypatch.setattr(MODULE, "BATCH", 7)
    for name, tap in taps(trunk, photos["test"], ("conv3", "fc7"), progress=False).items():
        assert_close(tap, expected[name])


def test_pictures_on_disk_have_the_features_of_those_in_memory(trunk, photos, tmp_path, monkeypatch):
    images = photos["test"].subset(20)
    for number, picture in enumerate(images.images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:02}.png")
    monkeypatch.setattr(MODULE, "BATCH", 7)
    there = codial.load_images(tmp_path, "all", size=64, keep="files")
    monkeypatch.setattr(type(there), "batch", at_most(8, type(there).batch))
    expected = taps(trunk, images, ("conv3", "fc7"), mirror=True, progress=False)
    found = taps(trunk, there, ("conv3", "fc7"), mirror=True, progress=False)
    for name, tap in found.items():
        assert torch.equal(tap, expected[name])


def at_most(most, batch):
    """Refuse to decode many pictures at once."""

    def asked(images, indices):
        assert len(indices) < most
        return batch(images, indices)

    return asked


def test_mirrored_pictures_are_the_features_of_mirrored_pictures(trunk, photos):
    pictures = photos["test"].images
    mirrored = taps(trunk, pictures, ("conv2", "fc7"), mirror=True, progress=False)
    expected = taps(trunk, pictures.flip(-1), ("conv2", "fc7"), progress=False)
    plain = taps(trunk, pictures, ("conv2", "fc7"), progress=False)
    for name in expected:
        assert_close(mirrored[name], expected[name])
        assert (mirrored[name] - plain[name]).abs().max() > 0.05 * plain[name].max()


def test_features_are_vectors_of_one_tap(trunk, photos):
    conv4 = taps(trunk, photos["test"], ("conv4",), progress=False)["conv4"]
    assert torch.equal(whole_features(trunk, photos["test"], "conv4", progress=False), conv4.flatten(1))
    assert whole_features(trunk, photos["test"], progress=False).shape == (160, trunk.features)


def test_a_run_and_its_trunk_have_the_same_features(tiny_run, few):
    ours = codial.features(tiny_run, few, progress=False, device="cpu")
    assert torch.equal(ours, codial.features(tiny_run.trunk(), few, progress=False))


def test_an_unknown_layer_and_device_are_named(trunk, tiny_run, few):
    with pytest.raises(CodialError, match=r"Layers are \['conv7'\]; expected some of conv1"):
        taps(trunk, few, ("conv7",), progress=False)
    with pytest.raises(CodialError, match=r"device is 'gpu', which this machine does not offer"):
        taps(tiny_run, few, ("conv1",), progress=False, device="gpu")
