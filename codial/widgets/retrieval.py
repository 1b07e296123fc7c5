"""Walk from picture to picture: a query, and beside it its neighbours in every run."""

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from threading import RLock
from typing import Any, NamedTuple

import ipywidgets
from PIL import Image
from torch import Tensor

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate import features, nearest
from codial.models import TAPS
from codial.plots.style import COLOURS, pixels
from codial.runs import Run, open_run
from codial.widgets.display import Panel, told

MOST = 100  # neighbours of a run
SIDE = 96  # pixels of what is sent to the page; larger pictures are made smaller
_MARKS = {"right": "✓ ", "wrong": "✗ ", "": ""}
_LOOKS = """
.codial-tile.jupyter-button {width: 82px; height: 104px; margin: 2px; padding: 77px 0 0; line-height: 20px;
    background-repeat: no-repeat; background-position: center 2px; background-size: 74px 74px;
    border: 3px solid transparent; overflow: hidden}
.codial-tile.jupyter-button:focus-visible {outline: 3px solid #56B4E9; outline-offset: 1px}
.codial-tile.jupyter-button, .codial-query img {image-rendering: pixelated}
"""


class Place(NamedTuple):
    """Where a picture is: in which set, "queries" or "gallery", and its number there."""

    where: str
    number: int


class Neighbours(NamedTuple):
    """What one run finds for one picture, nearest first."""

    indices: Tensor  # [k] int64, places in the gallery
    similarity: Tensor  # [k] float32, cosine
    related: Tensor  # [k] bool: same label as the query
    judged: bool  # whether the query and all of the gallery have labels

    @property
    def verdicts(self) -> list[str]:
        """For each neighbour "right" or "wrong"; "" where labels are missing."""
        return [("right" if each else "wrong") if self.judged else "" for each in self.related.tolist()]


class RetrievalBrowser:
    """Choose a picture, see its nearest pictures by several runs, and walk on by choosing one of these.

    Every neighbour is a button with the picture on it: a click, or Tab and Enter, makes it the query. A run's features
    are computed when a layer is first looked at, and kept. What cannot be done is told in the panel.

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
        self.picture = ipywidgets.HTML().add_class("codial-query")
        self.rows = {name: _Row(f"codial-{id(self):x}-{place}") for place, name in enumerate(self.runs)}
        self._features: dict[tuple[str, str, str], Tensor] = {}
        self._drawing, self._following = RLock(), False  # callbacks may come from two threads
        self._listen()

    def show(self) -> None:
        """Show the panel under the cell."""
        words = "[a browser of neighbours: run this cell in JupyterLab]"
        head = ipywidgets.HBox([self.picture, ipywidgets.VBox([self.caption, *_lines(self.controls), self.message])])
        Panel([self.looks, head, *[row.box for row in self.rows.values()]], words).show()
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

    def neighbours(self, name: str, place: Place, layer: str, k: int) -> Neighbours:
        """Return what a run finds for a picture.

        Raises:
            CodialError: the run is gone or has no checkpoint, or there is no such picture.
        """
        pictures, gallery = self.sets[place.where], self.sets["gallery"]
        if not 0 <= place.number < len(pictures):
            raise CodialError(f"There is no picture {place.number} in {_title(pictures)}: it has {len(pictures)}.")
        kept, asked = self._vectors(name, "gallery", layer), self._vectors(name, place.where, layer)
        itself = place.number if place.where == "gallery" else -1
        similarity, indices = nearest(kept, asked[place.number : place.number + 1], min(k + 1, len(gallery)))
        others = (indices[0] != itself).nonzero()[:k, 0]
        indices, similarity = indices[0, others], similarity[0, others]
        label = pictures.labels[place.number]
        judged = bool(label >= 0) and gallery.labelled and pictures.classes == gallery.classes
        return Neighbours(indices, similarity, gallery.labels[indices] == label, judged)

    def _vectors(self, name: str, where: str, layer: str) -> Tensor:
        key = (name, where, layer)
        if key not in self._features:
            self.message.value = f"Computing {layer} of {escape(name)} ..."
            run = open_run(self.runs[name].folder)  # it may be gone by now
            self._features[key] = features(run, self.sets[where], layer, progress=False).cpu()
        return self._features[key]

    def _listen(self) -> None:
        controls = self.controls
        for name in ("set", "number", "layer", "k"):
            controls[name].observe(self._chosen, names="value")
        controls["previous"].on_click(lambda _: self._step(-1))
        controls["next"].on_click(lambda _: self._step(1))
        controls["back"].on_click(lambda _: self.back())

    def _chosen(self, change: Any) -> None:
        """Follow the controls, unless it was this object that set them."""
        with self._drawing:
            if not self._following:
                where = self.controls["set"].value
                self.go(where, min(self.controls["number"].value, max(0, len(self.sets[where]) - 1)))

    def _step(self, by: int) -> None:
        where, number = self.trail[-1]
        self.go(where, (number + by) % max(1, len(self.sets[where])))

    def _draw(self) -> None:
        """Show the query and every run's neighbours; an error is shown in its place, for JupyterLab hides it."""
        with self._drawing:
            try:
                self._follow()
                self._require_pictures()
                found = {name: self._found(name) for name in self.rows}  # first, so that all then changes at once
                looks = [self._draw_row(name, each) for name, each in found.items()]
                self.looks.value = f"<style>{_LOOKS}{''.join(looks)}</style>"
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
        address, said = (
            _address(pictures.batch([number])[0]),
            escape(f"{_name(pictures, number)}, of {_title(pictures)}"),
        )
        self.picture.value = f'<img alt="picture {number}" width="100" src="{address}">'
        self.caption.value = f"<b>query</b>: {said}"

    def _draw_row(self, name: str, found: Neighbours | Exception) -> str:
        """Fill a run's row, and return the style sheet that puts the pictures on its buttons."""
        row, gallery = self.rows[name], self.sets["gallery"]
        if isinstance(found, Exception):
            row.fill([], f"<b>{escape(name)}</b>: {told(found)}")
            return ""
        numbers, verdicts = found.indices.tolist(), found.verdicts
        for place, (number, likeness) in enumerate(zip(numbers, found.similarity.tolist(), strict=True)):
            button = row.button(place, self.go)
            button.description = f"{_MARKS[verdicts[place]]}{likeness:.2f}"
            button.tooltip = f"{_name(gallery, number)}, cosine {likeness:.3f}: walk on from here"
        row.fill(numbers, f"<b>{escape(name)}</b>{_precision(found)}")
        return row.looks(gallery.batch(numbers), verdicts)


class _Row:
    """A run's name, and a button for each neighbour; the buttons stay, so that the keyboard keeps its place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: list[int] = []
        self.buttons: list[Any] = []
        self.head = ipywidgets.HTML()
        self.tiles = ipywidgets.Box(layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.box = ipywidgets.VBox([self.head, self.tiles])

    def button(self, place: int, go: Any) -> Any:
        if place == len(self.buttons):
            button = ipywidgets.Button().add_class("codial-tile").add_class(f"{self.name}-{place}")
            button.on_click(lambda _: go("gallery", self.numbers[place]))
            self.buttons.append(button)
        return self.buttons[place]

    def fill(self, numbers: list[int], head: str) -> None:
        self.numbers, self.head.value = numbers, head
        if len(self.tiles.children) != len(numbers):
            self.tiles.children = self.buttons[: len(numbers)]

    def looks(self, pictures: Tensor, verdicts: Iterable[str]) -> str:
        """Return a style sheet: each button's picture, and a frame in its verdict's colour."""
        rules = (
            f".{self.name}-{place}.jupyter-button {{background-image: url({_address(picture)});"
            f" border-color: {COLOURS.get(verdict, 'transparent')}}}\n"
            for place, (picture, verdict) in enumerate(zip(pictures, verdicts, strict=True))
        )
        return "".join(rules)


def _controls(sets: Mapping[str, Pictures], layer: str, k: int) -> dict[str, Any]:
    if layer not in TAPS:
        raise CodialError(f"layer is {layer!r}; expected one of {', '.join(TAPS)}.")
    if not 1 <= k <= MOST:
        raise CodialError(f"k is {k}; expected 1 to {MOST}.")
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
        "k": ipywidgets.IntSlider(k, min=1, max=most, description="k", continuous_update=False, style=short["style"]),
    }


def _button(description: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=description, tooltip=tooltip, layout=ipywidgets.Layout(width="auto"))


def _lines(controls: Mapping[str, Any]) -> list[Any]:
    lines = (("set", "previous", "number", "next", "back"), ("layer", "k"))
    return [ipywidgets.HBox([controls[name] for name in names]) for names in lines]


def _title(pictures: Pictures) -> str:
    return f"{pictures.name}/{pictures.split}"


def _name(pictures: Pictures, number: int) -> str:
    label = int(pictures.labels[number])
    return f"picture {number}" + (f", {pictures.classes[label]}" if label >= 0 else "")


def _precision(found: Neighbours) -> str:
    if not found.judged:
        return ""
    right, count = int(found.related.sum()), len(found.related)
    return f": precision at {count} of this query {100 * right / max(1, count):.0f} % ({right} of {count})"


def _address(picture: Tensor) -> str:
    """Return a picture, [3, H, W] uint8, as an address that holds it, made smaller where it is large."""
    image, buffer = Image.fromarray(pixels(picture)), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
