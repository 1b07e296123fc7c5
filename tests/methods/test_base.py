"""The interface of methods: several optimizers, image order, preparation of epochs, and stages."""

from dataclasses import replace

import pytest
import torch
from comparing_runs import assert_same_run, pretrain_quietly, stop_after
from torch import nn

from codial import methods
from codial.errors import CodialError
from codial.methods.base import Method
from codial.models import AlexNet
from codial.runs.checkpoints import read_tensors
from codial.training.schedule import learning_rate, stage_ends


class Adversarial(Method):
    """One optimizer decreases a product, another increases it with its own weight."""

    def __init__(self, config):
        super().__init__(config)
        self.backbone = AlexNet(config.model, config.views.size)
        self.player, self.adversary = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        self.register_buffer("epochs_begun", torch.zeros((), dtype=torch.int64))
        self.indices = []

    def terms(self, batch):
        self.indices += batch.indices.tolist()
        product = (self.player * self.adversary).sum()
        features = self.backbone(batch.views.images[:, 0]).square().mean()
        return {"loss": product + features, "loss_adversary": -3 * product, "product": product}

    def optimizers(self, train):
        return {
            "loss": torch.optim.SGD([self.player, *self.backbone.parameters()], lr=0.1),
            "loss_adversary": torch.optim.SGD([self.adversary], lr=0.01, momentum=0.9),
        }

    def begin_epoch(self, images, progress, generator, stage):
        assert len(images) == 24
        assert stage == 0
        self.epochs_begun += 1

    def order(self, count, generator):
        return torch.randint(12, (count,), generator=generator)  # with repetition, from half of the images


class Staged(Adversarial):
    """Two stages, of a third and two thirds of the run, which are recorded by epoch and by step."""

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("stage_of_epoch", torch.full((9,), -1))

    def stages(self):
        return (1 / 3, 2 / 3)

    def begin_epoch(self, images, progress, generator, stage):
        self.stage_of_epoch[round(progress * 9)] = stage

    def terms(self, batch):
        return super().terms(batch) | {"stage": float(batch.stage)}


class LateAdversary(Staged):
    """The adversary's term is missing in the first stage."""

    def terms(self, batch):
        terms = super().terms(batch)
        return terms if batch.stage else {name: terms[name] for name in ("loss", "stage")}


@pytest.fixture
def use(monkeypatch):
    """Return a function that makes runs train a class, and returns the list of methods that are built."""

    def patch(cls):
        built = []

        def build(config, images, classes):
            built.append(cls(config))
            return built[-1]

        monkeypatch.setattr(methods, "build", build)
        return built

    return patch


@pytest.fixture
def adversarial(use):
    return use(Adversarial)


@pytest.fixture
def constant_rate(tiny):
    return replace(tiny, train=replace(tiny.train, lr_end=1.0, monitor_every=0))


@pytest.fixture
def logged(tiny):
    return replace(tiny, train=replace(tiny.train, monitor_every=0, log_every=1))


# Optimizers


def test_each_optimizer_minimizes_its_own_term_from_the_same_forward_pass(adversarial, constant_rate, few, tmp_path):
    pretrain_quietly(constant_rate, tmp_path / "run", few, stop=stop_after(1))
    (method,) = adversarial
    torch.testing.assert_close(method.player.detach(), torch.full((2,), 1 - 0.1 * 1.0))
    torch.testing.assert_close(method.adversary.detach(), torch.full((2,), 1 + 0.01 * 3.0))


def test_the_schedule_scales_the_learning_rate(adversarial, logged, few, tmp_path):
    rates = pretrain_quietly(logged, tmp_path / "run", few).curve("lr")[1]
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.1 * 0.1


def test_a_group_can_keep_its_learning_rate(adversarial, logged, few, tmp_path, monkeypatch):
    constant = []

    def optimizers(self, train):
        constant.append(torch.optim.SGD([{"params": [self.adversary], "lr": 0.01, "constant": True}]))
        others = torch.optim.SGD([self.player, *self.backbone.parameters()], lr=0.1)
        return {"loss": others, "loss_adversary": constant[0]}

    monkeypatch.setattr(Adversarial, "optimizers", optimizers)
    run = pretrain_quietly(logged, tmp_path / "run", few)
    assert run.curve("lr")[1][-1] < 0.1 * 0.1
    assert constant[0].param_groups[0]["lr"] == 0.01


# Epochs


def test_a_method_determines_the_order_of_images(adversarial, constant_rate, few, tmp_path):
    pretrain_quietly(constant_rate, tmp_path / "run", few)
    indices = adversarial[0].indices
    assert len(indices) == 2 * 24
    assert max(indices) < 12


def test_an_epoch_begins_once_even_if_the_run_is_interrupted(adversarial, constant_rate, few, tmp_path):
    """Interruptions within an epoch and between two epochs."""
    uninterrupted = pretrain_quietly(constant_rate, tmp_path / "uninterrupted", few)
    assert int(adversarial[-1].epochs_begun) == 2
    for step in (1, 3, 4):
        folder = tmp_path / str(step)
        pretrain_quietly(constant_rate, folder, few, stop=stop_after(step))
        assert_same_run(pretrain_quietly(constant_rate, folder, few), uninterrupted)
        assert int(adversarial[-1].epochs_begun) == 2


# Stages


def test_each_stage_has_its_share_of_the_epochs_and_its_own_schedule(use, tiny, few, tmp_path):
    use(Staged)
    train = replace(tiny.train, epochs=9, monitor_every=0, log_every=1)
    run = pretrain_quietly(replace(tiny, train=train), tmp_path / "run", few)
    assert run.curve("stage")[1] == 9 * [0.0] + 18 * [1.0]
    rates = run.curve("lr")[1]
    first = [0.1 * learning_rate(i / 9, train) / train.lr for i in range(9)]
    second = [0.1 * learning_rate(i / 18, train) / train.lr for i in range(18)]
    assert rates == pytest.approx(first + second)
    weights = read_tensors(run.folder / "checkpoints" / "last.safetensors")
    assert weights["model.stage_of_epoch"].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_run_resumes_in_any_stage_and_between_two(use, tiny, few, tmp_path):
    use(Staged)
    config = replace(tiny, train=replace(tiny.train, epochs=3))
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    for step in (1, 3, 5):
        pretrain_quietly(config, tmp_path / str(step), few, stop=stop_after(step))
        assert_same_run(pretrain_quietly(config, tmp_path / str(step), few), uninterrupted)


def test_parameters_without_a_term_in_a_stage_do_not_change(use, tiny, few, tmp_path):
    use(LateAdversary)
    config = replace(tiny, train=replace(tiny.train, epochs=3, monitor_every=0))
    uninterrupted = pretrain_quietly(config, tmp_path / "uninterrupted", few)
    pretrain_quietly(config, tmp_path / "run", few, stop=stop_after(3))
    between = read_tensors(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert torch.equal(between["model.adversary"], torch.ones(2))
    assert not torch.equal(between["model.player"], torch.ones(2))
    assert not [name for name in between if name.startswith("optimizer.loss_adversary")]
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), uninterrupted)
    end = read_tensors(uninterrupted.folder / "checkpoints" / "last.safetensors")
    assert not torch.equal(end["model.adversary"], torch.ones(2))


def test_a_line_of_the_history_is_of_one_stage(use, tiny, few, tmp_path):
    """Lines are written every two steps, and after the three steps of the first stage."""
    use(Staged)
    config = replace(tiny, train=replace(tiny.train, epochs=3, monitor_every=0))
    run = pretrain_quietly(config, tmp_path / "run", few)
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


def test_fewer_epochs_than_stages_are_refused(use, tiny, few, tmp_path):
    use(Staged)
    config = replace(tiny, train=replace(tiny.train, epochs=1))
    with pytest.raises(CodialError, match=r"train\.epochs is 1; expected at least 2, one for each stage"):
        pretrain_quietly(config, tmp_path / "run", few)
