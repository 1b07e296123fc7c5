"""Browse nearest neighbors: a query image, and its neighbors by every run beside it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from codial.data import Dataset
from codial.errors import CodialError
from codial.models import layer_names
from codial.plots.retrieval import query_rows
from codial.plots.save import require_format, save
from codial.plots.style import TICKS
from codial.runs.run import Run
from codial.utils.paths import project_path
from codial.widgets.display import Panel, error_html
from codial.widgets.neighbor_search import Neighbors, NeighborSearch, Query, stack_neighbors
from codial.widgets.retrieval_controls import (
    LAST,
    block_title,
    class_name,
    control_rows,
    controls,
    dataset_title,
    image_title,
    precision_html,
    require_settings,
    selectable_layers,
)
from codial.widgets.thumbnails import BUTTON_STYLE, ImageButtons, data_url

PAGE = 9  # images of the query's data set shown for selection
MAX_ROWS = 40  # queries in a figure, the most recent ones


class RetrievalBrowser:
    """Select a query image, see its nearest neighbors by several runs side by side, and make one of them the query.

    Every image is a button: a click, or Tab and Enter, makes it the query. A run's features are computed when a layer
    is first selected, and kept. Errors are shown in the panel.

    Args:
        runs: Runs by name.
        gallery: The images to search.
        queries: The first data set of queries; an image of the gallery is not its own neighbor.
        layer: The layer whose features are compared; by default the last of each run.
        k: Number of neighbors of each run.
    """

    def __init__(
        self, runs: Mapping[str, Run], gallery: Dataset, queries: Dataset, layer: str = "", k: int = 7
    ) -> None:
        self.runs = dict(runs)
        self.datasets = {"gallery": gallery} if queries is gallery else {"queries": queries, "gallery": gallery}
        self.trail = [Query(next(iter(self.datasets)), 0)]
        self.layers, default = selectable_layers(layer_names(run.config) for run in self.runs.values())
        self.controls = controls(self.datasets, self.layers, layer or default, k)
        self.message, self.caption, self.style = (ipywidgets.HTML() for _ in range(3))
        self.message.layout.min_height = "44px"  # two lines, so that the layout does not move
        self.image = ipywidgets.HTML().add_class("codial-query")
        page = f"codial-{id(self):x}"
        self.strip = ImageButtons(f"{page}-strip", "codial-thumb")
        self.rows = {
            name: ImageButtons(f"{page}-{index}", "codial-tile", "56px") for index, name in enumerate(self.runs)
        }
        self.search = NeighborSearch(self.runs, self.datasets, self._say)
        self._lock = RLock()  # callbacks may come from two threads
        self._updating = False
        self._observe()

    def show(self) -> None:
        """Display the panel."""
        head = ipywidgets.HBox(
            [self.image, ipywidgets.VBox([self.caption, *control_rows(self.controls), self.message])]
        )
        columns = ipywidgets.Box([row.box for row in self.rows.values()])
        columns.layout.flex_flow = "row wrap"
        for column in columns.children:
            column.layout.flex = "1 1 264px"  # three tiles: three runs stand side by side at 1280 pixels
        children = [self.style, head, self.strip.box, columns]
        Panel(children, "[a browser of neighbors: run this cell in JupyterLab]").show()
        self._draw()

    def go(self, source: str, number: int) -> None:
        """Make an image of "queries" or "gallery" the query."""
        with self._lock:
            if self.trail[-1] != (source, number):
                self.trail.append(Query(source, number))
            self._draw()

    def back(self) -> None:
        """Return to the query before this one."""
        with self._lock:
            if len(self.trail) > 1:
                self.trail.pop()
            self._draw()

    def configure(self, layer: str | None = None, k: int | None = None) -> None:
        """Change the layer or the number of neighbors.

        Raises:
            CodialError: There is no such layer, or the number is out of range.
        """
        layer_menu, k_slider = self.controls["layer"], self.controls["k"]
        layer = layer_menu.value if layer is None else layer
        k = k_slider.value if k is None else k
        require_settings(self.layers, layer, k, k_slider.max)
        with self._lock:
            layer_menu.value = layer
            k_slider.value = k

    def figure(self) -> Figure:
        """Draw the most recent `MAX_ROWS` queries, one per row, as the paper's Figure 4.

        Raises:
            CodialError: As `neighbors`.
        """
        with self._lock:
            layer, k = self.controls["layer"].value, self.controls["k"].value
            trail = list(dict.fromkeys(self.trail))[-MAX_ROWS:]
            self._require_images()
            by_run = {name: [self.neighbors(name, query, layer, k) for query in trail] for name in self.rows}
        results = {name: stack_neighbors(neighbors) for name, neighbors in by_run.items()}
        sources = [(self.datasets[query.source], query.number) for query in trail]
        images = [dataset.batch([number])[0] for dataset, number in sources]
        titled = {block_title(name, layer, result): result for name, result in results.items()}
        return query_rows(images, [class_name(*source) for source in sources], self.datasets["gallery"], titled)

    def export(self, path: str | Path) -> Path:
        """Write the figure as PNG or PDF.

        Args:
            path: Path of the file, whose suffix gives the format; relative to the project. An existing file is never
                replaced: the new one gets a number.

        Returns:
            The path of the new file.

        Raises:
            CodialError: The path has another suffix, the file cannot be written, or as `neighbors`.
        """
        require_format(Path(path))
        return save(self.figure(), project_path(path))

    def neighbors(self, name: str, query: Query, layer: str, k: int) -> Neighbors:
        """Return an image's k nearest neighbors by a run, as `NeighborSearch.neighbors` does."""
        return self.search.neighbors(name, query, "" if layer == LAST else layer, k)

    def _observe(self) -> None:
        for name in ("dataset", "number", "layer", "k"):
            self.controls[name].observe(self._on_change, names="value")
        self.controls["previous"].on_click(lambda _: self._step(-1))
        self.controls["next"].on_click(lambda _: self._step(1))
        self.controls["back"].on_click(lambda _: self.back())
        self.controls["save"].on_click(lambda _: self._save())

    def _on_change(self, change: Any) -> None:
        """Follow the controls, unless this object has set them."""
        with self._lock:
            if not self._updating:
                source = self.controls["dataset"].value
                self.go(source, min(self.controls["number"].value, max(0, len(self.datasets[source]) - 1)))

    def _step(self, by: int) -> None:
        source, number = self.trail[-1]
        self.go(source, (number + by) % max(1, len(self.datasets[source])))

    def _say(self, message: str) -> None:
        self.message.value = escape(message)

    def _save(self) -> None:
        try:
            self._say(f"Wrote {self.export(self.controls['file'].value)}")
        except Exception as error:
            self.message.value = error_html(error)

    def _draw(self) -> None:
        """Show the query and every run's neighbors; errors are shown in the panel."""
        with self._lock:
            try:
                self._update_controls()
                self._require_images()
                by_run = {name: self._try_neighbors(name) for name in self.rows}  # first, so that all changes at once
                rules = [self._draw_strip(), *(self._draw_row(name, each) for name, each in by_run.items())]
                self.style.value = f"<style>{BUTTON_STYLE}{''.join(rules)}</style>"
                self._draw_query()
                self.message.value = ""
            except Exception as error:
                self.message.value = error_html(error)

    def _update_controls(self) -> None:
        """Set the controls to the current query."""
        self._updating = True
        try:
            source, number = self.trail[-1]
            self.controls["number"].max = max(0, len(self.datasets[source]) - 1)
            self.controls["dataset"].value = source
            self.controls["number"].value = number
            self.controls["back"].disabled = len(self.trail) == 1
        finally:
            self._updating = False

    def _require_images(self) -> None:
        for images in (self.datasets[self.trail[-1].source], self.datasets["gallery"]):
            if len(images) == 0:
                raise CodialError(f"{dataset_title(images)} has no images; select another data set.")

    def _try_neighbors(self, name: str) -> Neighbors | Exception:
        try:
            return self.neighbors(name, self.trail[-1], self.controls["layer"].value, self.controls["k"].value)
        except Exception as error:  # shown in this run's row only
            return error

    def _draw_query(self) -> None:
        source, number = self.trail[-1]
        images = self.datasets[source]
        self.image.value = f'<img alt="image {number}" width="100" src="{data_url(images.batch([number])[0])}">'
        self.caption.value = f"<b>query</b>: {escape(image_title(images, number))}, of {escape(dataset_title(images))}"

    def _draw_strip(self) -> str:
        """Show the query and its adjacent images in its data set; return the style sheet of their buttons."""
        source, number = self.trail[-1]
        images = self.datasets[source]
        first = number - number % PAGE
        numbers = list(range(first, min(first + PAGE, len(images))))
        self.strip.source = source
        for index, each in enumerate(numbers):
            button = self.strip.button(index, self.go)
            button.description = str(each)
            button.tooltip = f"{image_title(images, each)}: use as query"
        self.strip.fill(numbers, f"<b>Select an image</b> of {escape(dataset_title(images))}, or a neighbor below.")
        frames = ["query" if each == number else "" for each in numbers]
        return self.strip.style_sheet(images.batch(numbers), frames)

    def _draw_row(self, name: str, neighbors: Neighbors | Exception) -> str:
        """Show a run's neighbors or its error; return the style sheet of their buttons."""
        row, gallery = self.rows[name], self.datasets["gallery"]
        if isinstance(neighbors, Exception):
            row.fill([], f"<b>{escape(name)}</b>: {error_html(neighbors)}")
            return ""
        numbers, outcomes = neighbors.indices.tolist(), neighbors.outcomes
        for index, (number, cosine) in enumerate(zip(numbers, neighbors.similarity.tolist(), strict=True)):
            button = row.button(index, self.go)
            button.description = f"{TICKS[outcomes[index]]}{cosine:.2f}"
            button.tooltip = f"{image_title(gallery, number)}, cosine {cosine:.3f}: use as query"
        row.fill(numbers, f"<b>{escape(name)}</b>{precision_html(neighbors)}")
        return row.style_sheet(gallery.batch(numbers), outcomes)
