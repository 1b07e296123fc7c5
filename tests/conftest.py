"""Shared fixtures: a seed, real images, and configs that train in about a second.

torch is imported by the fixtures, because the main process of pytest-xdist loads this file too, and runs no test.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_ledger import (  # noqa: F401, hooks and a fixture
    ledger,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)

import codial
from codial.config import Config, DataConfig, ModelConfig, TrainConfig, ViewsConfig

if TYPE_CHECKING:
    import torch

SEED = 20210823
pytest.register_assert_rewrite("comparing_runs")  # so that failed assertions show values


@pytest.fixture(scope="session", autouse=True)
def no_ignored_signals():
    """Handle SIGINT, which shells ignore in background jobs, and SIGHUP, which nohup ignores.

    Subprocesses, which would ignore them, too, get the default action; these tests themselves survive SIGHUP.
    """
    handlers = {"SIGINT": signal.default_int_handler, "SIGHUP": lambda signum, frame: None}
    for name, handler in handlers.items():
        signum = getattr(signal, name, None)  # Windows has no SIGHUP
        if signum is not None and signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Make sums reproducible, here and in subprocesses."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread_kept():
    """Fail a test that changes the number of threads, which would change the results of the next one."""
    import torch

    yield
    assert torch.get_num_threads() == 1, "this test left torch with another number of threads"


@pytest.fixture(scope="module", autouse=True)
def memory_returned():
    """Give freed memory back after each file: glibc would keep 100 MB and more in every process."""
    yield
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


@pytest.fixture(scope="session", autouse=True)
def results_unchanged():
    """Fail if a test writes to the committed results, of which the fault ledger alone writes faults.json."""
    folder = Path(__file__).resolve().parents[1] / "results"

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*")}

    before = times()
    yield
    assert times() == before


@pytest.fixture(scope="session")
def seed() -> int:
    return SEED


@pytest.fixture
def generator() -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(SEED)


@pytest.fixture(scope="session")
def photos() -> dict[str, codial.ImageSet]:
    """Real 64 x 64 images of eight classes: 320 training and 160 test images."""
    limits = {"train": 320, "test": 160}
    return {split: codial.load_images("photos", split, limit=limit, seed=SEED) for split, limit in limits.items()}


@pytest.fixture(scope="session")
def few(photos) -> codial.ImageSet:
    """24 training images."""
    return photos["train"].subset(24, seed=SEED)


@pytest.fixture(scope="session")
def tiny() -> Config:
    """Config with three steps per epoch on 24 images; lines of the history are not at the ends of epochs."""
    from codial.methods.codial import CodialConfig

    return Config(
        name="tiny",
        seed=SEED,
        data=DataConfig("photos", limit=24),
        views=ViewsConfig(size=32),
        model=ModelConfig(width=0.1, bn_momentum=0.1),
        method=CodialConfig(z_dim=8, critic_hidden=16, beta_hold=0.0, beta_ramp=1.0),
        train=TrainConfig(
            epochs=2, batch=8, lr=1e-3, precision="float32", device="cpu", log_every=2, monitor_images=24
        ),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny, few) -> codial.Run:
    """A finished run, which tests do not change."""
    folder: Path = tmp_path_factory.mktemp("runs") / "tiny"
    return codial.pretrain(tiny, folder, images=few, progress=False)


@pytest.fixture(scope="session")
def longer(tiny) -> Config:
    """Config with 18 steps in 6 epochs; a history line every 4 steps, a checkpoint every 2 epochs, monitors every 3."""
    train = replace(tiny.train, epochs=6, log_every=4, checkpoint_every=2, monitor_every=3)
    return replace(tiny, name="longer", train=train)


@pytest.fixture(scope="session")
def uninterrupted(longer, few, tmp_path_factory) -> codial.Run:
    """A run without interruptions, which tests do not change."""
    return codial.pretrain(longer, tmp_path_factory.mktemp("uninterrupted") / "run", images=few, progress=False)
