"""Statistics and weights before fine-tuning."""

import torch

from codial.config import ModelConfig
from codial.evaluate.transfer.balance import balance
from codial.models import AlexNet


def test_every_layer_has_variance_one_and_the_network_stays_as_it_was():
    torch.manual_seed(2)
    trunk, images = AlexNet(ModelConfig(width=0.1, bn_momentum=1.0), 32), torch.rand(16, 3, 32, 32)
    with torch.no_grad():
        wanted = [trunk.train()(images), trunk.eval()(images)][1]  # the batch's own statistics
    balance(trunk, [lambda: trunk(images)])
    assert not trunk.training
    with torch.no_grad():
        torch.testing.assert_close(trunk(images), wanted, atol=1e-4, rtol=1e-3)
        before = []
        for name in ("conv1", "conv3", "conv5"):
            getattr(trunk, name).norm.register_forward_pre_hook(lambda _, given: before.append(given[0]))
        for name in ("fc6", "fc7"):
            getattr(trunk, name)[1].register_forward_pre_hook(lambda _, given: before.append(given[0]))
        trunk(images)
    assert len(before) == 5
    for x in before:
        var = x.transpose(0, 1).flatten(1).var(1)
        assert float(var.max()) < 1.1  # eps takes a little of it
    norms = [m for m in trunk.modules() if hasattr(m, "running_var")]
    assert len(norms) == 7
    assert all(norm.momentum == 1.0 for norm in norms)


def test_weights_of_another_size_lead_to_the_same_beginning():
    torch.manual_seed(2)
    small = AlexNet(ModelConfig(width=0.1, bn_eps=1e-12), 32)
    large = AlexNet(ModelConfig(width=0.1, bn_eps=1e-12), 32)
    large.load_state_dict(small.state_dict())
    large.conv3.conv.weight.data *= 50
    large.fc6[0].weight.data *= 9
    images = torch.rand(16, 3, 32, 32)
    for trunk in (small, large):
        balance(trunk, [lambda trunk=trunk: trunk(images)])
    for a, b in zip(small.state_dict().values(), large.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
