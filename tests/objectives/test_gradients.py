"""Every system's gradients against central differences, in float64, along random directions of its own parameters."""

import copy

import pytest
import torch
from systems import SMALL, small

from codial.models import lab
from codial.objectives import Batch, Draws, build
from codial.views import sample_views

PICTURES, SET, STEP, DIRECTIONS, WARM = 6, 12, 1e-7, 3, 10
FIXED = {"decouple": {"mean_weight": 0.0}}  # the mean to be met is held fast: no true gradient
STAGES = {"knowtrans": 2, "spotartifacts": 2}
TWO = {("spotartifacts", 0), ("spotartifacts", 1)}  # terms that are minimised; of GlobStat three


@pytest.fixture
def double(monkeypatch):
    """Lets no system round to float32 on its way to the loss."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(lab, "constant", lambda values, device: torch.tensor(values, device=device))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.numbers("gradients against central differences")
@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name in SMALL for stage in range(STAGES.get(name, 1))])
def test_gradients_are_those_of_central_differences(name, stage, few, double, seed):
    config, pictures = small(name, **FIXED.get(name, {})), few.subset(SET, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        system = build(config, len(pictures.classes), SET).double()
    optimisers = system.optimisers(config.train)
    system.begin_epoch(pictures, 0.5, torch.Generator().manual_seed(seed), stage)
    system.train()
    indices = torch.arange(PICTURES)
    views = sample_views(pictures.batch(indices), config.views, torch.Generator().manual_seed(seed))
    views = views._replace(images=views.images.double())

    def terms(of):
        draws = Draws(torch.Generator().manual_seed(seed), PICTURES)  # the same for every call
        return of.terms(Batch(views, pictures.labels[indices], 0.5, draws, indices, stage))

    for _ in range(WARM):
        terms(system)  # a constant is fixed by the first batch; spectral norms settle
    minimised = [term for term in optimisers if term in terms(copy.deepcopy(system))]
    assert len(minimised) == (2 if (name, stage) in TWO else 3 if name == "globstat" else 1)
    generator = torch.Generator().manual_seed(seed)
    for term in minimised:
        parameters = [p for group in optimisers[term].param_groups for p in group["params"]]
        gradients = gradients_of(term, terms, system, parameters)
        for _ in range(DIRECTIONS):
            random = unit([torch.randn(p.shape, generator=generator) for p in parameters])
            direction = unit([r + g for r, g in zip(random, unit(gradients), strict=True)])  # not across the slope
            slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
            ahead, behind = (value_at(step, term, terms, system, parameters, direction) for step in (STEP, -STEP))
            assert (ahead - behind) / (2 * STEP) == pytest.approx(slope, rel=2e-5, abs=1e-7), term


def unit(tensors):
    """Bring a direction to length 1."""
    length = sum(float(t.square().sum()) for t in tensors) ** 0.5
    return [t / (length or 1) for t in tensors]


def gradients_of(term, terms, system, parameters):
    """Differentiate a term of a copy, for a step moves banks and batch norm's statistics."""
    system, parameters = copy.deepcopy((system, parameters))
    found = torch.autograd.grad(terms(system)[term], parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def value_at(step, term, terms, system, parameters, direction):
    system, parameters = copy.deepcopy((system, parameters))
    with torch.no_grad():
        for parameter, part in zip(parameters, direction, strict=True):
            parameter.add_(part, alpha=step)
    return float(terms(system)[term].detach())
