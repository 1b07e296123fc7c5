"""Training in bfloat16 against training in float32: 50 steps of every system, from the same weights and batches."""

from dataclasses import replace

import pytest
import torch
from alike import go
from systems import small

from codial.checkpoints import read_tensors
from codial.devices import uses_bf16

pytestmark = [pytest.mark.numbers("bf16 against float32 over 50 steps"), pytest.mark.slow]

# In percent of float32's loss: the first step, the mean distance over all 50, and the mean of the last ten steps.
# Measured are at most 0.4, 7.2 (CMC, whose scores are divided by 0.07; others 5.1) and 3.2 where the processor has
# bfloat16. Where it is imitated (AVX2 alone), KnowTrans reached 10.5 over all and 17.5 at the end: its student learns
# clusters of what its teacher saw, and other rounding makes other clusters; its cosine (below) was 0.49.
FIRST, ALL, LAST = 0.5, 10, 5
ALONG = 0.5  # least cosine between the two ways that the weights went; 0.57 (CODIAL, whose noise is large) to 0.90
CLUSTERED = {"knowtrans": (4, 0.7)}  # where it is imitated: times as far, and times as much along
SYSTEMS = ("codial", "decouple", "deepcluster", "cmc", "globstat", "knowtrans", "spotartifacts", "rotnet", "supervised")


def weights(run):
    """Every weight of the trunk in one vector, batch norm's statistics left out."""
    found = read_tensors(run.checkpoint(), "model.trunk.")
    return torch.cat([v.flatten() for k, v in found.items() if "running" not in k and "num_batches" not in k])


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_loss_and_the_weights_go_the_same_way(name, photos, tmp_path):
    config = small(name)
    train = replace(config.train, epochs=5, batch=8, log_every=1, device="cpu", monitor_every=0)
    pictures = photos["train"].subset(80, seed=1)

    def trained(folder, **changes):
        return go(replace(config, train=replace(train, **changes)), tmp_path / folder, pictures)

    start, plain, half = (
        trained("start", epochs=0),
        trained("plain", precision="float32"),
        trained("half", precision="bf16"),
    )
    expected, got = (torch.tensor(run.curve("loss")[1]) for run in (plain, half))
    assert len(expected) == len(got) == 50
    assert not torch.equal(expected, got), "both were in the same precision"
    percent = 100 * (got - expected).abs() / expected.abs().mean()
    assert percent[0] < FIRST * expected[0] / expected.mean()
    imitated = not uses_bf16("auto", torch.device("cpu"))
    far, along = CLUSTERED.get(name, (1, 1)) if imitated else (1, 1)
    assert percent.mean() < far * ALL
    assert abs(got[-10:].mean() / expected[-10:].mean() - 1) < far * LAST / 100
    moved, moved_half = weights(plain) - weights(start), weights(half) - weights(start)
    assert torch.cosine_similarity(moved, moved_half, dim=0) > along * ALONG
    assert float(moved_half.norm() / moved.norm()) == pytest.approx(1, abs=0.1)
    assert {weight.dtype for weight in half.trunk().parameters()} == {torch.float32}
