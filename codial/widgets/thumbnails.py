"""Buttons that show images."""

import base64
import io
from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets
from PIL import Image
from torch import Tensor

from codial.plots.style import COLORS, pixels

MAX_SIDE = 96  # pixels of images sent to the browser; larger ones are downscaled
BUTTON_STYLE = """
.codial-tile.jupyter-button, .codial-thumb.jupyter-button {width: 82px; height: 104px; margin: 2px;
    padding: 77px 0 0; line-height: 20px; background-repeat: no-repeat; background-position: center 2px;
    background-size: 74px 74px; border: 3px solid transparent; overflow: hidden}
.codial-tile.jupyter-button:focus-visible, .codial-thumb.jupyter-button:focus-visible {
    outline: 3px solid #56B4E9; outline-offset: 1px}
.codial-tile.jupyter-button, .codial-thumb.jupyter-button, .codial-query img {image-rendering: pixelated}
"""


class ImageButtons:
    """A heading and a row of image buttons; buttons are reused, so that keyboard focus stays where it is.

    Args:
        name: A CSS class that is unique on the page.
        kind: The CSS class of the buttons, one of those in `BUTTON_STYLE`.
        height: Minimum height of the heading, so that the layout does not move when its text gets longer.
    """

    def __init__(self, name: str, kind: str, height: str = "28px") -> None:
        self.name = name
        self.kind = kind
        self.source = "gallery"
        self.numbers: list[int] = []
        self.buttons: list[Any] = []
        self.head = ipywidgets.HTML(layout=ipywidgets.Layout(min_height=height))
        self.tiles = ipywidgets.Box(layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.box = ipywidgets.VBox([self.head, self.tiles])

    def button(self, index: int, go: Callable[[str, int], None]) -> Any:
        """Return the button at an index; a click calls `go` with its source and image number."""
        if index == len(self.buttons):
            button = ipywidgets.Button().add_class(self.kind).add_class(f"{self.name}-{index}")
            button.on_click(lambda _: go(self.source, self.numbers[index]))
            self.buttons.append(button)
        return self.buttons[index]

    def fill(self, numbers: list[int], head: str) -> None:
        """Set the image numbers, one per visible button, and the heading in HTML."""
        self.numbers = numbers
        self.head.value = head
        if len(self.tiles.children) != len(numbers):
            self.tiles.children = self.buttons[: len(numbers)]

    def style_sheet(self, images: Tensor, outcomes: Iterable[str]) -> str:
        """Return CSS with each button's image and a frame in the color of its outcome."""
        rules = (
            f".{self.name}-{index}.jupyter-button {{background-image: url({data_url(image)});"
            f" border-color: {COLORS.get(outcome, 'transparent')}}}\n"
            for index, (image, outcome) in enumerate(zip(images, outcomes, strict=True))
        )
        return "".join(rules)


def thumbnail(image: Tensor) -> bytes:
    """Return an image, [3, H, W] uint8, as PNG, downscaled to at most `MAX_SIDE` pixels."""
    small, buffer = Image.fromarray(pixels(image)), io.BytesIO()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    small.save(buffer, "png")
    return buffer.getvalue()


def data_url(image: Tensor) -> str:
    """Return the thumbnail of an image, [3, H, W] uint8, as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(thumbnail(image)).decode()}"
