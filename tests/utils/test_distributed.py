"""One run in several processes: real ones, started by torchrun, which communicate over gloo."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
import torch
from comparing_runs import pretrain_quietly, stop_after, without_seconds
from small_methods import small

import codial
from codial.config import ROTATIONS, to_dict
from codial.errors import CodialError
from codial.methods.cmc import CmcConfig
from codial.methods.decouple import DecoupleConfig
from codial.methods.globstat import GlobStatConfig
from codial.methods.spotartifacts import SpotArtifactsConfig
from codial.runs.checkpoints import read_tensors
from codial.runs.create import create_run
from codial.training.trainer import Trainer
from codial.utils.distributed import ProcessGroup, process_group

CHILD = """
import json, sys, torch, codial
from codial.config import from_dict
torch.set_num_threads(1)
config = from_dict(json.loads(sys.argv[1]))
images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
codial.pretrain(config, sys.argv[2], images=images, progress=False)
"""
# Trains several runs one after another in the same two processes.
SEVERAL = """
import json, sys, torch, codial
from contextlib import nullcontext
from codial.config import from_dict
from codial.training import pretrain
from codial.utils.distributed import process_group
torch.set_num_threads(1)
with process_group() as processes:
    pretrain.process_group = lambda: nullcontext(processes)
    for name, values in json.loads(sys.argv[1]).items():
        config = from_dict(values)
        images = codial.load_images("photos", limit=320, seed=config.seed).subset(24, seed=config.seed)
        codial.pretrain(config, f"{sys.argv[2]}/{name}", images=images, progress=False)
"""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
INFONCE = {"bound": "infonce", "critic": "cosine", "projector": "mlp", "negatives": "batch", "bottleneck": False}
slow = pytest.mark.slow


def start(code, values, folder, script, options=()):
    """Start two processes by torchrun with some options of its own."""
    script.write_text(code)
    command = [*TORCHRUN, *options, str(script), json.dumps(values), str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)


def finish(process, seconds=150):
    """Return the output of processes that must end within some seconds."""
    try:
        return process.communicate(timeout=seconds)[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def config(tiny):
    """21 steps of 8 images; the warp and all color changes are on."""
    train = replace(tiny.train, epochs=7, lr=1e-4, log_every=1, monitor_every=7, checkpoint_every=7)
    return replace(tiny, name="shared", train=train)


@pytest.fixture(scope="module")
def configs(config):
    """CODIAL, and the methods that exchange more between processes than gradients and batch statistics."""
    single_view = replace(config.views, primary=("rot0",))
    rotations = replace(config.views, primary=ROTATIONS)
    short = replace(config.train, epochs=2)  # rounding errors grow with the number of steps
    two_stages = replace(config.train, epochs=4)
    resnet = small("rotnet")
    resnet = replace(resnet, seed=config.seed, train=short, model=replace(resnet.model, backbone="resnet18"))
    joint = {name: small(name) for name in ("simclr", "barlowtwins", "vicreg", "byol", "essl")}
    return {
        "codial": config,
        "codial-infonce": replace(config, method=replace(config.method, **INFONCE), train=short),
        "codial-dv": replace(config, method=replace(config.method, bound="dv")),
        "decouple": replace(config, method=DecoupleConfig(dims=32, negatives=16), views=rotations, train=short),
        "cmc": replace(config, method=CmcConfig(negatives=16, dims=8), views=single_view),
        "globstat": replace(config, method=GlobStatConfig(width=0.1), train=short),
        "spotartifacts": replace(config, method=SpotArtifactsConfig(width=0.25), views=single_view, train=two_stages),
        "rotnet-resnet18": resnet,
        **{name: replace(each, seed=config.seed, train=short) for name, each in joint.items()},
    }


@pytest.fixture(scope="module")
def shared(configs, tmp_path_factory):
    """The runs of all configs, trained by two processes."""
    folder = tmp_path_factory.mktemp("shared")
    process = start(SEVERAL, {name: to_dict(each) for name, each in configs.items()}, folder, folder / "child.py")
    output = finish(process)
    assert process.returncode == 0, output
    return {name: codial.open_run(folder / name) for name in configs}


@pytest.fixture(scope="module")
def single(configs, few, tmp_path_factory):
    """The same runs, trained by one process."""
    folder = tmp_path_factory.mktemp("single")
    return {name: pretrain_quietly(each, folder / name, few) for name, each in configs.items()}


def tensors(run, prefix):
    return read_tensors(run.checkpoint(), prefix)


@slow
def test_two_processes_train_like_one(shared, single):
    """All terms at all steps, the weights and batch norm's statistics are equal up to float32's rounding."""
    run, expected_run = shared["codial"], single["codial"]
    assert run.finished
    for line, expected in zip(without_seconds(run), without_seconds(expected_run), strict=True):
        assert line.pop("kind") == expected.pop("kind")
        counts, expected_counts = (torch.tensor(e.pop("confusion", {"counts": []})["counts"]) for e in (line, expected))
        assert (counts - expected_counts).abs().sum() <= 4  # rounding may change a prediction
        assert line.pop("knn", 0) == pytest.approx(expected.pop("knn", 0), abs=20.1)  # and that of one of five images
        assert line == pytest.approx(expected, rel=1e-3, abs=2e-4), line["step"]
    weights = run.backbone().state_dict()
    for name, values in expected_run.backbone().state_dict().items():
        torch.testing.assert_close(weights[name], values, rtol=2e-3, atol=2e-4, msg=name)


@pytest.mark.parametrize(
    ("method", "terms", "tolerance"),
    [
        ("codial-infonce", ("loss", "mi_infonce"), {"rel": 1e-3, "abs": 1e-3}),
        ("codial-dv", ("loss", "mi_dv"), {"rel": 1e-3, "abs": 1e-3}),
        ("decouple", ("loss_transform", "loss_mean", "loss_instance"), {"rel": 2e-3, "abs": 2e-4}),
        ("cmc", ("loss",), {"rel": 1e-3, "abs": 1e-3}),
        ("globstat", ("loss", "loss_inpainter", "loss_discriminator"), {"rel": 2e-3, "abs": 2e-3}),
        (
            "spotartifacts",
            ("loss", "loss_autoencoder", "loss_repair", "loss_mask"),
            {"rel": 5e-3, "abs": 1e-3},
        ),
        ("rotnet-resnet18", ("loss",), {"rel": 1e-3, "abs": 1e-3}),
        ("simclr", ("loss",), {"rel": 1e-3, "abs": 1e-3}),
        ("barlowtwins", ("loss",), {"rel": 5e-3, "abs": 1e-3}),
        ("vicreg", ("loss_invariance", "loss_variance", "loss_covariance"), {"rel": 5e-3, "abs": 1e-3}),
        ("byol", ("loss",), {"rel": 5e-3, "abs": 1e-3}),
        ("essl", ("loss_align", "loss_rotation"), {"rel": 1e-3, "abs": 1e-3}),
    ],
)
@slow
def test_two_processes_have_the_losses_of_one(method, terms, tolerance, shared, single):
    for term in terms:
        steps, values = shared[method].curve(term)
        expected_steps, expected = single[method].curve(term)
        assert steps == expected_steps
        assert values == pytest.approx(expected, **tolerance), term


@pytest.mark.parametrize(
    ("method", "prefix", "tolerance"),
    [
        ("decouple", "model.bank", {"rtol": 0, "atol": 1e-2}),  # values around 0.2
        ("cmc", "model.lightness_bank.", {"rtol": 1e-2, "atol": 1e-3}),
        ("cmc", "model.color_bank.", {"rtol": 1e-2, "atol": 1e-3}),
        ("globstat", "model.", {"rtol": 1e-2, "atol": 2e-3}),
        ("byol", "model.target.", {"rtol": 1e-2, "atol": 2e-3}),
    ],
)
@slow
def test_two_processes_have_the_tensors_of_one(method, prefix, tolerance, shared, single):
    """Memory banks are filled, GlobStat's adversaries trained and BYOL's target averaged by both processes."""
    expected = tensors(single[method], prefix)
    assert expected
    torch.testing.assert_close(tensors(shared[method], prefix), expected, **tolerance)


@slow
def test_a_checkpoint_moves_between_numbers_of_processes(config, single, few, tmp_path):
    """From one process to two, to one."""
    folder = tmp_path / "run"
    pretrain_quietly(config, folder, few, stop=stop_after(7))
    process = start(CHILD, to_dict(config), folder, tmp_path / "child.py")
    output = finish(process)
    assert process.returncode == 0, output
    losses, expected = (torch.tensor(run.curve("loss")[1]) for run in (codial.open_run(folder), single["codial"]))
    torch.testing.assert_close(losses, expected, rtol=1e-3, atol=2e-4)
    assert pretrain_quietly(config, folder, few).finished


def wait_for_lines(process, history, count):
    deadline = time.monotonic() + 240
    while not (history.exists() and history.read_text().count("\n") > count):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


@slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    ("signum", "receiver", "options"),
    [
        (signal.SIGINT, "torchrun", ()),
        (signal.SIGTERM, "torchrun", ()),
        (signal.SIGUSR1, "torchrun", ("--signals-to-handle=SIGINT,SIGTERM,SIGUSR1",)),  # otherwise it ends torchrun
        (signal.SIGTERM, "one process", ()),
        (signal.SIGUSR1, "one process", ()),
        (signal.SIGUSR1, "all processes", ()),
    ],
    ids=str,
)
def test_a_signal_saves_once_for_all_processes(signum, receiver, options, config, tmp_path):
    endless = replace(config, train=replace(config.train, epochs=100_000, monitor_every=0, checkpoint_every=100_000))
    process = start(CHILD, to_dict(endless), tmp_path / "run", tmp_path / "child.py", options)
    try:
        wait_for_lines(process, tmp_path / "run" / "history.jsonl", 5)
        trainers = psutil.Process(process.pid).children()
        receivers = {"torchrun": [process], "one process": trainers[1:], "all processes": trainers}
        for each in receivers[receiver]:
            each.send_signal(signum)
    finally:
        output = finish(process)
    assert (process.returncode == 0) == (receiver != "torchrun"), output  # torchrun has an exit code of its own
    run = codial.open_run(tmp_path / "run")
    assert run.progress["step"] > 5
    assert not run.finished
    assert [line["step"] for line in run.history][-1] == run.progress["step"]


# Parts


def test_a_single_process_is_a_group_of_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    x = torch.randn(4, 3)
    with process_group() as processes:
        assert processes == ProcessGroup(0, 1)
        assert processes.is_main
        assert processes.gather(x) is x
        assert processes.mean(x) is x
        assert processes.any(True)
        assert not processes.any(False)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_shards_of_all_processes_are_the_batch(size):
    rows = [row for rank in range(size) for row in range(8)[ProcessGroup(rank, size).shard(8)]]
    assert rows == list(range(8))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'; expected the number of processes"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE is 2, but MASTER_ADDR, MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "WORLD_SIZE is 2, but MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK is '2'; expected 0 to 1"),
        ({"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK is 'x'"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "99999"}, "MASTER_PORT is '99999'"),
    ],
)
def test_an_incomplete_environment_is_refused_before_anything_waits(variables, expected, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CodialError, match=f"^{re.escape(expected)}.*torchrun --nproc-per-node"), process_group():
        pass


@pytest.mark.parametrize("size", ["", "0", "1"])
def test_one_process_needs_no_other_variable(size, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", size)
    with process_group() as processes:
        assert processes.size == 1


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in {"LOCAL_RANK": "1", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CodialError, match="more processes than the 1 GPUs here"), process_group():
        pass


def test_a_batch_that_cannot_be_divided_is_refused(config, few, tmp_path):
    config = replace(config, train=replace(config.train, batch=3))
    run = create_run(tmp_path / "run", config, {}, "cpu")
    with pytest.raises(CodialError, match=r"train\.batch is 3"):
        Trainer(run, few, torch.device("cpu"), ProcessGroup(0, 2), None)
