"""Batch norm statistics and weights before fine-tuning."""

import torch

from codial.config import ModelConfig
from codial.evaluate.transfer.rescaling import rescale_layers
from codial.models import AlexNet


def test_rescaling_gives_variance_one_and_keeps_the_function():
    torch.manual_seed(2)
    backbone, images = AlexNet(ModelConfig(width=0.1, bn_momentum=1.0), 32), torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        wanted = [backbone.train()(images), backbone.eval()(images)][1]  # the batch's own statistics
    rescale_layers(backbone, [lambda: backbone(images)])
    assert not backbone.training
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), wanted, atol=1e-4, rtol=1e-3)
        before = []
        for name in ("conv1", "conv3", "conv5"):
            getattr(backbone, name).norm.register_forward_pre_hook(lambda _, given: before.append(given[0]))
        for name in ("fc6", "fc7"):
            getattr(backbone, name)[1].register_forward_pre_hook(lambda _, given: before.append(given[0]))
        backbone(images)
    assert len(before) == 5
    for x in before:
        var = x.transpose(0, 1).flatten(1).var(1)
        assert float(var.max()) < 1.1  # eps changes it slightly
    norms = [m for m in backbone.modules() if hasattr(m, "running_var")]
    assert len(norms) == 7
    assert all(norm.momentum == 1.0 for norm in norms)


def test_rescaling_removes_the_scale_of_weights():
    torch.manual_seed(2)
    small = AlexNet(ModelConfig(width=0.1, bn_eps=1e-12), 32)
    large = AlexNet(ModelConfig(width=0.1, bn_eps=1e-12), 32)
    large.load_state_dict(small.state_dict())
    large.conv3.conv.weight.data *= 50
    large.fc6[0].weight.data *= 9
    images = torch.rand(16, 3, 32, 32)
    for backbone in (small, large):
        rescale_layers(backbone, [lambda backbone=backbone: backbone(images)])
    for a, b in zip(small.state_dict().values(), large.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
