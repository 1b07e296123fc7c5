"""What the trainer does for a system: opponents, an order and beginnings of epochs of its own, and no more."""

from dataclasses import replace

import pytest
import torch
from alike import assert_same_run, go, stopping_after
from torch import nn

from codial import objectives
from codial.checkpoints import read_tensors
from codial.errors import CodialError
from codial.models import AlexNet
from codial.objectives.protocol import Objective
from codial.schedule import learning_rate, stage_ends


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

    def begin_epoch(self, images, progress, generator, stage):
        assert len(images) == 24
        assert stage == 0
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


def test_a_group_may_keep_its_rate(rivals, tiny, few, tmp_path, monkeypatch):
    opponents = []

    def optimisers(self, train):
        opponents.append(torch.optim.SGD([{"params": [self.opponent], "lr": 0.01, "constant": True}]))
        return {"loss": torch.optim.SGD([self.player, *self.trunk.parameters()], lr=0.1), "loss_opponent": opponents[0]}

    monkeypatch.setattr(Rivals, "optimisers", optimisers)
    run = go(replace(tiny, train=replace(tiny.train, monitor_every=0, log_every=1)), tmp_path / "run", few)
    assert run.curve("lr")[1][-1] < 0.1 * 0.1
    assert opponents[0].param_groups[0]["lr"] == 0.01


class Relay(Rivals):
    """Two stages: the first a third of the run; the second adds up the numbers of the batches that it gets."""

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("told", torch.full((9,), -1))

    def stages(self):
        return (1 / 3, 2 / 3)

    def begin_epoch(self, images, progress, generator, stage):
        self.told[round(progress * 9)] = stage

    def terms(self, batch):
        return super().terms(batch) | {"stage": float(batch.stage)}


@pytest.fixture
def relay(monkeypatch):
    monkeypatch.setattr(objectives, "build", lambda config, classes, pictures: Relay(config))


def test_each_stage_has_its_share_of_the_epochs_and_its_own_schedule(relay, tiny, few, tmp_path):
    train = replace(tiny.train, epochs=9, monitor_every=0, log_every=1)
    run = go(replace(tiny, train=train), tmp_path / "run", few)
    assert run.curve("stage")[1] == 9 * [0.0] + 18 * [1.0]
    rates = run.curve("lr")[1]
    first = [0.1 * learning_rate(i / 9, train) / train.lr for i in range(9)]
    second = [0.1 * learning_rate(i / 18, train) / train.lr for i in range(18)]
    assert rates == pytest.approx(first + second)
    weights = read_tensors(run.folder / "checkpoints" / "last.safetensors")
    assert weights["model.told"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_run_resumes_in_any_stage_and_between_two(relay, tiny, few, tmp_path):
    config = replace(tiny, train=replace(tiny.train, epochs=3))
    whole = go(config, tmp_path / "whole", few)
    for step in (1, 3, 5):
        go(config, tmp_path / str(step), few, stop=stopping_after(step))
        assert_same_run(go(config, tmp_path / str(step), few), whole)


class Turns(Relay):
    """The opponent has no term in the first stage; the other term is another's in the second."""

    def terms(self, batch):
        found = super().terms(batch)
        return found if batch.stage else {name: found[name] for name in ("loss", "stage")}


def test_who_has_no_term_in_a_stage_stays_and_begins_in_the_next(monkeypatch, tiny, few, tmp_path):
    monkeypatch.setattr(objectives, "build", lambda config, classes, pictures: Turns(config))
    config = replace(tiny, train=replace(tiny.train, epochs=3, monitor_every=0))
    whole = go(config, tmp_path / "whole", few)
    go(config, tmp_path / "run", few, stop=stopping_after(3))
    between = read_tensors(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert torch.equal(between["model.opponent"], torch.ones(2))
    assert not torch.equal(between["model.player"], torch.ones(2))
    assert not [name for name in between if name.startswith("optimiser.loss_opponent")]
    assert_same_run(go(config, tmp_path / "run", few), whole)
    end = read_tensors(whole.folder / "checkpoints" / "last.safetensors")
    assert not torch.equal(end["model.opponent"], torch.ones(2))


def test_a_line_of_history_ends_with_its_stage(relay, tiny, few, tmp_path):
    """Every two steps, and after the first stage's three: no mean is over two stages."""
    run = go(replace(tiny, train=replace(tiny.train, epochs=3, monitor_every=0)), tmp_path / "run", few)
    assert run.curve("stage") == ([2, 3, 4, 6, 8, 9], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("shares", "epochs", "ends"),
    [
        ((1.0,), 5, (5,)),
        ((0.5, 0.5), 5, (2, 5)),
        ((0.01, 0.98, 0.01), 10, (1, 9, 10)),
        ((0.01, 0.01, 0.98), 10, (1, 2, 10)),
        ((0.98, 0.01, 0.01), 10, (8, 9, 10)),
        ((0.2, 0.8), 0, (0, 0)),
    ],
)
def test_every_stage_has_an_epoch(shares, epochs, ends):
    assert stage_ends(shares, epochs) == ends


def test_fewer_epochs_than_stages_are_refused(relay, tiny, few, tmp_path):
    config = replace(tiny, train=replace(tiny.train, epochs=1))
    with pytest.raises(CodialError, match=r"train\.epochs is 1; expected at least 2, one for each stage"):
        go(config, tmp_path / "run", few)
