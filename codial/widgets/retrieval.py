"""Walk from picture to picture: a query, and beside it its neighbours in every run."""

import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from threading import RLock
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate import Found
from codial.models import TAPS
from codial.parameters import project_path
from codial.plots.neighbours import query_rows
from codial.plots.saving import require_format, save
from codial.plots.style import TICKS
from codial.runs import Run
from codial.widgets.display import Panel, told
from codial.widgets.search import Neighbours, Place, Search, stacked
from codial.widgets.tiles import LOOKS, Tiles, address

MOST = 100  # neighbours of a run
PAGE = 9  # pictures to choose from, beside each other
ROWS = 40  # queries in a file, the last of the walk


class RetrievalBrowser:
    """Choose a picture, see its nearest pictures by several runs side by side, and walk on by choosing one of these.

    Every picture is a button: a click, or Tab and Enter, makes it the query. A run's features are computed when a layer
    is first looked at, and kept. What cannot be done is told in the panel.

    Args:
        runs: by name.
        gallery: where to look.
        queries: what to look for first; a picture of the gallery never finds itself.
        layer: the tap whose activations are compared.
        k: neighbours of each run.
    """

    def __init__(
        self, runs: Mapping[str, Run], gallery: Pictures, queries: Pictures, layer: str = "fc7", k: int = 7
    ) -> None:
        self.runs = dict(runs)
        self.sets = {"gallery": gallery} if queries is gallery else {"queries": queries, "gallery": gallery}
        self.trail = [Place(next(iter(self.sets)), 0)]
        self.controls = _controls(self.sets, layer, k)
        self.message, self.caption, self.looks = (ipywidgets.HTML() for _ in range(3))
        self.message.layout.min_height = "44px"  # two lines, so that nothing jumps
        self.picture = ipywidgets.HTML().add_class("codial-query")
        page = f"codial-{id(self):x}"
        self.strip = Tiles(f"{page}-strip", "codial-thumb")
        self.rows = {name: Tiles(f"{page}-{place}", "codial-tile", "56px") for place, name in enumerate(self.runs)}
        self.search = Search(self.runs, self.sets, self._say)
        self._drawing, self._following = RLock(), False  # callbacks may come from two threads
        self._listen()

    def show(self) -> None:
        """Show the panel under the cell."""
        words = "[a browser of neighbours: run this cell in JupyterLab]"
        head = ipywidgets.HBox([self.picture, ipywidgets.VBox([self.caption, *_lines(self.controls), self.message])])
        columns = ipywidgets.Box([row.box for row in self.rows.values()])
        columns.layout.flex_flow = "row wrap"
        for column in columns.children:
            column.layout.flex = "1 1 264px"  # three tiles: three runs stand side by side at 1280 pixels
        Panel([self.looks, head, self.strip.box, columns], words).show()
        self._draw()

    def go(self, where: str, number: int) -> None:
        """Make a picture the query: of "queries" or of "gallery", by its number."""
        with self._drawing:
            if self.trail[-1] != (where, number):
                self.trail.append(Place(where, number))
            self._draw()

    def back(self) -> None:
        """Return to the query before this one."""
        with self._drawing:
            if len(self.trail) > 1:
                self.trail.pop()
            self._draw()

    def choose(self, layer: str | None = None, k: int | None = None) -> None:
        """Compare by another layer, or show another number of neighbours.

        Raises:
            CodialError: there is no such layer, or the number is out of range.
        """
        controls = self.controls
        layer = controls["layer"].value if layer is None else layer
        k = controls["k"].value if k is None else k
        _require(layer, k, controls["k"].max)
        with self._drawing:
            controls["layer"].value, controls["k"].value = layer, k

    def figure(self) -> Figure:
        """Draw the walk so far after the paper's Figure 4: its queries, a row each, the last `ROWS` of them.

        Raises:
            CodialError: as `neighbours`.
        """
        with self._drawing:
            layer, k, places = self.controls["layer"].value, self.controls["k"].value, list(dict.fromkeys(self.trail))
            self._require_pictures()
            walked = {name: [self.neighbours(name, place, layer, k) for place in places[-ROWS:]] for name in self.rows}
        found = {name: stacked(each) for name, each in walked.items()}
        sources = [(self.sets[where], number) for where, number in places[-ROWS:]]
        pictures = [pictures.batch([number])[0] for pictures, number in sources]
        titled = {_titled(name, layer, each): each for name, each in found.items()}
        return query_rows(pictures, [_class(*each) for each in sources], self.sets["gallery"], titled)

    def export(self, path: str | Path) -> Path:
        """Write the walk so far as PNG or PDF.

        Args:
            path: of the file, whose ending says which; a relative one lies below the project. Nothing is replaced:
                where the file is there already, the new one gets a number.

        Returns:
            The file.

        Raises:
            CodialError: another ending, the file cannot be written, or as `neighbours`.
        """
        require_format(Path(path))
        return save(self.figure(), project_path(path))

    def neighbours(self, name: str, place: Place, layer: str, k: int) -> Neighbours:
        """Return what a run finds for a picture, as `Search.neighbours` does."""
        return self.search.neighbours(name, place, layer, k)

    def _listen(self) -> None:
        controls = self.controls
        for name in ("set", "number", "layer", "k"):
            controls[name].observe(self._chosen, names="value")
        controls["previous"].on_click(lambda _: self._step(-1))
        controls["next"].on_click(lambda _: self._step(1))
        controls["back"].on_click(lambda _: self.back())
        controls["save"].on_click(lambda _: self._save())

    def _chosen(self, change: Any) -> None:
        """Follow the controls, unless it was this object that set them."""
        with self._drawing:
            if not self._following:
                where = self.controls["set"].value
                self.go(where, min(self.controls["number"].value, max(0, len(self.sets[where]) - 1)))

    def _step(self, by: int) -> None:
        where, number = self.trail[-1]
        self.go(where, (number + by) % max(1, len(self.sets[where])))

    def _say(self, words: str) -> None:
        self.message.value = escape(words)

    def _save(self) -> None:
        try:
            self._say(f"Wrote {self.export(self.controls['file'].value)}")
        except Exception as error:
            self.message.value = told(error)

    def _draw(self) -> None:
        """Show the query and every run's neighbours; an error is shown in its place, for JupyterLab hides it."""
        with self._drawing:
            try:
                self._follow()
                self._require_pictures()
                found = {name: self._found(name) for name in self.rows}  # first, so that all then changes at once
                looks = [self._draw_strip(), *(self._draw_row(name, each) for name, each in found.items())]
                self.looks.value = f"<style>{LOOKS}{''.join(looks)}</style>"
                self._draw_query()
                self.message.value = ""
            except Exception as error:
                self.message.value = told(error)

    def _follow(self) -> None:
        """Bring the controls to the query that is shown."""
        self._following = True
        try:
            (where, number), controls = self.trail[-1], self.controls
            controls["number"].max = max(0, len(self.sets[where]) - 1)
            controls["set"].value, controls["number"].value = where, number
            controls["back"].disabled = len(self.trail) == 1
        finally:
            self._following = False

    def _require_pictures(self) -> None:
        for pictures in (self.sets[self.trail[-1].where], self.sets["gallery"]):
            if len(pictures) == 0:
                raise CodialError(f"{_title(pictures)} has no pictures; choose another set.")

    def _found(self, name: str) -> Neighbours | Exception:
        try:
            return self.neighbours(name, self.trail[-1], self.controls["layer"].value, self.controls["k"].value)
        except Exception as error:  # told in this run's row; the others go on
            return error

    def _draw_query(self) -> None:
        where, number = self.trail[-1]
        pictures = self.sets[where]
        source = address(pictures.batch([number])[0])
        self.picture.value = f'<img alt="picture {number}" width="100" src="{source}">'
        self.caption.value = f"<b>query</b>: {escape(_name(pictures, number))}, of {escape(_title(pictures))}"

    def _draw_strip(self) -> str:
        """Show the pictures round the query in its set, to choose from."""
        where, number = self.trail[-1]
        pictures, first = self.sets[where], number - number % PAGE
        numbers = list(range(first, min(first + PAGE, len(pictures))))
        self.strip.where = where
        for place, each in enumerate(numbers):
            button = self.strip.button(place, self.go)
            button.description, button.tooltip = str(each), f"{_name(pictures, each)}: look for it"
        self.strip.fill(numbers, f"<b>Choose a picture</b> of {escape(_title(pictures))}, or a neighbour below.")
        return self.strip.looks(pictures.batch(numbers), ["query" if each == number else "" for each in numbers])

    def _draw_row(self, name: str, found: Neighbours | Exception) -> str:
        """Fill a run's row, and return the style sheet that puts the pictures on its buttons."""
        row, gallery = self.rows[name], self.sets["gallery"]
        if isinstance(found, Exception):
            row.fill([], f"<b>{escape(name)}</b>: {told(found)}")
            return ""
        numbers, verdicts = found.indices.tolist(), found.verdicts
        for place, (number, likeness) in enumerate(zip(numbers, found.similarity.tolist(), strict=True)):
            button = row.button(place, self.go)
            button.description = f"{TICKS[verdicts[place]]}{likeness:.2f}"
            button.tooltip = f"{_name(gallery, number)}, cosine {likeness:.3f}: walk on from here"
        row.fill(numbers, f"<b>{escape(name)}</b>{_precision(found)}")
        return row.looks(gallery.batch(numbers), verdicts)


def _controls(sets: Mapping[str, Pictures], layer: str, k: int) -> dict[str, Any]:
    _require(layer, k, MOST)
    most = max(k, min(MOST, len(sets["gallery"]) - 1))
    short = {"layout": ipywidgets.Layout(width="auto"), "style": {"description_width": "auto"}}
    options = [(f"{_title(pictures)} ({where})", where) for where, pictures in sets.items()]
    return {
        "set": ipywidgets.Dropdown(options=options, description="query from", **short),
        "previous": _button("◀ previous", "the picture before, in this set"),
        "number": ipywidgets.BoundedIntText(
            0, min=0, max=0, description="number", style=short["style"], layout=ipywidgets.Layout(width="130px")
        ),
        "next": _button("next ▶", "the picture after, in this set"),
        "back": _button("↩ back", "the query before this one"),
        "layer": ipywidgets.Dropdown(options=TAPS, value=layer, description="layer", **short),
        "k": ipywidgets.IntSlider(
            k,
            min=1,
            max=most,
            description="k",
            continuous_update=False,
            style=short["style"],
            layout=ipywidgets.Layout(width="210px"),
        ),
        "file": ipywidgets.Text(
            "runs/neighbours.png", description="file", style=short["style"], layout=ipywidgets.Layout(width="240px")
        ),
        "save": _button("save", "the queries of this walk as a figure, PNG or PDF"),
    }


def _require(layer: str, k: int, most: int) -> None:
    if layer not in TAPS:
        raise CodialError(f"layer is {layer!r}; expected one of {', '.join(TAPS)}.")
    if not 1 <= k <= most:
        raise CodialError(f"k is {k}; expected 1 to {most}.")


def _button(description: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="auto"))


def _lines(controls: Mapping[str, Any]) -> list[Any]:
    lines = (("set", "previous", "number", "next", "back"), ("layer", "k", "file", "save"))
    return [ipywidgets.HBox([controls[name] for name in names]) for names in lines]


def _title(pictures: Pictures) -> str:
    return f"{pictures.name}/{pictures.split}"


def _name(pictures: Pictures, number: int) -> str:
    label = _class(pictures, number)
    return f"picture {number}" + (f", {label}" if label else "")


def _class(pictures: Pictures, number: int) -> str:
    label = int(pictures.labels[number])
    return pictures.classes[label] if label >= 0 else ""


def _titled(name: str, layer: str, found: Found) -> str:
    precision, (count, k) = found.precision, found.indices.shape
    told = "" if math.isnan(precision) else f"\nprecision at {k} of these {count}: {precision:.1f} %"
    return f"{name}, {layer}{told}"


def _precision(found: Neighbours) -> str:
    if not found.judged:
        return ""
    right, count = int(found.related.sum()), len(found.related)
    return f"<br>precision at {count} of this query {100 * right / max(1, count):.0f} % ({right} of {count})"
