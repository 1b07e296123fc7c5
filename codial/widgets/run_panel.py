"""Live training curves of a run, whether another process, this one or none is training it."""

import json
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from threading import Lock, RLock, Thread
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from codial.config import Config
from codial.errors import CodialError
from codial.plots.style import LABEL, new_figure
from codial.plots.training_curves import Lines, history
from codial.runs.lock import is_training
from codial.runs.run import Run, open_run
from codial.training.diagnostics import diagnose
from codial.widgets.display import LiveFigure, Panel, error_html

_PERIOD = 0.25  # seconds between two checks of the folder
_LINGER = 20.0  # seconds that a run without a lock is watched, since not every file system supports locks


class RunPanel:
    """Draw a run's history and diagnose it for as long as it is being trained.

    Everything is read from the folder, so it may be a run of another process or a finished one. If the folder is
    deleted, the panel says so and keeps the last figure. The figure is stored in the notebook file.

        RunPanel("runs/photos/codial", others=["runs/photos/rotnet"]).show()

    Args:
        folder: Folder of the run.
        others: Folders of runs to overlay.
        live: The figure that is updated.
    """

    hint = "It is not being trained."  # follows the state of an unfinished run

    def __init__(self, folder: str | Path, others: Sequence[str | Path] = (), live: LiveFigure | None = None) -> None:
        self.folder = Path(folder)
        self.figure = live or LiveFigure(max_updates=450)  # with as many text updates, fewer than 1,000 messages
        self.status = ipywidgets.HTML(_fixed_height(2))
        self.diagnosis = ipywidgets.HTML(_fixed_height(4))
        self.names = _short_names([Path(each) for each in others])
        self.overlays = {other: _checkbox(name) for other, name in self.names.items()}
        self.buttons: dict[str, Any] = {"refresh": self._button("refresh", "draw the run as it is now", self.follow)}
        self._drawing = RLock()
        self._starting = Lock()
        self._watcher: Thread | None = None
        self._drawn: Any = None  # files that the figure was drawn from
        self._exists = False  # whether there was a run at the last check
        self._changed = time.monotonic()  # when the run last changed
        for box in self.overlays.values():
            box.observe(lambda change: self.update(force=True), names="value")

    def show(self) -> None:
        """Display buttons, texts and figure, and follow the run."""
        self.figure.move()
        self._drawn = None
        boxes = ipywidgets.Box(list(self.overlays.values()), layout=ipywidgets.Layout(flex_flow="row wrap"))
        buttons = ipywidgets.HBox(list(self.buttons.values()))
        Panel(
            [buttons, *[boxes] * bool(self.overlays), self.status, self.diagnosis],
            "[buttons, and a diagnosis of the curves: run this cell in JupyterLab]",
        ).show()
        self.follow()

    def follow(self) -> None:
        """Draw now, and whenever the run changes, until it is no longer being trained."""
        self.figure.restart()
        self.update(force=True)
        if not self.figure.updates:  # reserves the figure's place under this cell
            self.figure.update(_placeholder, force=True)
        with self._starting:
            self._changed = time.monotonic()
            if self._watcher is None:
                self._watcher = Thread(target=self._watch, name=f"watching {self.folder.name}", daemon=True)
                self._watcher.start()

    def overlay(self, *folders: str | Path) -> None:
        """Overlay these of the other runs, and no more.

        Raises:
            CodialError: A folder is not among the panel's other runs.
        """
        selected = {Path(each) for each in folders}
        if unknown := sorted(map(str, selected - set(self.overlays))):
            valid = ", ".join(map(str, self.overlays)) or "none"
            raise CodialError(f"{unknown[0]} is not among the panel's other runs; expected some of: {valid}.")
        for folder, box in self.overlays.items():
            box.value = folder in selected

    def render(self) -> Figure:
        """Return the figure of the history so far.

        Raises:
            CodialError: The folder is not a run.
        """
        lines, config = self._read()
        others, missing = self._others(config.name)
        self._show_diagnosis([*diagnose(lines, config), *missing])
        return history(lines, config, others)

    def update(self, force: bool = False) -> None:
        """Update the state and, if the run has changed, the figure; errors are shown in the panel.

        Args:
            force: Whether to draw even if the last update was too recent.
        """
        with self._drawing:
            try:
                text = self.state()
                self._draw(force)
            except Exception as error:  # JupyterLab would not show it
                text = error_html(error)
            self.status.value = _fixed_height(2, text)

    def state(self) -> str:
        """Return the state of the run in one sentence of HTML."""
        if is_training(self.folder):
            return "<b>Training</b> elsewhere; the curves are updated."
        self._require_folder()
        run = open_run(self.folder)
        if run.finished:
            return "<b>Finished.</b>"
        if not run.progress and _is_complete(run):
            return "<b>Finished</b>; the weights are not in this folder."
        return f"{_unfinished_state(run)}. {self.hint}"

    def _draw(self, force: bool) -> None:
        self._require_folder()
        sources = [(folder, _signature(folder)) for folder in (self.folder, *self._overlaid())]
        if sources != self._drawn and self.figure.update(self.render, force):
            self._drawn = sources

    def _require_folder(self) -> None:
        exists = (self.folder / "config.json").exists()
        if self._exists and not exists:
            raise CodialError(f"{self.folder} was deleted; the last figure is kept.")
        self._exists = exists

    def _is_live(self) -> bool:
        """Return whether to check the folder again."""
        return is_training(self.folder) or time.monotonic() - self._changed < _LINGER

    def _watch(self) -> None:
        while self._watcher is not None:
            signature = _signature(self.folder)
            while self._is_live():
                self.update()
                time.sleep(_PERIOD)
                if (new := _signature(self.folder)) != signature:
                    self._changed = time.monotonic()
                    signature = new
            self.update(force=True)
            with self._starting:  # training may have started again meanwhile
                if not self._is_live():
                    self._watcher = None

    def _read(self) -> tuple[Lines, Config]:
        run = open_run(self.folder)
        return run.history, run.config

    def _others(self, own_name: str) -> tuple[dict[str, Lines], list[str]]:
        """Return the histories of the overlaid runs by name, and messages about those that cannot be read."""
        histories: dict[str, Lines] = {}
        errors = []
        for folder in self._overlaid():
            try:
                run = open_run(folder)
                name = run.config.name
                name = f"{name} ({self.names[folder]})" if name in {own_name, *histories} else name
                histories[name] = run.history
            except (CodialError, OSError, ValueError) as error:
                errors.append(f"Left out: {error}")
        return histories, errors

    def _overlaid(self) -> list[Path]:
        return [folder for folder, box in self.overlays.items() if box.value]

    def _show_diagnosis(self, sentences: Sequence[str]) -> None:
        parts = (escape(each).partition(":") for each in sentences)
        self.diagnosis.value = _fixed_height(
            4, "<br>".join(f"<b>{kind}</b>{colon}{rest}" for kind, colon, rest in parts)
        )

    def _button(self, name: str, tooltip: str, action: Callable[[], None]) -> Any:
        button = ipywidgets.Button(description=name, tooltip=tooltip, layout=ipywidgets.Layout(width="110px"))
        button.on_click(lambda _: action())
        return button


def _unfinished_state(run: Run) -> str:
    """Return the state of a run that is neither finished nor being trained."""
    path = run.folder / "diverged.json"
    if path.exists():
        return f"<b>Diverged</b>: NaN or infinite loss at step {json.loads(path.read_text())['step']}"
    if not run.progress:
        return "<b>Started</b>: there is no checkpoint yet"
    steps = f" of {run.progress['steps']:,}" if "steps" in run.progress else ""
    return f"<b>Stopped</b> at step {run.progress['step']:,}{steps}"


def _is_complete(run: Run) -> bool:
    """Return whether the history reaches the last epoch, as that of a published run."""
    return bool(run.history) and run.history[-1]["epoch"] >= run.config.train.epochs


def _signature(folder: Path) -> tuple[int, ...]:
    """Return numbers that change when a run's history grows."""
    try:
        stat = (folder / "history.jsonl").stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Return the last parts of each folder: two, or as many as make them unique."""
    names: dict[Path, str] = {}
    for parts in range(2, max((len(folder.parts) for folder in folders), default=2) + 1):
        names = {folder: "/".join(folder.parts[-parts:]) for folder in folders}
        if len(set(names.values())) == len(names):
            break
    return names


def _fixed_height(lines: int, text: str = "") -> str:
    """Return HTML of a height of some lines, whatever the text, so that nothing below it moves."""
    return f'<div style="line-height: 1.4; height: {1.4 * lines:.1f}em; overflow: auto">{text}</div>'


def _checkbox(name: str) -> ipywidgets.Checkbox:
    layout = ipywidgets.Layout(width="auto", margin="0 16px 0 2px")
    return ipywidgets.Checkbox(True, description=name, indent=False, layout=layout)


def _placeholder() -> Figure:
    figure = new_figure(10.5, 1)
    figure.text(0.5, 0.5, "nothing to draw yet", ha="center", va="center", fontsize=LABEL)
    return figure
