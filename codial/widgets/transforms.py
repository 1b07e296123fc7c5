"""Explore transforms: a picture's views as the network gets them, or one view made by hand, and a run's belief."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure

from codial.config import ViewsConfig
from codial.data import Pictures
from codial.evaluate import beliefs
from codial.plots.beliefs import drawn_views
from codial.runs import Run, open_run
from codial.views import sample_views
from codial.widgets.byhand import HandControls, hand_figure
from codial.widgets.display import LiveFigure, Panel, told
from codial.widgets.pictures import PictureChooser
from codial.widgets.ranges import ViewsControls, changed_config

MODES = {"drawn": "all views, as the network gets them", "hand": "one view, by hand"}


class TransformExplorer:
    """Choose a picture, and see its views: all of them, drawn from adjustable ranges, or one made by hand.

    `show()` puts controls and figure under the cell; `render_views(seed=3, warp_offset=0.2)` and `render(area=0.3)`
    make the same figures without a browser. What cannot be done is told in the panel.

    Args:
        images: the set to choose pictures from; the panel can open others.
        config: of the views to begin with.
        run: a run or its folder, whose belief about each view is shown; the panel offers those beside it, too.
        number: of the first picture.
        seed: of the first draw.
        root: where named sets lie; None as `load_images`.
    """

    def __init__(
        self,
        images: Pictures,
        config: ViewsConfig,
        run: Run | str | Path | None = None,
        number: int = 0,
        seed: int = 0,
        root: str | Path | None = None,
    ) -> None:
        self.config = config
        self.message = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="28px"))
        self.figure = LiveFigure(pause=0, most=10**9)
        self._lock, self._doing, self._shown = RLock(), False, False  # callbacks may come from two threads
        self.chooser = PictureChooser(images, config.size, self._act, number, root)
        self.ranges, self.hand = ViewsControls(config, self._changed), HandControls(config, self._changed)
        self.controls = _controls(_folder(run), seed)
        self.pane = ipywidgets.VBox(layout=ipywidgets.Layout(min_height="252px"))  # of the larger: nothing jumps
        self._listen()

    def show(self) -> None:
        """Show the controls, and below them the figure."""
        head = [self.chooser.row, *_lines(self.controls)]
        Panel([*head, self.pane, self.message], "[sliders: run this cell in JupyterLab]").show()
        self.figure.move()
        self._shown = True
        self._changed()

    def render(
        self, *, seed: int = 0, run: Run | str | Path | None = None, arrows: bool = True, **values: Any
    ) -> Figure:
        """Return the figure of one view made by hand.

        Args:
            seed: draws the warp's offsets, and the order of the colour operations where none is chosen.
            run: whose belief about the view is told.
            arrows: show the warp's offsets.
            **values: parameters; those left out are as `codial.widgets.byhand.DEFAULTS`.

        Raises:
            CodialError: there is no such parameter, its value is out of range, or the run cannot be asked.
        """
        picture, asked = self.chooser.picture, _opened(run)
        return hand_figure(picture, self.config, values, seed=seed, run=asked, arrows=arrows)

    def render_views(
        self, *, seed: int = 0, run: Run | str | Path | None = None, arrows: bool = True, **changes: Any
    ) -> Figure:
        """Return the figure of all views, as the sampler draws them.

        Args:
            seed: of the draw.
            run: whose belief about each view is shown.
            arrows: show the warp's offsets.
            **changes: fields of the given `ViewsConfig` to change, such as `warp_offset=0.2`.

        Raises:
            CodialError: there is no such field, its value does not fit, or the run cannot be asked.
        """
        config, picture = changed_config(self.config, changes), self.chooser.picture
        views = sample_views(picture.unsqueeze(0), config, torch.Generator().manual_seed(seed))
        asked = _opened(run)
        if asked is None:
            return drawn_views(picture, views, config, arrows=arrows)
        belief = beliefs(asked, views.images[0])
        return drawn_views(picture, views, config, belief, who=asked.config.name, arrows=arrows)

    def choose(self, source: str | Path, number: int = 0) -> None:
        """Take a picture of a set or a folder by its number, or a picture file.

        Raises:
            CodialError: there is no such picture, or it does not decode.
        """
        self._do(lambda: self.chooser.choose(source, number))

    def upload(self, name: str, content: bytes) -> None:
        """Take the picture in a file's bytes.

        Raises:
            CodialError: they do not decode.
        """
        self._do(lambda: self.chooser.upload(name, content))

    def again(self) -> None:
        """Draw again: with the next seed."""
        self._do(self._next_seed)

    def _next_seed(self) -> None:
        self.controls["seed"].value += 1

    def _listen(self) -> None:
        for name in ("mode", "seed", "run", "arrows"):
            self.controls[name].observe(lambda _: self._changed(), names="value")
        self.controls["again"].on_click(lambda _: self._act(self._next_seed))
        self.ranges.as_given.on_click(lambda _: self._act(self.ranges.reset))

    def _changed(self) -> None:
        self._act(lambda: None)

    def _act(self, action: Callable[[], None], doing: str = "") -> None:
        """Do what a control asks for; an error is shown, for JupyterLab hides those of callbacks."""
        try:
            self._do(action, doing)
        except Exception as error:
            self.message.value = told(error)

    def _do(self, action: Callable[[], None], doing: str = "") -> None:
        with self._lock:
            if self._doing:  # a control that the action itself has set
                return
            self._doing = True
            try:
                self.message.value = escape(doing)
                action()
                if self._shown:
                    self._draw()
            finally:
                self._doing = False

    def _draw(self) -> None:
        """Draw anew; a run that cannot be asked is told, and the views are shown without its belief."""
        mode, run = self.controls["mode"].value, self.controls["run"].value
        boxes = [self.ranges.box if mode == "drawn" else self.hand.box]
        if list(self.pane.children) != boxes:  # those in use stay, and the keyboard keeps its place
            self.pane.children = boxes
        try:
            figure, said = self._figure(mode, run), ""
        except Exception as error:
            if run is None:
                raise
            figure, said = self._figure(mode, None), told(error)
        self.figure.update(lambda: figure, force=True)
        self.message.value = said

    def _figure(self, mode: str, run: Path | None) -> Figure:
        common: dict[str, Any] = {"seed": self.controls["seed"].value, "run": run}
        common["arrows"] = self.controls["arrows"].value
        if mode == "hand":
            self.hand.tell(common)
            return self.render(**common, **self.hand.values)
        self.ranges.tell()
        return self.render_views(**common, **vars(self.ranges.config))


def _folder(run: Run | str | Path | None) -> Path | None:
    return run.folder if isinstance(run, Run) else Path(run) if run else None


def _opened(run: Run | str | Path | None) -> Run | None:
    """Open a run anew, for it may be gone by now."""
    folder = _folder(run)
    return open_run(folder) if folder else None


def _controls(run: Path | None, seed: int) -> dict[str, Any]:
    def button(description: str, tooltip: str) -> Any:
        return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="auto"))

    folders = {run, *(path.parent for path in run.parent.glob("*/config.json"))} if run else set()
    runs = [("none", None), *((f"{folder.parent.name}/{folder.name}", folder) for folder in sorted(folders))]
    return {
        "mode": ipywidgets.ToggleButtons(
            options=[(says, mode) for mode, says in MODES.items()], style={"button_width": "auto"}
        ),
        "seed": ipywidgets.BoundedIntText(
            seed, min=0, max=2**31 - 1, description="seed", layout=ipywidgets.Layout(width="190px")
        ),
        "again": button("⟳ draw again", "the same with the next seed"),
        "arrows": ipywidgets.Checkbox(
            True, description="warp's arrows", indent=False, layout=ipywidgets.Layout(width="125px")
        ),
        "run": ipywidgets.Dropdown(
            options=runs, value=run, description="belief of", layout=ipywidgets.Layout(width="290px")
        ),
    }


def _lines(controls: dict[str, Any]) -> list[Any]:
    lines = (("mode",), ("seed", "again", "arrows", "run"))
    return [ipywidgets.HBox([controls[name] for name in names]) for names in lines]
