"""Buttons that are pictures."""

import base64
import io
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
from PIL import Image
from torch import Tensor

from codial.plots.style import COLOURS, pixels

SIDE = 96  # pixels of what is sent to the page; larger pictures are made smaller
LOOKS = """
.codial-tile.jupyter-button, .codial-thumb.jupyter-button {width: 82px; height: 104px; margin: 2px;
    padding: 77px 0 0; line-height: 20px; background-repeat: no-repeat; background-position: center 2px;
    background-size: 74px 74px; border: 3px solid transparent; overflow: hidden}
.codial-tile.jupyter-button:focus-visible, .codial-thumb.jupyter-button:focus-visible {
    outline: 3px solid #56B4E9; outline-offset: 1px}
.codial-tile.jupyter-button, .codial-thumb.jupyter-button, .codial-query img {image-rendering: pixelated}
"""


class Tiles:
    """A line, and beneath it a button for each picture; the buttons stay, so that the keyboard keeps its place.

    Args:
        name: a class of the page's that nothing else has.
        kind: the class whose looks the buttons have, of those in `LOOKS`.
        height: that the line has at least, so that nothing jumps when it says more.
    """

    def __init__(self, name: str, kind: str, height: str = "28px") -> None:
        self.name, self.kind, self.where = name, kind, "gallery"
        self.numbers: list[int] = []
        self.buttons: list[Any] = []
        self.head = ipywidgets.HTML(layout=ipywidgets.Layout(min_height=height))
        self.tiles = ipywidgets.Box(layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.box = ipywidgets.VBox([self.head, self.tiles])

    def button(self, place: int, go: Callable[[str, int], None]) -> Any:
        """Return the button in that place, which goes to the picture it bears."""
        if place == len(self.buttons):
            button = ipywidgets.Button().add_class(self.kind).add_class(f"{self.name}-{place}")
            button.on_click(lambda _: go(self.where, self.numbers[place]))
            self.buttons.append(button)
        return self.buttons[place]

    def fill(self, numbers: list[int], head: str) -> None:
        """Show as many buttons as there are numbers of pictures, beneath a head in HTML."""
        self.numbers, self.head.value = numbers, head
        if len(self.tiles.children) != len(numbers):
            self.tiles.children = self.buttons[: len(numbers)]

    def looks(self, pictures: Tensor, verdicts: Iterable[str]) -> str:
        """Return a style sheet: each button's picture, and a frame in its verdict's colour."""
        rules = (
            f".{self.name}-{place}.jupyter-button {{background-image: url({address(picture)});"
            f" border-color: {COLOURS.get(verdict, 'transparent')}}}\n"
            for place, (picture, verdict) in enumerate(zip(pictures, verdicts, strict=True))
        )
        return "".join(rules)


def thumbnail(picture: Tensor) -> bytes:
    """Return a picture, [3, H, W] uint8, as PNG, made smaller where it is large."""
    image, buffer = Image.fromarray(pixels(picture)), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "png")
    return buffer.getvalue()


def address(picture: Tensor) -> str:
    """Return the same as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(thumbnail(picture)).decode()}"
