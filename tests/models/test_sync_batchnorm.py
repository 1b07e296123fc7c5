import pytest
import torch
from torch import nn

from codial.errors import CodialError
from codial.models import AlexNet, synchronize_batchnorm
from codial.models.resnet import ResNet18
from codial.models.sync_batchnorm import SyncBatchNorm
from codial.utils.distributed import ProcessGroup


class IdenticalProcesses(ProcessGroup):
    """Two processes with the same rows, simulated in one."""

    def mean(self, x):
        return x


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
def test_synchronized_batch_norm_is_batch_norm_over_all_rows(shape, generator):
    """Two processes with the same rows have the outputs, gradients and statistics of one with these rows twice."""
    make = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    norm = make(5, momentum=0.3)
    nn.init.normal_(norm.weight, generator=generator)
    synchronized = SyncBatchNorm(make(5, momentum=0.3), IdenticalProcesses(0, 2))
    synchronized.load_state_dict(norm.state_dict())
    twice = (2, *[1] * (len(shape) - 1))
    x = (torch.randn(shape, generator=generator) * 3 + 1).requires_grad_()
    x_twice = x.detach().repeat(twice).requires_grad_()
    weights = torch.randn(shape, generator=generator)
    out = synchronized(x)
    expected = norm(x_twice)
    torch.testing.assert_close(out, expected[:6])
    (out * weights).sum().backward()
    (expected * weights.repeat(twice)).sum().backward()
    torch.testing.assert_close(x.grad, x_twice.grad[:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(synchronized.weight.grad * 2, norm.weight.grad)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(dict(synchronized.named_buffers())[name], buffer)
    torch.testing.assert_close(synchronized.eval()(x), norm.eval()(x))


def test_every_batch_norm_is_replaced_under_the_same_name(tiny):
    backbone = AlexNet(tiny.model, 32)
    names = list(backbone.state_dict())
    synchronize_batchnorm(backbone, ProcessGroup(0, 2), torch.device("cpu"))
    assert list(backbone.state_dict()) == names
    assert sum(isinstance(m, SyncBatchNorm) for m in backbone.modules()) == 7
    assert not [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def test_a_resnets_shortcuts_and_blocks_are_replaced_too(tiny):
    backbone = ResNet18(tiny.model, 32)
    names = list(backbone.state_dict())
    synchronize_batchnorm(backbone, ProcessGroup(0, 2), torch.device("cpu"))
    assert list(backbone.state_dict()) == names
    assert sum(isinstance(m, SyncBatchNorm) for m in backbone.modules()) == 20


def test_batch_norms_that_do_more_are_refused():
    class WithActivation(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    network = nn.Sequential(nn.Conv2d(3, 4, 1), WithActivation(4))
    assert synchronize_batchnorm(network, ProcessGroup(0, 1), torch.device("cpu")) is network
    with pytest.raises(CodialError, match=r"has WithActivation, whose statistics cannot be shared by 2 processes"):
        synchronize_batchnorm(network, ProcessGroup(0, 2), torch.device("cpu"))
