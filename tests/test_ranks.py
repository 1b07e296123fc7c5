"""One run in several processes: real ones, started by torchrun, talking over gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from alike import go, stopping_after, timeless
from safetensors.torch import load_file
from torch import nn

import codial
from codial.checkpoints import read_tensors
from codial.config import TURNS, CmcOptions, DecoupleOptions, GlobStatOptions, SpotArtifactsOptions, to_dict
from codial.errors import CodialError
from codial.models import AlexNet, synchronise
from codial.models.norm import SyncNorm
from codial.objectives import Draws
from codial.ranks import Ranks, joined

CHILD = """
import json, sys, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
codial.pretrain(config, sys.argv[2], images=images, progress=False)
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


def together(config, folder, script):
    """Start two processes on one run."""
    script.write_text(CHILD)
    command = [*TORCHRUN, str(script), json.dumps(to_dict(config)), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process):
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def config(tiny):
    """21 steps of 8 pictures; the warp and every colour change are on."""
    train = replace(tiny.train, epochs=7, lr=1e-4, log_every=1, monitor_every=7, checkpoint_every=7)
    return replace(tiny, name="shared", train=train)


@pytest.fixture(scope="module")
def alone(config, few, tmp_path_factory):
    return go(config, tmp_path_factory.mktemp("alone") / "run", few)


def losses(run):
    return torch.tensor(run.curve("loss")[1])


@pytest.mark.slow
def test_two_processes_train_as_one_does(config, alone, tmp_path):
    """Every term at every step, the weights and batch norm's statistics, to float32's rounding."""
    finish(together(config, tmp_path / "run", tmp_path / "child.py"))
    run = codial.open_run(tmp_path / "run")
    assert run.finished
    for line, expected in zip(timeless(run), timeless(alone), strict=True):
        assert line.pop("kind") == expected.pop("kind")
        told, expected_told = (each.pop("confusion", {"counts": []})["counts"] for each in (line, expected))
        assert torch.tensor(told).sub(torch.tensor(expected_told)).abs().sum() <= 4  # rounding may tip the scales
        assert line == pytest.approx(expected, rel=1e-3, abs=2e-4), line["step"]
    weights, expected = (r.trunk().state_dict() for r in (run, alone))
    for name, values in expected.items():
        torch.testing.assert_close(weights[name], values, rtol=2e-3, atol=2e-4, msg=name)


@pytest.mark.slow
def test_a_bank_is_the_same_in_all_processes(config, few, tmp_path):
    """Decouple's, each of whose rows one process made: its terms, and the bank that the first process saved."""
    views = replace(config.views, primary=TURNS)
    train = replace(config.train, epochs=2)  # with more steps rounding grows beyond what can be told from a mistake
    decouple = replace(config, objective=DecoupleOptions(dims=32, negatives=16), views=views, train=train)
    expected = go(decouple, tmp_path / "alone", few)
    finish(together(decouple, tmp_path / "run", tmp_path / "child.py"))
    run = codial.open_run(tmp_path / "run")
    for term in ("loss_transform", "loss_mean", "loss_instance"):
        assert run.curve(term)[1] == pytest.approx(expected.curve(term)[1], rel=2e-3, abs=2e-4), term
    banks = [read_tensors(r.folder / "checkpoints" / "last.safetensors", "model.bank") for r in (run, expected)]
    torch.testing.assert_close(banks[0], banks[1], rtol=0, atol=1e-2)  # of numbers around 0.2


@pytest.mark.slow
def test_two_processes_remember_pictures_as_one_does(config, few, tmp_path):
    """CMC's memories are filled by all processes; its negatives and constants are those of the whole batch."""
    views, objective = replace(config.views, primary=("turn0",)), CmcOptions(negatives=16, dims=8)
    config = replace(config, views=views, objective=objective)
    finish(together(config, tmp_path / "run", tmp_path / "child.py"))
    run, alone = codial.open_run(tmp_path / "run"), go(config, tmp_path / "alone", few)
    torch.testing.assert_close(losses(run), losses(alone), rtol=1e-3, atol=1e-3)
    shared, own = (load_file(r.folder / "checkpoints" / "last.safetensors") for r in (run, alone))
    for name in ("lightness_bank", "colour_bank"):
        for part in ("memory", "constant"):
            key = f"model.{name}.{part}"
            torch.testing.assert_close(shared[key], own[key], rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_two_processes_paint_and_judge_as_one_does(config, few, tmp_path):
    """GlobStat's three losses, each with a backward pass of its own, and its opponents' weights."""
    train = replace(config.train, epochs=2)
    config = replace(config, objective=GlobStatOptions(width=0.1), train=train)
    finish(together(config, tmp_path / "run", tmp_path / "child.py"))
    run, alone = codial.open_run(tmp_path / "run"), go(config, tmp_path / "alone", few)
    for term in ("loss", "loss_inpainter", "loss_discriminator"):
        assert run.curve(term)[1] == pytest.approx(alone.curve(term)[1], rel=2e-3, abs=2e-3), term
    shared, own = (read_tensors(r.folder / "checkpoints" / "last.safetensors", "model.") for r in (run, alone))
    for name, values in own.items():
        torch.testing.assert_close(shared[name], values, rtol=1e-2, atol=2e-3, msg=name)


@pytest.mark.slow
def test_two_processes_spot_artifacts_as_one_does(config, few, tmp_path):
    """Both stages: masks, statistics and the number of kept pixels are those of the whole batch."""
    views, objective = replace(config.views, primary=("turn0",)), SpotArtifactsOptions(width=0.25)
    config = replace(config, views=views, objective=objective, train=replace(config.train, epochs=4))
    finish(together(config, tmp_path / "run", tmp_path / "child.py"))
    run, alone = codial.open_run(tmp_path / "run"), go(config, tmp_path / "alone", few)
    for term in ("loss", "loss_autoencoder", "loss_repair", "loss_mask"):
        assert run.curve(term)[0] == alone.curve(term)[0]
        assert run.curve(term)[1] == pytest.approx(alone.curve(term)[1], rel=5e-3, abs=1e-3), term


@pytest.mark.slow
def test_what_is_kept_to_each_process_is_not_equal(config, alone, tmp_path):
    """Statistics and strangers of half a batch are others: close, but more than rounding apart."""
    apart = replace(
        config,
        train=replace(config.train, sync_norm=False),
        objective=replace(config.objective, share_negatives=False),
    )
    finish(together(apart, tmp_path / "run", tmp_path / "child.py"))
    gap = (losses(codial.open_run(tmp_path / "run")) - losses(alone)).abs()
    assert gap.max() > 1e-2
    assert gap.max() < 1


@pytest.mark.slow
def test_a_checkpoint_moves_between_numbers_of_processes(config, alone, few, tmp_path):
    """From one process to two, to one."""
    folder = tmp_path / "run"
    go(config, folder, few, stop=stopping_after(7))
    process = together(config, folder, tmp_path / "child.py")
    finish(process)
    run = codial.open_run(folder)
    torch.testing.assert_close(losses(run), losses(alone), rtol=1e-3, atol=2e-4)
    assert go(config, folder, few).finished


@pytest.mark.slow
def test_ctrl_c_saves_once_for_all(config, few, tmp_path):
    long = replace(config, train=replace(config.train, epochs=100_000, monitor_every=0, checkpoint_every=100_000))
    process = together(long, tmp_path / "run", tmp_path / "child.py")
    history = tmp_path / "run" / "history.jsonl"
    deadline = time.monotonic() + 120
    while not (history.exists() and history.read_text().count("\n") > 5):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    run = codial.open_run(tmp_path / "run")
    assert run.progress["step"] > 5
    assert not run.finished
    assert [line["step"] for line in run.history][-1] == run.progress["step"]


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(config, tmp_path):
    process = together(replace(config, train=replace(config.train, batch=3)), tmp_path / "run", tmp_path / "child.py")
    said, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert "train.batch is 3, of 24 pictures; 2 processes share it evenly, with at least 2 pictures each" in said


# Parts


def test_alone_means_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    x = torch.randn(4, 3)
    with joined() as ranks:
        assert ranks == Ranks(0, 1)
        assert ranks.first
        assert ranks.gather(x) is x
        assert ranks.mean(x) is x
        assert ranks.any(True)
        assert not ranks.any(False)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_rows_of_all_processes_are_the_batch(size):
    rows = [row for rank in range(size) for row in range(8)[Ranks(rank, size).rows(8)]]
    assert rows == list(range(8))


def test_numbers_drawn_are_those_of_one_process(seed):
    def draws(ranks):
        own = Draws(torch.Generator().manual_seed(seed), 8 // ranks.size, ranks)
        return own.normal(3, 2), own.integers(1, 100, 5), own.uniform(4), own.permutation(10)

    whole, halves = draws(Ranks()), [draws(Ranks(rank, 2)) for rank in range(2)]
    for part in (0, 1, 2):
        assert torch.equal(torch.cat([half[part] for half in halves]), whole[part])
    assert 0 <= whole[2].min() < whole[2].max() < 1
    assert all(torch.equal(half[3], whole[3]) for half in halves)


class Alike(Ranks):
    """Two processes with the same rows, in one."""

    def mean(self, x):
        return x


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 4, 3)])
def test_synchronised_norm_is_batch_norm_over_all_rows(shape, generator):
    """Of two processes with the same rows: outputs, gradients and statistics of the rows taken twice."""
    make = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    norm = make(5, momentum=0.3)
    nn.init.normal_(norm.weight, generator=generator)
    ours = SyncNorm(make(5, momentum=0.3), Alike(0, 2))
    ours.load_state_dict(norm.state_dict())
    x = (torch.randn(shape, generator=generator) * 3 + 1).requires_grad_()
    twice = x.detach().repeat(2, *[1] * (len(shape) - 1)).requires_grad_()
    weights = torch.randn(shape, generator=generator)
    out, expected = ours(x), norm(twice)
    torch.testing.assert_close(out, expected[:6])
    (out * weights).sum().backward()
    (expected * weights.repeat(2, *[1] * (len(shape) - 1))).sum().backward()
    torch.testing.assert_close(x.grad, twice.grad[:6], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad * 2, norm.weight.grad)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer)
    torch.testing.assert_close(ours.eval()(x), norm.eval()(x))


def test_every_norm_is_replaced_and_no_name_changes(tiny):
    trunk = AlexNet(tiny.model, 32)
    names = list(trunk.state_dict())
    synchronise(trunk, Ranks(0, 2), torch.device("cpu"))
    assert list(trunk.state_dict()) == names
    assert sum(isinstance(m, SyncNorm) for m in trunk.modules()) == 7
    assert not [m for m in trunk.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(CodialError, match="more processes than the 1 GPUs here"), joined():
        pass
