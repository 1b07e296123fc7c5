import math

import pytest
import torch
from small_methods import small
from torch.nn.functional import normalize

from codial import sample_views
from codial.errors import CodialError
from codial.methods import Batch, build
from codial.methods.byol import BYOLConfig
from codial.utils.batch_generator import BatchGenerator

IMAGES = 6


@pytest.fixture
def method(seed):
    torch.manual_seed(seed)
    return build(small("byol", momentum=0.9))


@pytest.fixture
def batch_at(few, seed):
    def make(progress):
        generator = torch.Generator().manual_seed(seed)
        views = sample_views(few.batch(range(IMAGES)), small("byol").views, generator)
        return Batch(views, few.labels[:IMAGES], progress, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))

    return make


def test_the_target_network_starts_as_a_copy_and_is_not_optimized(method):
    online, target = dict(method.online.named_parameters()), dict(method.target.named_parameters())
    assert online.keys() == target.keys()
    assert all(torch.equal(online[name], target[name]) for name in online)
    assert not any(p.requires_grad for p in target.values())
    (optimizer,) = method.optimizers(small("byol").train).values()
    optimized = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in method.parameters()} - {id(p) for p in target.values()}


def test_the_loss_compares_predictions_with_the_targets_of_the_other_view(method, batch_at):
    batch = batch_at(0.5)
    images = batch.views.images.flatten(0, 1)
    with torch.no_grad():
        for parameter in method.target.parameters():
            parameter.mul_(1.1)  # so that both networks differ
        predicted = normalize(method.predictor(method.projector(method.backbone(images))).double())
        target = normalize(method.target(images).double())
    # Views 2n and 2n + 1 are of the same image.
    expected = sum((predicted[k::2] - target[1 - k :: 2]).square().sum(1).mean() for k in (0, 1))
    terms = method.terms(batch)
    assert set(terms) == {"loss", "momentum", "pretext_accuracy"}
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_no_gradient_reaches_the_target_network(method, batch_at):
    method.target.requires_grad_(True)
    method.terms(batch_at(0.5))["loss"].backward()
    assert all(p.grad is None for p in method.target.parameters())
    assert all(p.grad is not None for p in method.online.parameters())


def test_after_n_steps_the_target_is_the_closed_form_of_the_exponential_average(method, batch_at):
    """With constant weights w of the online network, the target is w + (start - w) times the product of momenta."""
    start = [p.clone() for p in method.target.parameters()]
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(0.3)
    steps = (0.0, 0.25, 0.5, 0.75)
    for progress in steps:
        method.train().terms(batch_at(progress))
    product = math.prod(1 - 0.1 * (math.cos(math.pi * progress) + 1) / 2 for progress in steps)
    for average, first, parameter in zip(method.target.parameters(), start, method.online.parameters(), strict=True):
        torch.testing.assert_close(average, parameter + product * (first - parameter), rtol=1e-5, atol=1e-6)


def test_evaluation_leaves_the_target_alone(method, batch_at):
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(0.3)
    before = [p.clone() for p in method.target.parameters()]
    method.eval().terms(batch_at(0.0))
    assert all(torch.equal(a, b) for a, b in zip(before, method.target.parameters(), strict=True))


def test_the_momentum_rises_to_1_by_a_cosine():
    momenta = [BYOLConfig(momentum=0.9).momentum_at(progress) for progress in (0.0, 1 / 3, 0.5, 1.0)]
    assert momenta == pytest.approx([0.9, 0.925, 0.95, 1.0])
    assert BYOLConfig().momentum_at(0) == pytest.approx(0.996)


@pytest.mark.parametrize(("field", "value"), [("dims", 0), ("hidden", 0.0), ("momentum", 1.1), ("momentum", -0.1)])
def test_invalid_settings_are_refused(field, value):
    with pytest.raises(CodialError, match=f"method.{field} is {value}"):
        BYOLConfig(**{field: value})
