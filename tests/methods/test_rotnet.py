import math
from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.config import ROTATIONS
from codial.methods import Batch, build
from codial.methods.rotnet import RotNet, RotNetConfig
from codial.utils.batch_generator import BatchGenerator

IMAGES = 6


@pytest.fixture
def config(tiny):
    return replace(tiny, method=RotNetConfig(), views=replace(tiny.views, primary=ROTATIONS))


@pytest.fixture
def method(config, seed):
    torch.manual_seed(seed)
    return build(config, classes=0, images=24)


@pytest.fixture
def batch(config, few, generator):
    views = sample_views(few.batch(range(IMAGES)), config.views, generator)
    return Batch(views, few.labels[:IMAGES], 0.0, BatchGenerator(generator, IMAGES), torch.arange(IMAGES))


def test_the_loss_is_the_cross_entropy_of_the_rotations(method, batch):
    assert isinstance(method, RotNet)
    assert method.classifier.weight.shape == (4, method.backbone.feature_dim)
    terms = method.terms(batch)
    assert set(terms) == {"loss", "pretext_accuracy"}
    logits = method.classifier(method.backbone(batch.views.images.flatten(0, 1))).view(IMAGES, 4, 4)
    losses = [cross_entropy(logits[i, k], torch.tensor(k)) for i in range(IMAGES) for k in range(4)]
    torch.testing.assert_close(terms["loss"], torch.stack(losses).mean())
    correct = sum(int(logits[i, k].argmax()) == k for i in range(IMAGES) for k in range(4))
    assert terms["pretext_accuracy"].item() == pytest.approx(correct / (IMAGES * 4))


def test_the_loss_is_ln_4_at_chance_and_0_for_perfect_predictions(method, batch):
    nn.init.zeros_(method.classifier.weight)
    nn.init.zeros_(method.classifier.bias)
    assert method.terms(batch)["loss"].item() == pytest.approx(math.log(4))
    method.backbone.forward = lambda images: 50 * torch.eye(4).repeat(IMAGES, 1)
    method.classifier = nn.Identity()
    terms = method.terms(batch)
    assert terms["loss"] < 1e-6
    assert terms["pretext_accuracy"] == 1


def test_every_parameter_gets_a_gradient_and_steps_lower_the_loss(method, batch):
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = method.terms(batch)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1


def test_a_run_resumes_to_the_same_numbers(config, few, tmp_path):
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(4))
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), uninterrupted)
