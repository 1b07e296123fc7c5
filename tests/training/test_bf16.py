"""Losses and gradients in bfloat16, compared with float32 at each step of a float32 run.

Both are computed from the same weights, batches and cluster labels. Two separate runs cannot be compared: rounding
errors grow from step to step and change cluster labels, so that their distance depends on the processor.
"""

import copy
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from comparing_runs import pretrain_quietly
from small_methods import small
from torch.nn.functional import cosine_similarity

from codial.config.registry import method_names
from codial.training.trainer import Trainer

pytestmark = [pytest.mark.numbers("bf16 against float32 at 50 steps"), pytest.mark.slow]

# Limits of the loss difference in percent of the mean loss, and of the mean cosine of gradients. Measured with bfloat16
# units and without (ONEDNN_MAX_CPU_ISA=AVX2): at most 1.5 and 0.31 percent, and at least 0.98.
MAX_PERCENT, MEAN_PERCENT, COSINE = 4, 0.8, 0.95
METHODS = [name for name in method_names() if name != "random"]


def losses_and_gradients(trainer, loaded, bf16):
    """Return each minimized term and its gradient as a vector, without a change of the trainer."""
    shadow = copy.copy(trainer)
    shadow.method, shadow.bf16 = copy.deepcopy(trainer.method), bf16
    terms = shadow._forward(loaded)
    names = {id(p): name for name, p in trainer.method.named_parameters()}
    results = {}
    for term in terms.keys() & trainer.optimizers.keys():
        groups = trainer.optimizers[term].param_groups
        parameters = [shadow.method.get_parameter(names[id(p)]) for group in groups for p in group["params"]]
        options = {"allow_unused": True, "retain_graph": True, "materialize_grads": True}
        gradients = torch.autograd.grad(terms[term], parameters, **options)
        results[term] = terms[term].item(), torch.cat([g.flatten() for g in gradients])
    return results


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_gradients_at_every_step(name, photos, tmp_path, monkeypatch):
    train_step, steps = Trainer._train_step, defaultdict(list)

    def compare_and_train(trainer, loaded):
        expected, results = (losses_and_gradients(trainer, loaded, bf16) for bf16 in (False, True))
        for term in expected:
            steps[term].append((expected[term], results[term]))
        train_step(trainer, loaded)

    monkeypatch.setattr(Trainer, "_train_step", compare_and_train)
    config = small(name)
    train = replace(config.train, epochs=5, batch=8, device="cpu", monitor_every=0, precision="float32")
    pretrain_quietly(replace(config, train=train), tmp_path / "run", photos["train"].subset(80, seed=1))
    assert len(steps["loss"]) == 50
    for term, pairs in steps.items():
        expected, losses = (torch.tensor([pair[i][0] for pair in pairs]) for i in (0, 1))
        percent = 100 * (losses - expected).abs() / expected.abs().mean()
        assert 0 < percent.mean() < MEAN_PERCENT, term
        assert percent.max() < MAX_PERCENT, term
        gradients = [(a, b) for (_, a), (_, b) in pairs if a.any() and b.any()]  # a hinge may have none
        assert gradients, term
        assert torch.stack([cosine_similarity(a, b, dim=0) for a, b in gradients]).mean() > COSINE, term


def test_the_precision_of_a_run_is_that_of_its_config(few, tmp_path):
    """A bfloat16 run has another first loss than a float32 run, and float32 weights."""
    config = small("rotnet")
    losses = {}
    for precision in ("float32", "bf16"):
        train = replace(config.train, epochs=1, batch=8, log_every=1, device="cpu", precision=precision)
        run = pretrain_quietly(replace(config, train=train), tmp_path / precision, few)
        losses[precision] = run.curve("loss")[1]
        assert {weight.dtype for weight in run.backbone().parameters()} == {torch.float32}
    assert 0 < abs(losses["bf16"][0] / losses["float32"][0] - 1) < MAX_PERCENT / 100
