"""The curves of a run under a cell, whoever writes it: another process, this one, or nobody any more."""

import json
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from threading import Lock, RLock, Thread
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from codial.claims import being_trained
from codial.config import Config
from codial.errors import CodialError
from codial.plots.history import Lines, history
from codial.plots.style import LABEL, new_figure
from codial.runs import Run, open_run
from codial.verdicts import verdict
from codial.widgets.display import LiveFigure, Panel, told

_PERIOD = 0.25  # seconds between two looks at the folder
_LINGER = 20.0  # seconds that a folder is watched on when nobody writes it, since not every file system has locks


class RunPanel:
    """Draw a run's history, and say in words what it means, for as long as somebody writes it.

    What is drawn is what the folder holds, so it may be a run of another process or a finished one; one that is gone is
    told of in the panel, and the last picture stays. In a notebook's file the picture is kept.

        RunPanel("runs/photos/codial", others=["runs/photos/rotnet"]).show()

    Args:
        folder: of the run.
        others: folders of runs that are laid over it.
        live: the figure under the cell.
    """

    hint = "Nobody trains it now."  # of a run that is not finished

    def __init__(self, folder: str | Path, others: Sequence[str | Path] = (), live: LiveFigure | None = None) -> None:
        self.folder = Path(folder)
        self.figure = live or LiveFigure(most=450)  # with as many changes of the words, fewer than 1,000 messages
        self.status, self.words = ipywidgets.HTML(_high(2)), ipywidgets.HTML(_high(4))
        self.names = _shortened([Path(each) for each in others])
        self.laid = {other: _checkbox(name) for other, name in self.names.items()}
        self.buttons: dict[str, Any] = {
            "look again": self._button("look again", "draw the run as it is now", self.follow)
        }
        self._drawing, self._starting = RLock(), Lock()
        self._watcher: Thread | None = None
        self._drawn: Any = None  # what the figure was made from
        self._met = False  # whether there was a run
        self._since = time.monotonic()  # when it last changed
        for box in self.laid.values():
            box.observe(lambda change: self.update(force=True), names="value")

    def show(self) -> None:
        """Show buttons, words and figure under the cell, and follow the run."""
        self.figure.move()
        self._drawn = None
        boxes = ipywidgets.Box(list(self.laid.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
        Panel(
            [ipywidgets.HBox(list(self.buttons.values())), *[boxes] * bool(self.laid), self.status, self.words],
            "[buttons, and what the curves mean: run this cell in JupyterLab]",
        ).show()
        self.follow()

    def follow(self) -> None:
        """Draw now, and again when the run has gone on, until nobody writes it any more."""
        self.figure.restart()
        self.update(force=True)
        if not self.figure.updates:  # a place for the picture, under this cell
            self.figure.update(_nothing, force=True)
        with self._starting:
            self._since = time.monotonic()
            if self._watcher is None:
                self._watcher = Thread(target=self._watch, name=f"watching {self.folder.name}", daemon=True)
                self._watcher.start()

    def overlay(self, *folders: str | Path) -> None:
        """Lay these of the other runs over this one, and no more.

        Raises:
            CodialError: the panel was not given such a run.
        """
        chosen = {Path(each) for each in folders}
        if unknown := sorted(map(str, chosen - set(self.laid))):
            known = ", ".join(map(str, self.laid)) or "none"
            raise CodialError(f"{unknown[0]} is not among the panel's other runs; it has {known}.")
        for folder, box in self.laid.items():
            box.value = folder in chosen

    def render(self) -> Figure:
        """Return the figure of the history so far.

        Raises:
            CodialError: the folder is not a run.
        """
        lines, config = self._read()
        others, missing = self._others(config.name)
        self._say([*verdict(lines, config), *missing])
        return history(lines, config, others)

    def update(self, force: bool = False) -> None:
        """Tell how the run is and, if it has gone on, draw it; what fails is told in the panel.

        Args:
            force: draw it even if the last drawing was just now.
        """
        with self._drawing:
            try:
                words = self.state()
                self._draw(force)
            except Exception as error:  # JupyterLab would hide it
                words = told(error)
            self.status.value = _high(2, words)

    def state(self) -> str:
        """Say in one sentence who writes the run."""
        if being_trained(self.folder):
            return "<b>Followed</b>: it is being trained elsewhere."
        self._require_there()
        run = open_run(self.folder)
        if not run.progress and _complete(run):
            return "<b>Trained</b>; its weights are not here."
        return f"{_standing(run)}. {self.hint}" if not run.finished else "<b>Finished.</b>"

    def _draw(self, force: bool) -> None:
        self._require_there()
        sources = [(folder, _signature(folder)) for folder in (self.folder, *self._chosen())]
        if sources != self._drawn and self.figure.update(self.render, force):
            self._drawn = sources

    def _require_there(self) -> None:
        there = (self.folder / "config.json").exists()
        if self._met and not there:
            raise CodialError(f"{self.folder} is gone; the last picture of it stays.")
        self._met = there

    def _live(self) -> bool:
        """Say whether to look again."""
        return being_trained(self.folder) or time.monotonic() - self._since < _LINGER

    def _watch(self) -> None:
        while self._watcher is not None:
            signature = _signature(self.folder)
            while self._live():
                self.update()
                time.sleep(_PERIOD)
                if (now := _signature(self.folder)) != signature:
                    self._since, signature = time.monotonic(), now
            self.update(force=True)
            with self._starting:  # it may have been started again meanwhile
                if not self._live():
                    self._watcher = None

    def _read(self) -> tuple[Lines, Config]:
        run = open_run(self.folder)
        return run.history, run.config

    def _others(self, own: str) -> tuple[dict[str, Lines], list[str]]:
        """Return the histories that are laid over, by name, and what to say of those that are missing."""
        found: dict[str, Lines] = {}
        missing = []
        for folder in self._chosen():
            try:
                run = open_run(folder)
                taken = run.config.name in {own, *found}
                found[f"{run.config.name} ({self.names[folder]})" if taken else run.config.name] = run.history
            except (CodialError, OSError, ValueError) as error:
                missing.append(f"Left out: {error}")
        return found, missing

    def _chosen(self) -> list[Path]:
        return [folder for folder, box in self.laid.items() if box.value]

    def _say(self, sentences: Sequence[str]) -> None:
        parts = (escape(each).partition(":") for each in sentences)
        self.words.value = _high(4, "<br>".join(f"<b>{kind}</b>{colon}{rest}" for kind, colon, rest in parts))

    def _button(self, name: str, tooltip: str, do: Callable[[], None]) -> Any:
        button = ipywidgets.Button(description=name, tooltip=tooltip, layout=ipywidgets.Layout(width="110px"))
        button.on_click(lambda _: do())
        return button


def _standing(run: Run) -> str:
    """Say how far a run that is not finished has come."""
    path = run.folder / "diverged.json"
    if path.exists():
        return f"<b>Broken</b>: its loss was no number at step {json.loads(path.read_text())['step']}"
    if not run.progress:
        return "<b>Begun</b>: it has no checkpoint yet"
    steps = f" of {run.progress['steps']:,}" if "steps" in run.progress else ""
    return f"<b>Stopped</b> at step {run.progress['step']:,}{steps}"


def _complete(run: Run) -> bool:
    """Say whether its history comes to its last epoch, as that of a published run."""
    return bool(run.history) and run.history[-1]["epoch"] >= run.config.train.epochs


def _signature(folder: Path) -> tuple[int, ...]:
    """Return what changes when a run goes on."""
    try:
        stat = (folder / "history.jsonl").stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _shortened(folders: Sequence[Path]) -> dict[Path, str]:
    """Return the last parts of folders, two or as many as tell them apart."""
    for parts in range(2, max((len(folder.parts) for folder in folders), default=2) + 1):
        found = {folder: "/".join(folder.parts[-parts:]) for folder in folders}
        if len(set(found.values())) == len(found):
            break
    return found


def _high(lines: int, words: str = "") -> str:
    """Return words with room for some lines, whatever they are, so that nothing below them moves."""
    return f'<div style="line-height: 1.4; height: {1.4 * lines:.1f}em; overflow: auto">{words}</div>'


def _checkbox(name: str) -> ipywidgets.Checkbox:
    layout = ipywidgets.Layout(width="auto", margin="0 16px 0 2px")
    return ipywidgets.Checkbox(True, description=name, indent=False, layout=layout)


def _nothing() -> Figure:
    figure = new_figure(10.5, 1)
    figure.text(0.5, 0.5, "nothing to draw yet", ha="center", va="center", fontsize=LABEL)
    return figure
