"""Every system's gradients against central differences, in float64, along random directions of its own parameters."""

import copy
from dataclasses import replace

import pytest
import torch

import codial
from codial.config import ModelConfig
from codial.models import lab
from codial.objectives import Batch, Draws, build
from codial.views import sample_views

PICTURES, SET, STEP, DIRECTIONS, WARM = 6, 12, 1e-7, 3, 10
SMALL = {  # what the presets leave too large for a test
    "codial": {"z_dim": 8, "critic_hidden": 16},
    "codial-split": {"critic_hidden": 16},
    "codial-decoupled": {"z_dim": 8, "critic_hidden": 16},
    "decouple": {"dims": 8, "negatives": 8, "mean_weight": 0.0},  # the mean to be met is held fast: no true gradient
    "deepcluster": {"clusters": 4, "pca_dims": 4},
    "cmc": {"dims": 8, "negatives": 8},
    "globstat": {"width": 0.1, "patch": 0.75},
    "knowtrans": {"clusters": 4, "teacher_width": 0.1},
    "spotartifacts": {"width": 0.1},
    "rotnet": {},
    "supervised": {},
}
STAGES = {"knowtrans": 2, "spotartifacts": 2}
TWO = {("spotartifacts", 0), ("spotartifacts", 1)}  # terms that are minimised; of GlobStat three


def small(name):
    config = codial.preset(f"{name}/photos")
    views, objective = replace(config.views, size=32), replace(config.objective, **SMALL[name])
    return replace(config, views=views, model=ModelConfig(width=0.1), objective=objective)


@pytest.fixture
def double(monkeypatch):
    """Lets no system round to float32 on its way to the loss."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(lab, "constant", lambda values, device: torch.tensor(values, device=device))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "stage"), [(name, stage) for name in SMALL for stage in range(STAGES.get(name, 1))])
def test_gradients_are_those_of_central_differences(name, stage, few, double, seed):
    config, pictures = small(name), few.subset(SET, seed=seed)
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
