"""Gradients of every method, compared with central differences in float64 along random directions."""

import copy
from contextlib import contextmanager

import pytest
import torch
from small_methods import SMALL, small

from codial.methods import Batch, build, decouple
from codial.models import lab_alexnet
from codial.transforms import sample_views
from codial.utils.batch_generator import BatchGenerator

BATCH, IMAGES, STEP, DIRECTIONS, WARM_UP = 6, 12, 1e-7, 3, 10
STAGES = {"knowtrans": 2, "spotartifacts": 2}
TERMS = {"globstat": 3, "spotartifacts": 2}  # number of terms that are minimized


@contextmanager
def float64_only():
    """Compute in float64, even where methods convert to float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        patch.setattr(lab_alexnet, "constant", lambda values, device: torch.tensor(values, device=device))
        torch.set_default_dtype(torch.float64)
        yield
        torch.set_default_dtype(torch.float32)


@pytest.fixture
def without_loss_mean(monkeypatch):
    """Drop Decouple's loss_mean, whose target is constant, so that its gradient is no derivative."""
    monkeypatch.setattr(decouple, "mse_loss", lambda features, target: 0 * features.sum())


@pytest.mark.numbers("gradients against central differences")
@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name in SMALL for stage in range(STAGES.get(name, 1))])
@pytest.mark.usefixtures("without_loss_mean")
def test_gradients_are_those_of_central_differences(name, stage, few, seed):
    config, images = small(name), few.subset(IMAGES, seed=seed)
    indices = torch.arange(BATCH)
    views = sample_views(images.batch(indices), config.views, torch.Generator().manual_seed(seed))
    views = views._replace(images=views.images.double())

    def terms(of):
        rng = BatchGenerator(torch.Generator().manual_seed(seed), BATCH)  # the same for every call
        return of.terms(Batch(views, images.labels[indices], 0.5, rng, indices, stage))

    with float64_only():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            method = build(config, IMAGES, len(images.classes)).double()
        optimizers = method.optimizers(config.train)
        method.begin_epoch(images, 0.5, torch.Generator().manual_seed(seed), stage)
        method.train()
        for _ in range(WARM_UP):
            terms(method)  # the first batch sets the constant of a memory bank; spectral norms converge
        minimized = [term for term in optimizers if term in terms(copy.deepcopy(method))]
        assert len(minimized) == TERMS.get(name, 1)
        for term in minimized:
            parameters = [p for group in optimizers[term].param_groups for p in group["params"]]
            assert_is_gradient(gradients_of(term, terms, method, parameters), term, terms, method, parameters, seed)


def assert_is_gradient(gradients, term, terms, method, parameters, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(DIRECTIONS):
        random = unit([torch.randn(p.shape, generator=generator) for p in parameters])
        # Not orthogonal to the gradient.
        direction = unit([r + g for r, g in zip(random, unit(gradients), strict=True)])
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        ahead, behind = (value_at(step, term, terms, method, parameters, direction) for step in (STEP, -STEP))
        assert (ahead - behind) / (2 * STEP) == pytest.approx(slope, rel=2e-5, abs=1e-7), term


def unit(tensors):
    """Scale a direction to length 1."""
    length = sum(float(t.square().sum()) for t in tensors) ** 0.5
    return [t / (length or 1) for t in tensors]


def gradients_of(term, terms, method, parameters):
    """Differentiate a term of a copy, since a forward pass changes banks and batch norm statistics."""
    method, parameters = copy.deepcopy((method, parameters))
    gradients = torch.autograd.grad(terms(method)[term], parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]


def value_at(step, term, terms, method, parameters, direction):
    method, parameters = copy.deepcopy((method, parameters))
    with torch.no_grad():
        for parameter, part in zip(parameters, direction, strict=True):
            parameter.add_(part, alpha=step)
    return float(terms(method)[term].detach())
