"""A signal saves a run at once, also during monitors and before an epoch; what it cut short is made up for."""

import importlib
import signal
from dataclasses import replace

import pytest
from comparing_runs import assert_same_run, pretrain_quietly
from small_methods import small

TRAINER = importlib.import_module("codial.training.trainer")
DEEPCLUSTER = importlib.import_module("codial.methods.deepcluster")


def signal_before(monkeypatch, module, name, call, signum=signal.SIGTERM):
    """Send this process a signal before the given call of a function, the first being 0."""
    function, calls = getattr(module, name), iter(range(100))

    def signalled(*arguments, **options):
        if next(calls) == call:
            signal.raise_signal(signum)
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, signalled)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.parametrize("function", ["feature_monitors", "pretext_confusion"])
@pytest.mark.parametrize(("call", "step"), [(0, 0), (1, 9), (2, 18)])
def test_a_signal_during_monitors_saves_without_them(function, call, step, longer, uninterrupted, few, tmp_path,
                                                     monkeypatch):  # fmt: skip
    with monkeypatch.context() as patch:
        signal_before(patch, TRAINER, function, call)
        run = pretrain_quietly(longer, tmp_path, few)
    assert run.progress["step"] == step
    assert not run.finished
    assert [line["step"] for line in run.history if line["kind"] == "monitor"] == [0, 9, 18][:call]
    assert_same_run(pretrain_quietly(longer, tmp_path, few), uninterrupted)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR1, signal.SIGHUP], ids=lambda each: each.name)
def test_other_signals_do_the_same(signum, longer, uninterrupted, few, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        signal_before(patch, TRAINER.Trainer, "_train_step", 4, signum)
        assert pretrain_quietly(longer, tmp_path, few).progress["step"] == 5
    assert_same_run(pretrain_quietly(longer, tmp_path, few), uninterrupted)


@pytest.mark.faults("run stopped or killed")
@pytest.mark.parametrize(("call", "epoch"), [(0, 0), (1, 1)])
def test_a_signal_while_images_are_clustered_saves_the_last_epoch(call, epoch, few, tmp_path, monkeypatch):
    config = small("deepcluster")
    config = replace(config, train=replace(config.train, epochs=2, batch=8, device="cpu"))
    expected = pretrain_quietly(config, tmp_path / "expected", few)
    with monkeypatch.context() as patch:
        signal_before(patch, DEEPCLUSTER, "uncropped_batches", call)
        run = pretrain_quietly(config, tmp_path / "run", few)
    assert run.progress["epoch"] == epoch
    assert not run.finished
    assert_same_run(pretrain_quietly(config, tmp_path / "run", few), expected)
