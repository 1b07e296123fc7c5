import pytest
import torch
from torch.nn.functional import softplus

from codial.losses import StochasticHead, to_gaussian


def test_the_first_half_is_the_mean_and_the_second_the_std():
    raw = torch.tensor([[1.0, -2.0, 0.0, 3.0]])
    mu, sigma = to_gaussian(raw)
    assert mu.tolist() == [[1.0, -2.0]]
    torch.testing.assert_close(sigma, softplus(torch.tensor([[0.0, 3.0]])) + 1e-7)


@pytest.mark.parametrize("value", [-1e4, -200.0, -20.0, 0.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sigma_is_positive_and_float32(value, dtype):
    mu, sigma = to_gaussian(torch.full((2, 3, 8), value, dtype=dtype))
    assert mu.dtype == sigma.dtype == torch.float32
    assert mu.shape == sigma.shape == (2, 3, 4)
    assert (sigma > 0).all()
    assert torch.isfinite(sigma.log()).all()


def test_the_head_is_one_linear_layer(generator):
    head, features = StochasticHead(12, 5), torch.randn(3, 12, generator=generator)
    mu, sigma = head(features)
    raw = features @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(mu, raw[:, :5])
    torch.testing.assert_close(sigma, softplus(raw[:, 5:]) + 1e-7)
    assert sum(p.numel() for p in StochasticHead(4096, 64).parameters()) == 4096 * 128 + 128


@pytest.mark.parametrize("bottleneck", [True, False])
def test_an_mlp_has_a_hidden_layer_with_batch_norm(bottleneck, generator):
    head, features = StochasticHead(12, 5, "mlp", bottleneck), torch.randn(8, 12, generator=generator)
    mu, sigma = head(features)
    linear, norm, _ = head.hidden
    hidden = linear(features)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + norm.eps).sqrt()
    raw = head.linear(hidden.clamp_min(0))
    torch.testing.assert_close(mu, raw[:, :5])
    assert mu.shape == (8, 5)
    assert (sigma is not None) == bottleneck
