"""Linked maps of layers, runs or epochs: images selected in one map are highlighted in all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from threading import RLock
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure

from codial.data import Dataset
from codial.data.base import as_index_tensor
from codial.errors import CodialError
from codial.evaluate import LayerMap
from codial.plots.embeddings import class_styles
from codial.plots.selection import NEIGHBORS, TitledMap, gallery, map_extent, neighbors_of, selected_maps
from codial.plots.style import png
from codial.widgets.display import Panel, error_html
from codial.widgets.thumbnails import thumbnail

MAX_MAPS = 3  # side by side
DPI = 165  # higher than that of the page, so that text is not blurred
_NO_CLASS = -1
_NO_LASSO = "The lasso needs anywidget (pip install anywidget). Without it, select a class, or call select(numbers)."


class EmbeddingMap:
    """Select images in maps with a lasso: all maps highlight them, above a gallery and a histogram of their classes.

    A click on a point shows its image and its neighbors in each map's feature space, and marks them in the maps. Each
    map can be zoomed and panned on its own, which changes no selection; images are sent to the page one by one, when
    the mouse is over their points.
    `select`, `inspect` and `set_maps` do the same from Python, and `render` draws the maps for a page without a kernel.
    Maps contain their neighbors, so no run is read. Errors are shown in the panel.

    Args:
        maps: Maps by run or epoch, then by layer, as `codial.evaluate.map_aligned` returns them.
        images: The images that were mapped, in the same order.
        titles: Titles of the initial maps, one to three, such as "codial/photos, fc7"; by default the last layers of
            the first and of the last run.

    Raises:
        CodialError: There is no such map, or a map is of other images.
    """

    def __init__(self, maps: Mapping[str, Mapping[str, LayerMap]], images: Dataset, titles: Sequence[str] = ()) -> None:
        self.maps = {f"{run}, {layer}": each for run, of_run in maps.items() for layer, each in of_run.items()}
        self.images = images
        self._selected: list[int] = []
        self._current: int | None = None
        self._keys: dict[str, list[Any]] = {}  # what each image widget shows, by its model id
        self._lock = RLock()  # callbacks may come from two threads
        self._updating = False
        _check_maps(self.maps, len(images))
        initial = list(titles) or _default_titles(maps)
        if not 1 <= len(initial) <= MAX_MAPS:
            raise CodialError(f"{len(initial)} maps are given in titles; expected 1 to {MAX_MAPS}.")
        self._require(initial)
        self.menus = [_menu(f"map {number}", list(self.maps), title) for number, title in enumerate(initial, start=1)]
        for menu in self.menus:
            menu.layout = {"flex": "1 1 0%", "width": "auto"}  # as wide as the map below
        self.classes = _menu("class", [("select one", _NO_CLASS), *_numbered(images.classes)], _NO_CLASS)
        self.clear = ipywidgets.Button(description="clear", tooltip="clear the selection", layout={"width": "auto"})
        self.status, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.static, self.gallery, self.neighbors = (_image() for _ in range(3))
        self.lasso = _lasso(self.maps, images)
        self._observe()

    @property
    def selected(self) -> list[int]:
        """Sorted indices of the selected images in `images`; `images.batch` returns their pixels."""
        return list(self._selected)

    @property
    def titles(self) -> list[str]:
        """The titles of the maps side by side."""
        return [menu.value for menu in self.menus]

    def show(self) -> None:
        """Display maps, gallery and neighbors."""
        row = ipywidgets.HBox([self.classes, self.clear, self.status])
        maps = self.lasso or self.static
        children = [ipywidgets.HBox(self.menus), maps, row, self.message, self.gallery, self.neighbors]
        Panel(children, "[maps with a lasso: run this cell in JupyterLab]").show()
        self._draw()

    def render(self) -> Figure:
        """Return maps and gallery as a figure, for a page without a kernel."""
        return selected_maps(self._panels(), self.images, self._selected)

    def select(self, numbers: Iterable[int]) -> None:
        """Replace the selection, as a lasso does.

        Args:
            numbers: Indices into `images`, such as those of a class: `(images.labels == 2).nonzero()[:, 0]`.

        Raises:
            CodialError: There is no such image.
        """
        given = torch.as_tensor(numbers if torch.is_tensor(numbers) else list(numbers))
        indices = as_index_tensor(given, len(self.images))
        with self._lock:
            self._selected = sorted({index % len(self.images) for index in indices.tolist()})
            self._draw()

    def inspect(self, number: int | None) -> None:
        """Show an image and its neighbors, as a click does; None shows none.

        Raises:
            CodialError: There is no such image.
        """
        if number is not None and not 0 <= number < len(self.images):
            raise CodialError(f"There is no image {number}; expected 0 to {len(self.images) - 1}.")
        with self._lock:
            self._current = number
            self._draw()

    def set_maps(self, *titles: str) -> None:
        """Replace the maps side by side.

        Raises:
            CodialError: There is no such map, or the number of titles differs.
        """
        if len(titles) != len(self.menus):
            raise CodialError(f"{len(titles)} titles are given; expected {len(self.menus)}, one per map.")
        self._require(titles)
        for menu, title in zip(self.menus, titles, strict=True):
            menu.value = title

    def _require(self, titles: Iterable[str]) -> None:
        for title in titles:
            if title not in self.maps:
                raise CodialError(f"There is no map {title!r}; expected one of: {'; '.join(self.maps)}.")

    def _panels(self) -> list[TitledMap]:
        return [(title, self.maps[title]) for title in self.titles]

    def _observe(self) -> None:
        def callback(act: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda change: self._act(act, change.new)

        for menu in self.menus:
            menu.observe(callback(lambda _: self._draw()), names="value")
        self.classes.observe(callback(self._select_class), names="value")
        self.clear.on_click(lambda _: self.select([]))
        if self.lasso:
            self.lasso.observe(callback(self.select), names="selected")
            self.lasso.observe(callback(lambda number: self.inspect(None if number < 0 else number)), names="current")
            self.lasso.observe(callback(self._send_thumbnail), names="hovered")

    def _act(self, act: Callable[[Any], None], value: Any) -> None:
        """Do a control's action, unless this object has set the control, and show its error."""
        with self._lock:
            if not self._updating:
                try:
                    act(value)
                except Exception as error:
                    self.message.value = error_html(error)

    def _select_class(self, label: int) -> None:
        if label != _NO_CLASS:
            self.select(self._of_class(label))

    def _of_class(self, label: int) -> list[int]:
        return (self.images.labels == label).nonzero()[:, 0].tolist()

    def _send_thumbnail(self, number: int) -> None:
        """Send the image of the point under the mouse to the page."""
        if self.lasso and 0 <= number < len(self.images):
            self.lasso.thumbnail = {"number": number, "png": thumbnail(self.images.batch([number])[0])}

    def _draw(self) -> None:
        """Update the panel to the current selection; errors are shown in the panel."""
        with self._lock:
            self._updating = True
            try:
                self._update_controls()
                self._draw_image(self.gallery, self._selected, lambda: gallery(self.images, self._selected))
                key = [self._current, *self.titles]
                self._draw_image(self.neighbors, key, lambda: neighbors_of(self._current, self._panels(), self.images))
                self.message.value = "" if self.lasso else escape(_NO_LASSO)
            except Exception as error:
                self.message.value = error_html(error)
            finally:
                self._updating = False

    def _update_controls(self) -> None:
        """Set controls and maps to the current selection."""
        self.status.value = f"{len(self._selected)} of {len(self.images)} images selected"
        if self._of_class(self.classes.value) != self._selected:
            self.classes.value = _NO_CLASS
        if not self.lasso:
            self._draw_image(self.static, [*self._selected, *self.titles], self.render)
            return
        panels, number = self._panels(), self._current
        with self.lasso.hold_sync():
            self.lasso.panels = [{"title": title, "points": _bytes(each.points)} for title, each in panels]
            self.lasso.selected = list(self._selected)
            self.lasso.current = -1 if number is None else number
            self.lasso.neighbors = (
                [] if number is None else [each.nearest[number, :NEIGHBORS].tolist() for _, each in panels]
            )

    def _draw_image(self, image: Any, key: list[Any], draw: Callable[[], Figure]) -> None:
        """Draw an image widget if what it shows, the key, has changed."""
        if self._keys.get(image.model_id) != key:
            image.value = png(draw(), DPI)
            self._keys[image.model_id] = list(key)


def _lasso(maps: Mapping[str, LayerMap], images: Dataset) -> Any:
    """Return the maps with a lasso, or None if anywidget is not installed."""
    try:
        from codial.widgets.scatter import LinkedMaps
    except ImportError:
        return None
    styles = [[marker, color] for color, marker in class_styles(len(images.classes))]
    labels = images.labels.cpu().int().numpy().tobytes()
    extent = list(map_extent(maps.values()))
    return LinkedMaps(labels=labels, classes=list(images.classes), styles=styles, extent=extent)


def _check_maps(maps: Mapping[str, LayerMap], count: int) -> None:
    if not maps:
        raise CodialError("There are no maps to show; create some with codial.evaluate.map_aligned.")
    for title, each in maps.items():
        if len(each.points) != count:
            raise CodialError(f"The map {title!r} has {len(each.points)} points; expected {count}, one per image.")


def _default_titles(maps: Mapping[str, Mapping[str, LayerMap]]) -> list[str]:
    titles = [f"{run}, {list(of_run)[-1]}" for run, of_run in maps.items() if of_run]
    return list(dict.fromkeys((titles[0], titles[-1])))


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, number) for number, name in enumerate(names)]


def _menu(name: str, options: Sequence[Any], value: Any) -> Any:
    return ipywidgets.Dropdown(
        options=options, value=value, description=name, style={"description_width": "auto"}, layout={"width": "270px"}
    )


def _image() -> Any:
    return ipywidgets.Image(layout={"width": "100%", "max_width": "920px"})


def _bytes(points: torch.Tensor) -> bytes:
    return points.cpu().float().contiguous().numpy().tobytes()
