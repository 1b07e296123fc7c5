"""What the tests share: one seed, real pictures, and settings small enough to train in a second."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import codial
from codial.config import CodialOptions, Config, DataConfig, ModelConfig, TrainConfig, ViewsConfig

SEED = 20210823
pytest.register_assert_rewrite("alike")  # so that its assertions say what differs


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The same sums in the same order, here and in the processes that tests start."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread_kept():
    """No test may leave another number behind: the next one would compute slightly other numbers."""
    yield
    assert torch.get_num_threads() == 1, "this test left torch with another number of threads"


@pytest.fixture(scope="session")
def seed() -> int:
    return SEED


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


@pytest.fixture(scope="session")
def photos() -> dict[str, codial.ImageSet]:
    """Real pictures, 64 x 64: 320 to learn from and 160 to be judged on, of eight classes."""
    limits = {"train": 320, "test": 160}
    return {split: codial.load_images("photos", split, limit=limit, seed=SEED) for split, limit in limits.items()}


@pytest.fixture(scope="session")
def few(photos) -> codial.ImageSet:
    """24 of them, enough to see that a run works."""
    return photos["train"].subset(24, seed=SEED)


@pytest.fixture(scope="session")
def tiny() -> Config:
    """Three steps an epoch on 24 pictures; lines of history and ends of epochs fall on different steps."""
    return Config(
        name="tiny",
        seed=SEED,
        data=DataConfig("photos", limit=24),
        views=ViewsConfig(size=32),
        model=ModelConfig(width=0.1, bn_momentum=0.1),
        objective=CodialOptions(z_dim=8, critic_hidden=16, beta_hold=0.0, beta_ramp=1.0),
        train=TrainConfig(
            epochs=2, batch=8, lr=1e-3, precision="float32", device="cpu", log_every=2, monitor_pictures=24
        ),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny, few) -> codial.Run:
    """A finished run; tests read it and leave it as it is."""
    folder: Path = tmp_path_factory.mktemp("runs") / "tiny"
    return codial.pretrain(tiny, folder, images=few, progress=False)


@pytest.fixture(scope="session")
def longer(tiny) -> Config:
    """18 steps in 6 epochs; a line of history every 4, a checkpoint every second epoch, monitors every third."""
    train = replace(tiny.train, epochs=6, log_every=4, checkpoint_every=2, monitor_every=3)
    return replace(tiny, name="longer", train=train)


@pytest.fixture(scope="session")
def uninterrupted(longer, few, tmp_path_factory) -> codial.Run:
    """Trained without a stop, to compare interrupted ones with; tests read it and leave it as it is."""
    return codial.pretrain(longer, tmp_path_factory.mktemp("whole") / "run", images=few, progress=False)
