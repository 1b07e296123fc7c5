import doctest
import importlib

import pytest
import torch

MODULES = ("alignment", "bottleneck", "bounds", "codial_loss", "critic", "joint_embedding", "memory_bank")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_of_losses_run(name, seed):
    torch.manual_seed(seed)
    results = doctest.testmod(importlib.import_module(f"codial.losses.{name}"))
    assert results.failed == 0
    assert results.attempted > 0
