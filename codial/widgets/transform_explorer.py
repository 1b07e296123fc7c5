"""Interactive transforms: an image's views as the network gets them, or one view with manual parameters."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure

from codial.config import ViewsConfig
from codial.data import Dataset
from codial.evaluate import predictions
from codial.plots.pretext_saliency import sampled_views
from codial.runs.run import Run, open_run
from codial.transforms import sample_views
from codial.widgets.display import LiveFigure, Panel, error_html
from codial.widgets.image_picker import ImagePicker
from codial.widgets.manual_view import ManualControls, manual_figure
from codial.widgets.view_settings import ViewsControls, changed_config

MODES = {"sampled": "all views, as the network gets them", "manual": "one view, with manual parameters"}


class TransformExplorer:
    """Select an image and see its views: all of them, sampled from adjustable ranges, or one with manual parameters.

    `show()` displays controls and figure; `render_views(seed=3, warp_offset=0.2)` and `render(area=0.3)` return the
    same figures without a browser. Errors are shown in the panel.

    Args:
        images: The initial data set; the panel can open others.
        config: The initial settings of the views.
        run: A run or its folder, whose predictions are shown; the panel also offers the runs beside it.
        number: Number of the initial image.
        seed: Initial seed.
        root: Folder of named data sets, as for `load_images`.
    """

    def __init__(
        self,
        images: Dataset,
        config: ViewsConfig,
        run: Run | str | Path | None = None,
        number: int = 0,
        seed: int = 0,
        root: str | Path | None = None,
    ) -> None:
        self.config = config
        self.message = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="28px"))
        self.figure = LiveFigure(pause=0, max_updates=10**9)
        self._lock = RLock()  # callbacks may come from two threads
        self._acting = False
        self._shown = False
        self.picker = ImagePicker(images, config.size, self._act, number, root)
        self.settings = ViewsControls(config, self._refresh)
        self.manual = ManualControls(config, self._refresh)
        self.controls = _controls(_folder(run), seed)
        self.pane = ipywidgets.VBox(layout=ipywidgets.Layout(min_height="252px"))  # as high as the larger one
        self._observe()

    def show(self) -> None:
        """Display the controls, and the figure below them."""
        head = [self.picker.row, *_control_rows(self.controls)]
        Panel([*head, self.pane, self.message], "[sliders: run this cell in JupyterLab]").show()
        self.figure.move()
        self._shown = True
        self._refresh()

    def render(
        self, *, seed: int = 0, run: Run | str | Path | None = None, arrows: bool = True, **values: Any
    ) -> Figure:
        """Return the figure of one view with manual parameters.

        Args:
            seed: Seed of the warp's offsets, and of the order of color operations unless it is given.
            run: Run whose prediction for the view is printed.
            arrows: Whether to draw the warp's offsets.
            **values: Parameters; those left out are as in `codial.widgets.manual_view.DEFAULTS`.

        Raises:
            CodialError: There is no such parameter, its value is out of range, or the run makes no predictions.
        """
        return manual_figure(self.picker.image, self.config, values, seed=seed, run=_open(run), arrows=arrows)

    def render_views(
        self, *, seed: int = 0, run: Run | str | Path | None = None, arrows: bool = True, **changes: Any
    ) -> Figure:
        """Return the figure of all views, as sampled for training.

        Args:
            seed: Seed of the views.
            run: Run whose predictions for the views are shown.
            arrows: Whether to draw the warp's offsets.
            **changes: Fields of the initial `ViewsConfig` to change, such as `warp_offset=0.2`.

        Raises:
            CodialError: There is no such field, its value is invalid, or the run makes no predictions.
        """
        config, image = changed_config(self.config, changes), self.picker.image
        views = sample_views(image.unsqueeze(0), config, torch.Generator().manual_seed(seed))
        opened = _open(run)
        if opened is None:
            return sampled_views(image, views, config, arrows=arrows)
        prediction = predictions(opened, views.images[0])
        return sampled_views(image, views, config, prediction, run_name=opened.config.name, arrows=arrows)

    def select(self, source: str | Path, number: int = 0) -> None:
        """Select an image of a data set or a folder by its number, or an image file.

        Raises:
            CodialError: There is no such image, or it cannot be decoded.
        """
        self._do(lambda: self.picker.select(source, number))

    def upload(self, name: str, content: bytes) -> None:
        """Select the image in the bytes of a file.

        Raises:
            CodialError: The bytes cannot be decoded.
        """
        self._do(lambda: self.picker.upload(name, content))

    def resample(self) -> None:
        """Draw the figure with the next seed."""
        self._do(self._next_seed)

    def _next_seed(self) -> None:
        self.controls["seed"].value += 1

    def _observe(self) -> None:
        for name in ("mode", "seed", "run", "arrows"):
            self.controls[name].observe(lambda _: self._refresh(), names="value")
        self.controls["resample"].on_click(lambda _: self._act(self._next_seed))
        self.settings.reset_button.on_click(lambda _: self._act(self.settings.reset))

    def _refresh(self) -> None:
        self._act(lambda: None)

    def _act(self, action: Callable[[], None], message: str = "") -> None:
        """Do a control's action and show its error, since JupyterLab does not show errors in callbacks."""
        try:
            self._do(action, message)
        except Exception as error:
            self.message.value = error_html(error)

    def _do(self, action: Callable[[], None], message: str = "") -> None:
        with self._lock:
            if self._acting:  # the action itself has set a control
                return
            self._acting = True
            try:
                self.message.value = escape(message)
                action()
                if self._shown:
                    self._draw()
            finally:
                self._acting = False

    def _draw(self) -> None:
        """Redraw the figure; if the run makes no predictions, show the error and the views without them."""
        mode, run = self.controls["mode"].value, self.controls["run"].value
        boxes = [self.settings.box if mode == "sampled" else self.manual.box]
        if list(self.pane.children) != boxes:  # otherwise the keyboard focus would be lost
            self.pane.children = boxes
        message = ""
        try:
            figure = self._figure(mode, run)
        except Exception as error:
            if run is None:
                raise
            figure = self._figure(mode, None)
            message = error_html(error)
        self.figure.update(lambda: figure, force=True)
        self.message.value = message

    def _figure(self, mode: str, run: Path | None) -> Figure:
        common: dict[str, Any] = {"seed": self.controls["seed"].value, "run": run}
        common["arrows"] = self.controls["arrows"].value
        if mode == "manual":
            self.manual.update_text(common)
            return self.render(**common, **self.manual.values)
        self.settings.update_text()
        return self.render_views(**common, **vars(self.settings.config))


def _folder(run: Run | str | Path | None) -> Path | None:
    return run.folder if isinstance(run, Run) else Path(run) if run else None


def _open(run: Run | str | Path | None) -> Run | None:
    """Open a run again, since it may have changed or been deleted."""
    folder = _folder(run)
    return open_run(folder) if folder else None


def _controls(run: Path | None, seed: int) -> dict[str, Any]:
    def button(description: str, tooltip: str) -> Any:
        return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="auto"))

    folders = {run, *(path.parent for path in run.parent.glob("*/config.json"))} if run else set()
    runs = [("none", None), *((f"{folder.parent.name}/{folder.name}", folder) for folder in sorted(folders))]
    return {
        "mode": ipywidgets.ToggleButtons(
            options=[(label, mode) for mode, label in MODES.items()], style={"button_width": "auto"}
        ),
        "seed": ipywidgets.BoundedIntText(
            seed, min=0, max=2**31 - 1, description="seed", layout=ipywidgets.Layout(width="190px")
        ),
        "resample": button("⟳ resample", "draw with the next seed"),
        "arrows": ipywidgets.Checkbox(
            True, description="warp arrows", indent=False, layout=ipywidgets.Layout(width="125px")
        ),
        "run": ipywidgets.Dropdown(
            options=runs,
            value=run,
            description="prediction of",
            style={"description_width": "auto"},
            layout=ipywidgets.Layout(width="290px"),
        ),
    }


def _control_rows(controls: dict[str, Any]) -> list[Any]:
    rows = (("mode",), ("seed", "resample", "arrows", "run"))
    return [ipywidgets.HBox([controls[name] for name in names]) for names in rows]
