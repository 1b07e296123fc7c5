"""Maps of layers, runs or epochs side by side: choose pictures in one, and find them again in all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from threading import RLock
from typing import Any

import ipywidgets
import torch
from matplotlib.figure import Figure

from codial.data import Pictures
from codial.data.pictures import as_index
from codial.errors import CodialError
from codial.evaluate import LayerMap
from codial.plots.chosen import NEAR, Titled, chosen_maps, gallery, neighbours_of, reach
from codial.plots.maps import class_looks
from codial.plots.style import png
from codial.widgets.display import Panel, told
from codial.widgets.tiles import thumbnail

MOST = 3  # maps side by side
DPI = 165  # more than the page shows, or its text would blur
_NO_CLASS = -1
_NO_LASSO = "A lasso needs anywidget (pip install anywidget). Without it, choose a class, or call choose(numbers)."


class EmbeddingMap:
    """Choose pictures in maps with a lasso: every map shows them in colour, above a gallery and their classes' counts.

    A click on a point shows its picture and its neighbours in each map's feature space, which the map rings. What a
    hand does, `choose`, `point` and `look_at` do from Python, and `render` draws for a page without a kernel. Maps
    bring their neighbours with them, so no run is read. What cannot be done is told in the panel.

    Args:
        maps: by run or epoch, then by layer, as `codial.evaluate.map_aligned` makes them.
        images: the pictures that were mapped, in the same order.
        shown: titles of the maps to begin with, one to three, such as "codial/photos, fc7"; left out, the last layers
            of the first and of the last run.

    Raises:
        CodialError: there is no such map, or a map is of other pictures.
    """

    def __init__(self, maps: Mapping[str, Mapping[str, LayerMap]], images: Pictures, shown: Sequence[str] = ()) -> None:
        self.maps = {f"{run}, {layer}": each for run, of_run in maps.items() for layer, each in of_run.items()}
        self.images = images
        self._selected: list[int] = []
        self._pointed: int | None = None
        self._drawn: dict[str, list[Any]] = {}  # what each picture shows, by its widget
        self._drawing, self._following = RLock(), False  # callbacks may come from two threads
        _check_maps(self.maps, len(images))
        begun = list(shown) or _first_and_last(maps)
        if not 1 <= len(begun) <= MOST:
            raise CodialError(f"shown names {len(begun)} maps; expected 1 to {MOST}.")
        self._require(begun)
        self.menus = [_menu(f"map {place}", list(self.maps), title) for place, title in enumerate(begun, start=1)]
        for menu in self.menus:
            menu.layout = {"flex": "1 1 0%", "width": "auto"}  # as wide as the map below
        self.classes = _menu("class", [("choose one", _NO_CLASS), *_numbered(images.classes)], _NO_CLASS)
        self.clear = ipywidgets.Button(description="clear", tooltip="choose nothing", layout={"width": "auto"})
        self.status, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.still, self.gallery, self.neighbours = (_picture() for _ in range(3))
        self.lasso = _lasso(self.maps, images)
        self._listen()

    @property
    def selected(self) -> list[int]:
        """The chosen pictures' places in `images`, in order; `images.batch` gives their pixels."""
        return list(self._selected)

    @property
    def shown(self) -> list[str]:
        """The titles of the maps side by side."""
        return [menu.value for menu in self.menus]

    def show(self) -> None:
        """Show maps, gallery and neighbours under the cell."""
        choice = ipywidgets.HBox([self.classes, self.clear, self.status])
        maps = self.lasso or self.still
        children = [ipywidgets.HBox(self.menus), maps, choice, self.message, self.gallery, self.neighbours]
        Panel(children, "[maps with a lasso: run this cell in JupyterLab]").show()
        self._draw()

    def render(self) -> Figure:
        """Return maps and gallery as a figure, for a page without a kernel."""
        return chosen_maps(self._panels(), self.images, self._selected)

    def choose(self, numbers: Iterable[int]) -> None:
        """Choose these pictures and no others, as a lasso does.

        Args:
            numbers: places in `images`, such as those of a class: `(images.labels == 2).nonzero()[:, 0]`.

        Raises:
            CodialError: there is no such picture.
        """
        index = as_index(torch.as_tensor(numbers if torch.is_tensor(numbers) else list(numbers)), len(self.images))
        with self._drawing:
            self._selected = sorted({number % len(self.images) for number in index.tolist()})
            self._draw()

    def point(self, number: int | None) -> None:
        """Show a picture and its neighbours, as a click does; None shows none.

        Raises:
            CodialError: there is no such picture.
        """
        if number is not None and not 0 <= number < len(self.images):
            raise CodialError(f"There is no picture {number}; expected 0 to {len(self.images) - 1}.")
        with self._drawing:
            self._pointed = number
            self._draw()

    def look_at(self, *titles: str) -> None:
        """Show other maps in the places of those shown.

        Raises:
            CodialError: there is no such map, or not one for each place.
        """
        if len(titles) != len(self.menus):
            raise CodialError(f"{len(titles)} titles are given for {len(self.menus)} maps.")
        self._require(titles)
        for menu, title in zip(self.menus, titles, strict=True):
            menu.value = title

    def _require(self, titles: Iterable[str]) -> None:
        for title in titles:
            if title not in self.maps:
                raise CodialError(f"There is no map {title!r}; there are {'; '.join(self.maps)}.")

    def _panels(self) -> list[Titled]:
        return [(title, self.maps[title]) for title in self.shown]

    def _listen(self) -> None:
        def heard(act: Callable[[Any], None]) -> Callable[[Any], None]:
            return lambda change: self._heard(act, change.new)

        for menu in self.menus:
            menu.observe(heard(lambda _: self._draw()), names="value")
        self.classes.observe(heard(self._choose_class), names="value")
        self.clear.on_click(lambda _: self.choose([]))
        if self.lasso:
            self.lasso.observe(heard(self.choose), names="chosen")
            self.lasso.observe(heard(lambda number: self.point(None if number < 0 else number)), names="pointed")
            self.lasso.observe(heard(self._send), names="hovered")

    def _heard(self, act: Callable[[Any], None], value: Any) -> None:
        """Do what a control asks for, unless it was this object that set it; tell errors, for JupyterLab hides them."""
        with self._drawing:
            if not self._following:
                try:
                    act(value)
                except Exception as error:
                    self.message.value = told(error)

    def _choose_class(self, label: int) -> None:
        if label != _NO_CLASS:
            self.choose(self._of_class(label))

    def _of_class(self, label: int) -> list[int]:
        return (self.images.labels == label).nonzero()[:, 0].tolist()

    def _send(self, number: int) -> None:
        """Send the picture of the point under the mouse."""
        if self.lasso and 0 <= number < len(self.images):
            self.lasso.thumb = {"number": number, "png": thumbnail(self.images.batch([number])[0])}

    def _draw(self) -> None:
        """Bring everything to the choice; an error is told in the panel."""
        with self._drawing:
            self._following = True
            try:
                self._follow()
                self._renew(self.gallery, self._selected, lambda: gallery(self.images, self._selected))
                key = [self._pointed, *self.shown]
                self._renew(self.neighbours, key, lambda: neighbours_of(self._pointed, self._panels(), self.images))
                self.message.value = "" if self.lasso else escape(_NO_LASSO)
            except Exception as error:
                self.message.value = told(error)
            finally:
                self._following = False

    def _follow(self) -> None:
        """Bring controls and maps to the choice."""
        self.status.value = f"{len(self._selected)} of {len(self.images)} pictures chosen"
        if self._of_class(self.classes.value) != self._selected:
            self.classes.value = _NO_CLASS
        if not self.lasso:
            self._renew(self.still, [*self._selected, *self.shown], self.render)
            return
        panels, number = self._panels(), self._pointed
        with self.lasso.hold_sync():
            self.lasso.panels = [{"title": title, "points": _bytes(each.points)} for title, each in panels]
            self.lasso.chosen = list(self._selected)
            self.lasso.pointed = -1 if number is None else number
            self.lasso.near = [] if number is None else [each.nearest[number, :NEAR].tolist() for _, each in panels]

    def _renew(self, image: Any, key: list[Any], draw: Callable[[], Figure]) -> None:
        """Draw a picture if what it shows has changed."""
        if self._drawn.get(image.model_id) != key:
            image.value = png(draw(), DPI)
            self._drawn[image.model_id] = list(key)


def _lasso(maps: Mapping[str, LayerMap], images: Pictures) -> Any:
    """Return the maps that take a lasso; None where anywidget is not installed."""
    try:
        from codial.widgets.scatter import LinkedMaps
    except ImportError:
        return None
    looks = [[marker, colour] for colour, marker in class_looks(len(images.classes))]
    labels = images.labels.cpu().int().numpy().tobytes()
    return LinkedMaps(labels=labels, classes=list(images.classes), looks=looks, reach=list(reach(maps.values())))


def _check_maps(maps: Mapping[str, LayerMap], count: int) -> None:
    if not maps:
        raise CodialError("There are no maps to show; codial.evaluate.map_aligned makes some.")
    for title, each in maps.items():
        if len(each.points) != count:
            raise CodialError(f"The map {title!r} is of {len(each.points)} pictures; {count} are given.")


def _first_and_last(maps: Mapping[str, Mapping[str, LayerMap]]) -> list[str]:
    titles = [f"{run}, {list(of_run)[-1]}" for run, of_run in maps.items() if of_run]
    return list(dict.fromkeys((titles[0], titles[-1])))


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    return [(name, number) for number, name in enumerate(names)]


def _menu(name: str, options: Sequence[Any], value: Any) -> Any:
    return ipywidgets.Dropdown(
        options=options, value=value, description=name, style={"description_width": "auto"}, layout={"width": "270px"}
    )


def _picture() -> Any:
    return ipywidgets.Image(layout={"width": "100%", "max_width": "920px"})


def _bytes(points: torch.Tensor) -> bytes:
    return points.cpu().float().contiguous().numpy().tobytes()
