from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.config import SupervisedOptions
from codial.errors import CodialError
from codial.objectives import Batch, Draws, Supervised, build


@pytest.fixture
def config(tiny):
    views = replace(tiny.views, primary=("turn0", "turn90"))
    return replace(tiny, objective=SupervisedOptions(), views=views)


def test_it_classifies_each_view_as_its_picture(config, few, generator):
    objective = build(config, classes=8)
    assert isinstance(objective, Supervised)
    views = sample_views(few.batch(range(6)), config.views, generator)
    terms = objective.terms(Batch(views, few.labels[:6], 0.0, Draws(generator, 6), torch.arange(6)))
    logits = objective.classifier(objective.trunk(views.images.flatten(0, 1)))
    labels = torch.tensor([label for label in few.labels[:6].tolist() for _ in range(2)])
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    assert terms["pretext_accuracy"].item() == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert set(terms) == {"loss", "pretext_accuracy"}


def test_steps_lower_the_loss_of_a_fixed_batch(config, few, generator, seed):
    torch.manual_seed(seed)
    objective = build(config, classes=8).train()
    views = sample_views(few.batch(range(8)), config.views, generator)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = objective.terms(Batch(views, few.labels[:8], 0.0, Draws(generator, 8), torch.arange(8)))["loss"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("classes", [0, 1])
def test_without_labels_it_says_what_to_do(classes, config):
    expected = r"^Supervised learning needs pictures that all have a label.*'photos'.*Put the pictures of each class"
    with pytest.raises(CodialError, match=expected):
        build(config, classes)
