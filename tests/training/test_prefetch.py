"""Prefetched batches, compared with batches that are computed directly."""

import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from codial import sample_views
from codial.training.prefetch import Prefetcher, step_seed
from codial.utils.distributed import ProcessGroup

CPU = torch.device("cpu")
STEPS, BATCH = 3, 8


@pytest.fixture
def order(generator):
    return torch.randperm(24, generator=generator).view(STEPS, BATCH)


def loaded(images, config, order, first=0, processes=ProcessGroup()):  # noqa: B008
    return list(Prefetcher(images, config, CPU, processes).batches(order, first))


def test_a_batch_has_the_views_of_its_step(tiny, few, order):
    batches = loaded(few, tiny, order, first=100)
    assert len(batches) == STEPS
    for step, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(step_seed(tiny.seed, "views", 100 + step))
        expected = sample_views(few.batch(order[step]), tiny.views, generator)
        assert torch.equal(batch.views.images, expected.images)
        assert torch.equal(batch.indices, order[step])
        assert torch.equal(batch.labels, few.labels[order[step]])


def test_batches_are_the_same_after_a_resume(tiny, few, order):
    batches, resumed = loaded(few, tiny, order), loaded(few, tiny, order[1:], first=1)
    for batch, expected in zip(resumed, batches[1:], strict=True):
        assert torch.equal(batch.views.images, expected.views.images)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_share_the_batch_of_one(size, tiny, few, order):
    shares = [loaded(few, tiny, order, processes=ProcessGroup(rank, size)) for rank in range(size)]
    for step, expected in enumerate(loaded(few, tiny, order)):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([batch.views.images for batch in parts]), expected.views.images)
        assert torch.equal(torch.cat([batch.labels for batch in parts]), expected.labels)
        assert torch.equal(torch.cat([batch.views.params.box for batch in parts]), expected.views.params.box)


class Recording:
    """Records the threads in which batches are loaded."""

    def __init__(self, images, fails_at=None):
        self.images, self.labels, self.image_size, self.fails_at = images, images.labels, images.image_size, fails_at
        self.threads = []

    def batch(self, indices):
        self.threads.append(threading.current_thread())
        if len(self.threads) == self.fails_at:
            raise OSError("the disk is gone")
        return self.images.batch(indices)


def test_one_batch_is_prepared_ahead(tiny, few, order):
    images = Recording(few)
    with closing(Prefetcher(images, tiny, CPU, ProcessGroup()).batches(order, 0)) as batches:
        next(batches)
        deadline = time.monotonic() + 30
        while len(images.threads) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(images.threads) == 2, "one batch ahead, and no more"
    assert threading.current_thread() not in images.threads


def test_an_error_in_the_background_is_raised_at_its_step(tiny, few, order):
    batches = Prefetcher(Recording(few, fails_at=2), tiny, CPU, ProcessGroup()).batches(order, 0)
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_closing_early_ends_the_thread(tiny, few, order):
    with closing(Prefetcher(few, tiny, CPU, ProcessGroup()).batches(order, 0)) as batches:
        next(batches)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_no_steps_give_no_batches(tiny, few):
    assert loaded(few, replace(tiny, seed=1), torch.empty(0, BATCH, dtype=torch.int64)) == []
