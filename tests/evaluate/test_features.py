import importlib

import pytest
import torch
from PIL import Image

import codial
from codial.config import ModelConfig
from codial.errors import CodialError
from codial.evaluate import features as whole_features
from codial.evaluate import layer_features
from codial.models import AlexNet
from codial.models.alexnet import CONV_LAYERS, LAYERS
from codial.transforms import plain_view

MODULE = importlib.import_module("codial.evaluate.features")  # `codial.evaluate.features` is the function
USUAL = {"conv1": 9600, "conv2": 9216, "conv3": 9600, "conv4": 9600, "conv5": 9216}


def assert_close(got, expected):
    """Compare with a tolerance relative to the largest activation, which is small with random weights."""
    torch.testing.assert_close(got, expected, atol=1e-4 * float(expected.abs().max()), rtol=0)


@pytest.fixture(scope="module")
def backbone(seed):
    torch.manual_seed(seed)
    return AlexNet(ModelConfig(width=0.1), 48).eval()


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_pooled_maps_have_the_usual_dimensions_at_224(resolution):
    """Those of Zhang et al. (2016), which all compared papers share: sides of 10, 6, 5, 5 and 6."""
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(resolution=resolution), 224)
    found = layer_features(
        backbone, torch.zeros(1, 3, 224, 224, dtype=torch.uint8), CONV_LAYERS, dims=9000, progress=False
    )
    assert {name: tap[0].numel() for name, tap in found.items()} == USUAL
    assert [tap.shape[-1] for tap in found.values()] == [10, 6, 5, 5, 6]


def test_small_maps_are_not_enlarged():
    """At 64 pixels only conv1 and conv2 have more than 9,000 dimensions (research/method.md, section 10)."""
    with torch.device("meta"):
        backbone = AlexNet(ModelConfig(), 64)
    found = layer_features(backbone, torch.zeros(1, 3, 64, 64, dtype=torch.uint8), LAYERS, dims=9000, progress=False)
    sizes = {name: tap[0].numel() for name, tap in found.items()}
    expected = {"conv1": 9600, "conv2": 9216, "conv3": 6144, "conv4": 6144, "conv5": 4096, "fc6": 4096, "fc7": 4096}
    assert sizes == expected


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_pooling_is_over_equal_blocks(pool, backbone, photos):
    whole = layer_features(backbone, photos["test"], ("conv1",), progress=False)["conv1"]  # [160, 8, 12, 12]
    channels = whole.shape[1]
    pooled = layer_features(backbone, photos["test"], ("conv1",), dims=channels * 16, pool=pool, progress=False)[
        "conv1"
    ]
    blocks = whole.view(160, channels, 4, 3, 4, 3)
    expected = blocks.mean((3, 5)) if pool == "avg" else blocks.amax((3, 5))
    torch.testing.assert_close(pooled, expected)


def test_features_are_those_of_the_backbone_in_evaluation_mode(backbone, photos):
    images = photos["test"].images
    with torch.no_grad():
        expected = backbone.features(plain_view(images, 48))
    backbone.train()
    found = layer_features(backbone, photos["test"], LAYERS, progress=False)
    assert not backbone.training
    for name in LAYERS:
        assert_close(found[name], expected[name])
    assert list(found) == list(LAYERS)
    assert not any(tap.requires_grad for tap in found.values())


def test_features_do_not_depend_on_batch_size(backbone, photos, monkeypatch):
    expected = layer_features(backbone, photos["test"], ("conv3", "fc7"), progress=False)
    monkeypatch.setattr(MODULE, "BATCH", 7)
    for name, tap in layer_features(backbone, photos["test"], ("conv3", "fc7"), progress=False).items():
        assert_close(tap, expected[name])


def test_images_on_disk_and_in_memory_have_equal_features(backbone, photos, tmp_path, monkeypatch):
    images = photos["test"].subset(20)
    for number, image in enumerate(images.images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:02}.png")
    monkeypatch.setattr(MODULE, "BATCH", 7)
    there = codial.load_images(tmp_path, "all", size=64, storage="files")
    monkeypatch.setattr(type(there), "batch", at_most(8, type(there).batch))
    expected = layer_features(backbone, images, ("conv3", "fc7"), mirror=True, progress=False)
    found = layer_features(backbone, there, ("conv3", "fc7"), mirror=True, progress=False)
    for name, tap in found.items():
        assert torch.equal(tap, expected[name])


def at_most(most, batch):
    """Return a method that fails if many images are decoded at once."""

    def limited(images, indices):
        assert len(indices) < most
        return batch(images, indices)

    return limited


def test_mirror_flips_images(backbone, photos):
    images = photos["test"].images
    mirrored = layer_features(backbone, images, ("conv2", "fc7"), mirror=True, progress=False)
    expected = layer_features(backbone, images.flip(-1), ("conv2", "fc7"), progress=False)
    plain = layer_features(backbone, images, ("conv2", "fc7"), progress=False)
    for name in expected:
        assert_close(mirrored[name], expected[name])
        assert (mirrored[name] - plain[name]).abs().max() > 0.05 * plain[name].max()


def test_features_are_flattened(backbone, photos):
    conv4 = layer_features(backbone, photos["test"], ("conv4",), progress=False)["conv4"]
    assert torch.equal(whole_features(backbone, photos["test"], "conv4", progress=False), conv4.flatten(1))
    assert whole_features(backbone, photos["test"], progress=False).shape == (160, backbone.feature_dim)


def test_run_and_its_backbone_have_equal_features(tiny_run, few):
    ours = codial.features(tiny_run, few, progress=False, device="cpu")
    assert torch.equal(ours, codial.features(tiny_run.backbone(), few, progress=False))


def test_unknown_layer_and_device_raise(backbone, tiny_run, few):
    with pytest.raises(CodialError, match=r"Layers are \['conv7'\]; expected some of conv1"):
        layer_features(backbone, few, ("conv7",), progress=False)
    with pytest.raises(CodialError, match=r"device is 'gpu', which is not available on this machine"):
        layer_features(tiny_run, few, ("conv1",), progress=False, device="gpu")
