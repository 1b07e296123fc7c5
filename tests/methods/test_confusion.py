"""The confusion matrix of every method, compared with the accuracy that it reports."""

import pytest
import torch
from small_methods import small

from codial.config import PRIMARY, ROTATIONS
from codial.methods import Batch, build
from codial.methods.base import confusion_matrix
from codial.transforms import sample_views
from codial.utils.batch_generator import BatchGenerator

BATCH, IMAGES = 8, 24
CLASSES = {
    "codial": PRIMARY,
    "codial-decoupled": PRIMARY,
    "codial-split": PRIMARY,
    "rotnet": ROTATIONS,
    "decouple": ROTATIONS,
    "globstat": ("rot0", "inpainted", "rot90", "rot180", "rot270", "warp"),
    "spotartifacts": ("repaired", "real"),
    "supervised": tuple("01234567"),
    "essl": ROTATIONS,
}


@pytest.fixture
def method_and_batch(few, seed):
    """Return a method in evaluation mode, and a function that returns the same batch at every call."""

    def make(name):
        config = small(name)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            method = build(config, IMAGES, len(few.classes))

        def batch():
            views = sample_views(few.batch(range(BATCH)), config.views, torch.Generator().manual_seed(seed))
            rng = BatchGenerator(torch.Generator().manual_seed(seed), BATCH)
            return Batch(views, few.labels[:BATCH], 0.5, rng, torch.arange(BATCH), 1)

        return method.eval(), batch

    return make


@pytest.mark.parametrize("name", CLASSES)
def test_its_diagonal_is_the_reported_accuracy(name, method_and_batch):
    method, batch = method_and_batch(name)
    with torch.no_grad():
        expected = method.terms(batch())["pretext_accuracy"]
        matrix = method.confusion(batch())
    assert matrix.classes == CLASSES[name]
    assert matrix.counts.trace() / matrix.counts.sum() == pytest.approx(float(expected))
    if name != "supervised":
        assert len(set(matrix.counts.sum(1).tolist())) == 1, "all classes are equally frequent"


@pytest.mark.parametrize(
    "name", ["cmc", "deepcluster", "knowtrans", "codial-mi", "simclr", "barlowtwins", "vicreg", "byol"]
)
def test_methods_without_fixed_classes_have_none(name, method_and_batch):
    method, batch = method_and_batch(name)
    assert method.confusion(batch()) is None


def test_spotartifacts_has_none_while_the_autoencoder_trains(method_and_batch):
    method, batch = method_and_batch("spotartifacts")
    assert method.confusion(batch()._replace(stage=0)) is None


def test_rows_are_true_classes_and_columns_are_predictions():
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 9, 0], [0, 0, 9]])
    matrix = confusion_matrix("abc", logits, torch.tensor([0, 0, 1, 1]))
    assert matrix.classes == ("a", "b", "c")
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
