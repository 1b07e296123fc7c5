import math
from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch import nn
from torch.nn.functional import cross_entropy

from codial import sample_views
from codial.config import PRIMARY, TURNS, RotNetOptions, override
from codial.errors import CodialError
from codial.objectives import Batch, Draws, RotNet, build

PICTURES = 6


@pytest.fixture
def config(tiny):
    return replace(tiny, objective=RotNetOptions(), views=replace(tiny.views, primary=TURNS))


@pytest.fixture
def objective(config, seed):
    torch.manual_seed(seed)
    return build(config, classes=0, pictures=24)


@pytest.fixture
def batch(config, few, generator):
    views = sample_views(few.batch(range(PICTURES)), config.views, generator)
    return Batch(views, few.labels[:PICTURES], 0.0, Draws(generator, PICTURES), torch.arange(PICTURES))


def test_it_classifies_each_view_as_its_quarter_turn(objective, batch):
    assert isinstance(objective, RotNet)
    assert objective.classifier.weight.shape == (4, objective.trunk.features)
    terms = objective.terms(batch)
    assert set(terms) == {"loss", "pretext_accuracy"}
    logits = objective.classifier(objective.trunk(batch.views.images.flatten(0, 1))).view(PICTURES, 4, 4)
    each = [cross_entropy(logits[i, turn], torch.tensor(turn)) for i in range(PICTURES) for turn in range(4)]
    torch.testing.assert_close(terms["loss"], torch.stack(each).mean())
    right = sum(int(logits[i, turn].argmax()) == turn for i in range(PICTURES) for turn in range(4))
    assert terms["pretext_accuracy"].item() == pytest.approx(right / (PICTURES * 4))


def test_guessing_costs_ln_4_and_knowing_nothing(objective, batch):
    nn.init.zeros_(objective.classifier.weight)
    nn.init.zeros_(objective.classifier.bias)
    assert objective.terms(batch)["loss"].item() == pytest.approx(math.log(4))
    objective.trunk.forward = lambda images: 50 * torch.eye(4).repeat(PICTURES, 1)
    objective.classifier = nn.Identity()
    terms = objective.terms(batch)
    assert terms["loss"] < 1e-6
    assert terms["pretext_accuracy"] == 1


def test_every_parameter_gets_a_gradient_and_steps_lower_the_loss(objective, batch):
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = objective.terms(batch)["loss"]
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        assert [name for name, p in objective.named_parameters() if p.grad is None or not p.grad.any()] == []
        optimiser.step()
    assert losses[-1] < losses[0] - 0.1


def test_a_run_resumes_to_the_same_numbers(config, few, tmp_path):
    whole = go(config, tmp_path / "whole", few)
    go(config, tmp_path / "run", few, stop=stopping_after(4))
    assert_same_run(go(config, tmp_path / "run", few), whole)


@pytest.mark.parametrize("system", ["rotnet", "decouple"])
@pytest.mark.parametrize("primary", [PRIMARY, TURNS[:2], TURNS[::-1]])
def test_other_views_than_the_four_turns_are_refused(system, primary, tiny):
    with pytest.raises(CodialError) as caught:
        override(tiny, {"objective.system": system, "views.primary": primary})
    expected = f"turn0, turn90, turn180, turn270, the four classes of {system}"
    assert str(caught.value) == f"views.primary is {primary!r}; expected {expected}."
