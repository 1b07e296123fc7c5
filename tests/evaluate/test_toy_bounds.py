"""Bounds on correlated Gaussians; tests/losses/test_bounds.py compares the optimal critics with the truth."""

import math

import pytest
import torch

from codial.evaluate import toy_bounds
from codial.losses import BOUNDS, TWO_LN2


@pytest.fixture(scope="module")
def trained():
    return toy_bounds.trained_estimates([0.0, 1.0, 8.0], dims=2, seeds=2, steps=250, batch=32)


def test_trained_critics_are_near_the_truth_below_the_ceilings_and_never_above_them(trained):
    assert set(trained) == set(BOUNDS)
    for bound in ("infonce", "nwj", "dv"):
        none, one, many = trained[bound].mean(1).tolist()
        assert none == pytest.approx(0, abs=0.1)
        assert one == pytest.approx(1, abs=0.25)
        assert many > one + 0.1
    assert trained["infonce"].max() < math.log(32)
    assert trained["js"].max() < TWO_LN2
    assert trained["js"][2].min() > trained["js"][1].max()


def test_critics_of_different_seeds_differ(trained):
    for values in trained.values():
        assert values.std(1).min() > 0


def test_more_steps_of_one_bound_do_not_depend_on_the_number_of_seeds():
    """Networks are batched, but independent of each other: the same seeds, the same weights."""
    first = toy_bounds.trained_estimates([1.0], dims=2, seeds=2, steps=3, batch=8)
    again = toy_bounds.trained_estimates([1.0], dims=2, seeds=2, steps=3, batch=8)
    assert all(torch.equal(first[bound], again[bound]) for bound in BOUNDS)


def test_the_table_has_biases():
    text = toy_bounds.bias_table([1.0, 2.0], {"js": torch.tensor([[0.4, 0.6], [0.5, 1.5]])})
    assert "-0.50 ± 0.14" in text
    assert "-1.00 ± 0.71" in text
