"""Signals that ask a process to end set an event or raise KeyboardInterrupt, and handlers of others stay in force."""

import signal
import subprocess
import sys
import threading

import pytest

from codial.utils.signals import STOP_SIGNALS, interrupted_by_signals, stopped_by_signals

POSIX = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU}


def test_the_signals_of_terminals_and_batch_systems_are_handled():
    assert set(STOP_SIGNALS) == POSIX


@pytest.mark.parametrize("signum", STOP_SIGNALS, ids=lambda each: each.name)
def test_each_signal_sets_the_event_and_the_handlers_come_back(signum):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    with stopped_by_signals(threading.Event()) as stop:
        assert not stop.is_set()
        signal.raise_signal(signum)
        assert stop.is_set()
        if signum != signal.SIGINT:
            signal.raise_signal(signum)  # the same request again
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before


@pytest.mark.parametrize("signum", STOP_SIGNALS, ids=lambda each: each.name)
def test_each_signal_raises_keyboard_interrupt(signum):
    before = signal.getsignal(signum)
    with pytest.raises(KeyboardInterrupt), interrupted_by_signals():
        signal.raise_signal(signum)
    assert signal.getsignal(signum) == before


def test_a_second_ctrl_c_aborts_only_where_it_cannot_be_a_copy_of_the_first():
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(KeyboardInterrupt), stopped_by_signals(stopped):
        signal.raise_signal(signal.SIGINT)
    with stopped_by_signals(threading.Event(), may_abort=False):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_another_librarys_handler_is_called_after_the_block(monkeypatch):
    """As one that asks a batch system to start the job again."""
    calls = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: calls.append(signum))
    try:
        with interrupted_by_signals(), stopped_by_signals(threading.Event()):
            signal.raise_signal(signal.SIGUSR2)
        assert calls == []  # the command line's own handler is not called again
        with stopped_by_signals(threading.Event()):
            signal.raise_signal(signal.SIGUSR2)
            assert calls == []
        assert calls == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_ignored_signals_stay_ignored_except_for_sigint():
    """SIGHUP is ignored under nohup, SIGINT in background jobs of scripts."""
    code = (
        "import signal, threading\n"
        "from codial.utils.signals import stopped_by_signals\n"
        "for each in (signal.SIGHUP, signal.SIGINT): signal.signal(each, signal.SIG_IGN)\n"
        "with stopped_by_signals(threading.Event()) as stop:\n"
        "    signal.raise_signal(signal.SIGHUP); print(stop.is_set())\n"
        "    signal.raise_signal(signal.SIGINT); print(stop.is_set())\n"
        "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


def test_nothing_changes_in_another_thread():
    before, during = signal.getsignal(signal.SIGTERM), []

    def block():
        with stopped_by_signals(threading.Event()), interrupted_by_signals():
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert during == [before]
