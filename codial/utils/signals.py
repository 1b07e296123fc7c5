"""Signals that ask a process to end: Ctrl-C, `kill`, a closed terminal, and the warnings of batch systems."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# Slurm sends TERM, or with --signal what is chosen; SGE sends USR1 and USR2, LSF USR2 and XCPU; Windows has BREAK.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
STOP_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))

_Handlers = dict[int, Any]


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt inside the block at any of `STOP_SIGNALS`, as Python does at Ctrl-C."""
    with _handled_by(_interrupt):
        yield


@contextmanager
def stopped_by_signals(stop: threading.Event, may_abort: bool = True) -> Iterator[threading.Event]:
    """Set `stop` at any of `STOP_SIGNALS` inside the block.

    A handler that was installed before, such as that of a library that requeues jobs, is called after the block.

    Args:
        stop: event to set.
        may_abort: whether SIGINT raises KeyboardInterrupt once `stop` is set. torchrun sends each signal on to its
            processes, which a terminal has sent it already, so that a repeated one is no second Ctrl-C there.
    """
    received: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        if may_abort and signum == signal.SIGINT and stop.is_set():
            raise KeyboardInterrupt
        received.append(signum)
        stop.set()

    with _handled_by(handle) as previous:
        yield stop
    for signum in dict.fromkeys(received):
        if callable(previous[signum]) and previous[signum] not in (signal.default_int_handler, _interrupt):
            signal.raise_signal(signum)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[_Handlers]:
    """Install a handler for the block, and yield the handlers before it.

    Signals that are ignored, as SIGHUP is under nohup, stay so; except for SIGINT, which shells ignore in background
    jobs. Outside of the main thread, which alone can handle signals, nothing changes.
    """
    previous: _Handlers = {}
    if threading.current_thread() is not threading.main_thread():
        yield previous
        return
    try:
        for signum in STOP_SIGNALS:
            if signum == signal.SIGINT or signal.getsignal(signum) is not signal.SIG_IGN:
                previous[signum] = signal.signal(signum, handler)
        yield previous
    finally:
        for signum, before in previous.items():
            signal.signal(signum, signal.SIG_DFL if before is None else before)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
