"""What the trainer does for a system: opponents, an order and beginnings of epochs of its own, and no more."""

from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch import nn

from codial import objectives
from codial.models import AlexNet
from codial.objectives.protocol import Objective


class Rivals(Objective):
    """A player pulls a number down and the trunk along, an opponent pulls it up by a weight of its own."""

    def __init__(self, config):
        super().__init__()
        self.trunk = AlexNet(config.model, config.views.size)
        self.player, self.opponent = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        self.register_buffer("begun", torch.zeros((), dtype=torch.int64))
        self.seen = []

    def terms(self, batch):
        self.seen.append(batch.indices.tolist())
        between = (self.player * self.opponent).sum()
        features = self.trunk(batch.views.images[:, 0]).square().mean()
        return {"loss": between + features, "loss_opponent": -3 * between, "product": between}

    def optimisers(self, train):
        ours = [self.player, *self.trunk.parameters()]
        return {
            "loss": torch.optim.SGD(ours, lr=0.1),
            "loss_opponent": torch.optim.SGD([self.opponent], lr=0.01, momentum=0.9),
        }

    def begin_epoch(self, images, progress, generator):
        assert len(images) == 24
        self.begun += 1
        self.first = int(torch.randint(24, (), generator=generator))

    def order(self, count, generator):
        return torch.randint(12, (count,), generator=generator)  # with repetition, and only half of the pictures


@pytest.fixture
def rivals(monkeypatch):
    made = []

    def build(config, classes, pictures):
        made.append(Rivals(config))
        return made[-1]

    monkeypatch.setattr(objectives, "build", build)
    return made


@pytest.fixture
def flat(tiny):
    """Learning rates that stay as the system asks for them."""
    return replace(tiny, train=replace(tiny.train, lr_end=1.0, monitor_every=0))


def test_each_optimiser_minimises_its_own_term_and_all_step_at_once(rivals, flat, few, tmp_path):
    go(flat, tmp_path / "run", few, stop=stopping_after(1))
    (made,) = rivals
    torch.testing.assert_close(made.player.detach(), torch.full((2,), 1 - 0.1 * 1.0))
    torch.testing.assert_close(made.opponent.detach(), torch.full((2,), 1 + 0.01 * 3.0))


def test_the_order_is_the_systems_own(rivals, flat, few, tmp_path):
    go(flat, tmp_path / "run", few)
    seen = [index for indices in rivals[0].seen for index in indices]
    assert len(seen) == 2 * 24
    assert max(seen) < 12


def test_epochs_begin_once_also_in_a_run_that_is_interrupted(rivals, flat, few, tmp_path):
    """Interrupted within an epoch and between two: the buffer remembers, and all numbers are the same."""
    whole = go(flat, tmp_path / "whole", few)
    assert int(rivals[-1].begun) == 2
    for step in (1, 3, 4):
        folder = tmp_path / str(step)
        go(flat, folder, few, stop=stopping_after(step))
        assert_same_run(go(flat, folder, few), whole)
        assert int(rivals[-1].begun) == 2


def test_schedules_scale_every_optimisers_own_rate(rivals, tiny, few, tmp_path):
    run = go(replace(tiny, train=replace(tiny.train, monitor_every=0, log_every=1)), tmp_path / "run", few)
    rates = run.curve("lr")[1]
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.1 * 0.1
