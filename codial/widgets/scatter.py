"""Maps in the browser, in which a lasso chooses pictures: what the page and Python tell each other.

Drawn on plain canvases by scatter.js, which anywidget carries to the page, and not by jupyter-scatter. That
was tried: it works without a network and its lasso comes back, but it brings pandas and pyarrow (286 MB installed,
115 MB of each kernel's memory), two megabytes of JavaScript for each map, and needs WebGL; and what is not chosen there
fades, but keeps its colour. anywidget is 2 MB installed and 3 MB of memory.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class LinkedMaps(anywidget.AnyWidget):
    """Maps of the same pictures side by side, with one selection.

    A lasso chooses, with Shift adds; a click points at one picture. By keyboard, arrows walk from picture to picture,
    Enter adds or removes it, Escape clears. Pictures are told by their numbers.
    """

    _esm = Path(__file__).with_name("scatter.js").read_text()

    labels = traitlets.Bytes().tag(sync=True)  # [N] int32, a class or -1
    classes: Any = traitlets.List().tag(sync=True)  # their names
    looks: Any = traitlets.List().tag(sync=True)  # of each class marker and colour
    reach: Any = traitlets.List([1.0, 1.0]).tag(sync=True)  # of the frame from (0, 0), across and up
    panels: Any = traitlets.List().tag(sync=True)  # a title and points, [N, 2] float32 bytes, for each map
    chosen: Any = traitlets.List().tag(sync=True)  # numbers
    pointed = traitlets.Int(-1).tag(sync=True)  # a number, -1 for none
    near: Any = traitlets.List().tag(sync=True)  # for each map the numbers of the pointed picture's neighbours
    hovered = traitlets.Int(-1).tag(sync=True)  # the picture that the page asks for
    thumb: Any = traitlets.Dict().tag(sync=True)  # and the answer: number, png
