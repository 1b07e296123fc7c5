"""Every system's matrix of what its classes are taken for, against the accuracy that it reports itself."""

import pytest
import torch
from systems import small

from codial.objectives import Batch, Draws, build
from codial.objectives.protocol import confused
from codial.views import sample_views

PICTURES, SET = 8, 24
NAMES = {
    "codial": ("turn0", "turn90", "turn180", "turn270", "warp"),
    "codial-decoupled": ("turn0", "turn90", "turn180", "turn270", "warp"),
    "codial-split": ("turn0", "turn90", "turn180", "turn270", "warp"),
    "rotnet": ("turn0", "turn90", "turn180", "turn270"),
    "decouple": ("turn0", "turn90", "turn180", "turn270"),
    "globstat": ("turn0", "inpainted", "turn90", "turn180", "turn270", "warp"),
    "spotartifacts": ("repaired", "real"),
    "supervised": tuple("01234567"),
}


@pytest.fixture
def made(few, seed):
    """A system in evaluation mode, and a function that makes the same batch again."""

    def make(name):
        config = small(name)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            system = build(config, len(few.classes), SET)

        def batch():
            views = sample_views(few.batch(range(PICTURES)), config.views, torch.Generator().manual_seed(seed))
            draws = Draws(torch.Generator().manual_seed(seed), PICTURES)
            return Batch(views, few.labels[:PICTURES], 0.5, draws, torch.arange(PICTURES), 1)

        return system.eval(), batch

    return make


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_is_the_accuracy_that_the_system_reports(name, made):
    system, batch = made(name)
    with torch.no_grad():
        expected, found = system.terms(batch())["pretext_accuracy"], system.confusion(batch())
    assert found.classes == NAMES[name]
    assert found.counts.trace() / found.counts.sum() == pytest.approx(float(expected))
    if name != "supervised":
        assert len(set(found.counts.sum(1).tolist())) == 1  # each class is shown equally often


@pytest.mark.parametrize("name", ["cmc", "deepcluster", "knowtrans", "codial-mi"])
def test_systems_without_fixed_classes_or_without_their_task_have_none(name, made):
    system, batch = made(name)
    assert system.confusion(batch()) is None


def test_nobody_is_asked_while_the_autoencoder_learns(made):
    system, batch = made("spotartifacts")
    assert system.confusion(batch()._replace(stage=0)) is None


def test_rows_are_what_it_was_and_columns_what_it_was_taken_for():
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0], [0, 0, 9]])
    found = confused("abc", logits, torch.tensor([0, 0, 1, 1]))
    assert found.classes == ("a", "b", "c")
    assert found.counts.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
