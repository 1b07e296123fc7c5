"""timm's models against timm's own `features_only` and classifier features."""

import sys

import pytest
import torch

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models.timm_backbone import TimmBackbone

pytestmark = pytest.mark.numbers("timm's backbones against timm")


@pytest.mark.parametrize(
    "name", ["timm:resnet10t", "timm:vit_tiny_patch16_224", "timm:mobilenetv3_small_050", "timm:convnext_atto"]
)
def test_features_equal_timms(name, generator):
    import timm

    config = ModelConfig(backbone=name, bn_eps=1e-5)
    torch.manual_seed(0)
    backbone = TimmBackbone(config, 64).eval()
    fixed = {"img_size": 64} if "vit" in name else {}
    reference, maps = (timm.create_model(backbone.name, **fixed, **options).eval() for options in (
        {"num_classes": 0}, {"features_only": True, "out_indices": range(len(backbone.map_layers))}
    ))  # fmt: skip
    reference.load_state_dict(backbone.model.state_dict())
    ours = {key.replace(".", "_"): x for key, x in backbone.model.state_dict().items()}  # timm flattens some names
    with torch.no_grad():
        for key, x in maps.state_dict().items():
            x.copy_(ours[key.removeprefix("model.").replace(".", "_")])
        images = torch.rand(2, 3, 64, 64, generator=generator)
        normalized = (images - torch.tensor(config.mean).view(3, 1, 1)) / torch.tensor(config.std).view(3, 1, 1)
        features = backbone.features(images)
        expected = [*maps(normalized), reference(normalized)]
    assert tuple(features) == backbone.layers == (*maps.feature_info.module_name(), "pool")
    for layer, value in zip(backbone.layers, expected, strict=True):
        torch.testing.assert_close(features[layer], value, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(backbone.features(images, (layer,))[layer], features[layer])
    assert backbone.feature_dim == features["pool"].shape[1]


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(CodialError, match=r"timm has no model called 'resnet181'. Did you mean resnet18 or "):
        TimmBackbone(ModelConfig(backbone="timm:resnet181"), 32)


def test_a_size_that_the_model_does_not_take_is_refused():
    with pytest.raises(CodialError, match=r"timm's densenet121 does not take images of 16 pixels .*views"):
        TimmBackbone(ModelConfig(backbone="timm:densenet121"), 16)


def test_without_timm_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(CodialError, match=r"timm is not installed: pip install timm"):
        TimmBackbone(ModelConfig(backbone="timm:resnet18"), 32)
