"""Batches prepared in the background are those that one would make by hand."""

import threading
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from codial import sample_views
from codial.feed import Feed, step_seed
from codial.ranks import Ranks

CPU = torch.device("cpu")
STEPS, BATCH = 3, 8


@pytest.fixture
def order(generator):
    return torch.randperm(24, generator=generator).view(STEPS, BATCH)


def fed(images, config, order, first=0, ranks=Ranks()):  # noqa: B008
    return list(Feed(images, config, CPU, ranks).batches(order, first))


def test_each_batch_is_its_pictures_views_under_its_steps_seed(tiny, few, order):
    batches = fed(few, tiny, order, first=100)
    assert len(batches) == STEPS
    for step, batch in enumerate(batches):
        generator = torch.Generator().manual_seed(step_seed(tiny.seed, "views", 100 + step))
        expected = sample_views(few.batch(order[step]), tiny.views, generator)
        assert torch.equal(batch.views.images, expected.images)
        assert torch.equal(batch.indices, order[step])
        assert torch.equal(batch.labels, few.labels[order[step]])


def test_a_run_that_begins_in_the_middle_gets_the_same_batches(tiny, few, order):
    whole, rest = fed(few, tiny, order), fed(few, tiny, order[1:], first=1)
    for batch, expected in zip(rest, whole[1:], strict=True):
        assert torch.equal(batch.views.images, expected.views.images)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_together_have_the_batch_of_one(size, tiny, few, order):
    shares = [fed(few, tiny, order, ranks=Ranks(rank, size)) for rank in range(size)]
    for step, expected in enumerate(fed(few, tiny, order)):
        own = [share[step] for share in shares]
        assert torch.equal(torch.cat([batch.views.images for batch in own]), expected.views.images)
        assert torch.equal(torch.cat([batch.labels for batch in own]), expected.labels)
        assert torch.equal(torch.cat([batch.views.drawn.box for batch in own]), expected.views.drawn.box)


class Recording:
    """A set that notes by which thread and when it is asked."""

    def __init__(self, images, fails_at=None):
        self.images, self.labels, self.sides, self.fails_at = images, images.labels, images.sides, fails_at
        self.asked = []

    def batch(self, indices):
        self.asked.append(threading.current_thread())
        if len(self.asked) == self.fails_at:
            raise OSError("the disk is gone")
        return self.images.batch(indices)


def test_the_next_batch_is_made_while_one_is_used(tiny, few, order):
    images = Recording(few)
    with closing(Feed(images, tiny, CPU, Ranks()).batches(order, 0)) as batches:
        next(batches)
        deadline = time.monotonic() + 30
        while len(images.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(images.asked) == 2, "one batch ahead, and no more"
    assert threading.current_thread() not in images.asked


def test_an_error_in_the_background_comes_to_light_at_its_step(tiny, few, order):
    batches = Feed(Recording(few, fails_at=2), tiny, CPU, Ranks()).batches(order, 0)
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_leaving_early_leaves_no_thread(tiny, few, order):
    with closing(Feed(few, tiny, CPU, Ranks()).batches(order, 0)) as batches:
        next(batches)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_no_steps_are_no_batches(tiny, few):
    assert fed(few, replace(tiny, seed=1), torch.empty(0, BATCH, dtype=torch.int64)) == []
