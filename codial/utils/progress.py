"""Progress bars: in place on a terminal and in a notebook, a line every half a minute in a log."""

import sys
from collections.abc import Iterable
from typing import Any, TextIO

from tqdm import tqdm

_DELAY = 2  # seconds until a bar appears
_LOG_SECONDS = 30  # between two lines of a log


def progress_bar(iterable: Iterable | None = None, desc: str | None = None, total: int | None = None,
                 *, show: bool = True, leave: bool = False, **options: Any) -> tqdm:  # fmt: skip
    """Return a progress bar, which appears only if what it shows takes more than two seconds.

    Args:
        iterable: what is iterated over; None for a bar that is updated by hand.
        desc: what is done.
        total: number of items; that of the iterable if omitted.
        show: whether to show anything.
        leave: whether the last state stays.
        options: others of `tqdm`.
    """
    in_place: dict[str, Any] = {"delay": _DELAY}
    log: dict[str, Any] = {"delay": _LOG_SECONDS, "mininterval": _LOG_SECONDS, "maxinterval": _LOG_SECONDS}
    when = in_place if _is_live(sys.stderr) else log | {"file": _LogLines(sys.stderr)}
    return tqdm(iterable, desc, total, leave, disable=not show or sys.stderr is None, **when, **options)


class _LogLines:
    """A stream on which each state of a bar is a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.replace("\x1b[A", "").strip():  # without moves of the cursor
            self._stream.write(f"{line}\n")

    def flush(self) -> None:
        self._stream.flush()


def _is_live(stream: TextIO | None) -> bool:
    """Return whether a line can be overwritten: on a terminal, or in a notebook's output."""
    return stream is not None and (stream.isatty() or "ipykernel" in sys.modules)
