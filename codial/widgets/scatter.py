"""Linked scatter plots in the browser with a lasso: the traits shared by scatter.js and Python.

Four files make one module: scatter_view.js (zoom and pan), scatter_markers.js (points as pixels), scatter_map.js (one
map) and scatter.js (the linked maps). They draw on plain canvases and are carried to the page by anywidget (2 MB
installed, 3 MB of memory). jupyter-scatter was tried and works without a network, too, but it brings pandas and pyarrow
(286 MB installed, 115 MB of each kernel's memory) and two megabytes of JavaScript per map, needs WebGL, and fades
unselected points instead of graying them.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

_SCRIPTS = ("scatter_view.js", "scatter_markers.js", "scatter_map.js", "scatter.js")  # each uses the ones before


class LinkedMaps(anywidget.AnyWidget):
    """Maps of the same images side by side, with one selection.

    A lasso selects images, with Shift it adds to the selection; a click makes an image the current one. By keyboard,
    the arrow keys move from image to image, Enter adds or removes the current one, and Escape clears the selection.
    Images are referred to by their numbers.

    Each map has its own view, which only the page knows: the wheel, a double click, two fingers, + and - zoom; the
    middle button, Space with a drag, Shift with the arrow keys, and in the mode "pan" a drag and the arrow keys pan;
    0 or Home shows the whole map. A lasso is compared with the points in data coordinates, whatever the view.
    """

    _esm = "\n".join(Path(__file__).with_name(name).read_text("utf-8") for name in _SCRIPTS)

    labels = traitlets.Bytes().tag(sync=True)  # [N] int32, a class or -1
    classes: Any = traitlets.List().tag(sync=True)  # names
    styles: Any = traitlets.List().tag(sync=True)  # marker and color of each class
    extent: Any = traitlets.List([1.0, 1.0]).tag(sync=True)  # largest |x| and |y| in the frame
    panels: Any = traitlets.List().tag(sync=True)  # title and points, [N, 2] float32 bytes, of each map
    selected: Any = traitlets.List().tag(sync=True)  # numbers
    current = traitlets.Int(-1).tag(sync=True)  # the number of the current image, -1 for none
    neighbors: Any = traitlets.List().tag(sync=True)  # numbers of the current image's neighbors in each map
    hovered = traitlets.Int(-1).tag(sync=True)  # the number of the image whose thumbnail the page requests
    thumbnail: Any = traitlets.Dict().tag(sync=True)  # the requested thumbnail: number, png
