"""How every figure of the workbench looks: sizes, colours, pictures in axes, and the way to PNG.

Figures are bare `matplotlib.figure.Figure`s: no pyplot, no display, no global state, so that a widget's callback may
draw one on a thread of its own. Only the rendering itself takes a lock.
"""

import io
from collections.abc import Sequence
from itertools import cycle
from threading import Lock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image
from torch import Tensor

# Told apart with any colour vision: Okabe and Ito's, less their yellow, which white swallows, and three that are as far
# from these. What has a name here has its colour in every figure.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY, BROWN, VIOLET = "#606060", "#662200", "#9922EE"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, BROWN, VIOLET)  # for what has no colour of its own
TICKS = {"right": "✓ ", "wrong": "✗ ", "": ""}  # before what is told of a verdict; "" where nobody can judge
COLOURS = {
    # systems
    "codial": BLUE,
    "random": GREY,
    "supervised": ORANGE,
    "rotnet": VERMILION,
    "decouple": SKY,
    "globstat": BLACK,
    "knowtrans": PURPLE,
    "deepcluster": GREEN,
    "spotartifacts": BROWN,
    "cmc": VIOLET,
    # terms of the loss, by their names in a run's history
    "loss": BLACK,
    "loss_transform": VERMILION,
    "mi_js": GREEN,
    "skl": PURPLE,
    "beta": SKY,
    # what is measured meanwhile
    "pretext_accuracy": VERMILION,
    "knn": BLUE,
    "probe": ORANGE,
    "feature_std": GREEN,
    "rankme": PURPLE,
    # marks
    "fixed": VERMILION,
    "ramp": BLUE,
    "truth": BLACK,
    "estimate": BLUE,
    "chance": GREY,
    "query": BLUE,
    "right": GREEN,
    "wrong": VERMILION,
}
TITLE, LABEL, SMALL = 11, 10, 8.5  # points
WIDTH = 7.45  # inches, which are shown in full beside the list of files of JupyterLab at 1280 pixels
_RENDERING = Lock()  # matplotlib's text layout keeps caches that two threads must not fill at once


def new_figure(width: float, height: float, own_layout: bool = True) -> Figure:
    """Return an empty white figure of that size in inches.

    Args:
        width: in inches.
        height: in inches.
        own_layout: let it make room for titles and labels itself, which doubles the time that drawing takes.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07) if own_layout else None  # inches
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def subplots(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """Return a figure of that size in inches and its axes for curves, an array [rows, columns]."""
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        curve_axes(each)
    return figure, axes


def curve_axes(axes: Axes) -> Axes:
    """Dress axes for curves: no box, a faint grid, small numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL)
    return axes


def log_scale(axes: Axes) -> Axes:
    """Make the upright axis logarithmic, with plain numbers at its ticks; what it shows is to be drawn before.

    Matplotlib's powers of ten take a third of the time that a live figure takes.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return axes


def picture_axes(axes: Axes) -> Axes:
    """Dress axes for a picture: nothing but the picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def show_picture(axes: Axes, picture: Tensor, title: str = "") -> Axes:
    """Put one picture, [3, H, W] uint8 or float in [0, 1], into axes, with a title above it.

    One unit of the axes is one pixel, and a pixel's centre is a whole number, so that boxes and points in the package's
    coordinates can be drawn over it as they are.
    """
    axes.imshow(pixels(picture), interpolation="nearest")
    picture_axes(axes)
    axes.set_title(title, fontsize=SMALL, pad=3)
    return axes


def show_pictures(axes: Sequence[Axes] | np.ndarray, pictures: Tensor, titles: Sequence[str] = ()) -> None:
    """Put pictures, [N, 3, H, W] uint8 or float in [0, 1], into the first N axes, and empty the axes left over."""
    places = list(np.ravel(np.asarray(axes, dtype=object)))
    for index, place in enumerate(places):
        if index < len(pictures):
            show_picture(place, pictures[index], titles[index] if index < len(titles) else "")
        else:
            place.set_axis_off()


def frame(axes: Axes, colour: str, width: float = 3) -> None:
    """Draw a coloured frame, `width` points thick, round a picture."""
    axes.spines[:].set_visible(True)
    axes.spines[:].set(color=colour, linewidth=width)


def run_colours(names: Sequence[str]) -> list[str]:
    """Return a colour for each run: its system's, such as that of codial/photos; a spare one where that is taken."""
    wanted = [COLOURS.get(name.split("/")[0].lower()) for name in names]
    owned = [colour if colour not in wanted[:place] else None for place, colour in enumerate(wanted)]
    spare = cycle([colour for colour in PALETTE if colour not in owned] or PALETTE)
    return [colour or next(spare) for colour in owned]


def ink(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour, #RRGGBB (by the luminance of WCAG 2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "black" if luminance + 0.05 > (1.05 * 0.05) ** 0.5 else "white"


def pixels(picture: Tensor) -> np.ndarray:
    """Return a picture, [3, H, W] uint8 or float in [0, 1], as matplotlib takes it: [H, W, 3] uint8."""
    picture = picture.detach().cpu()
    if picture.is_floating_point():
        picture = picture.float().clamp(0, 1).mul(255).round()
    return picture.byte().permute(1, 2, 0).numpy()  # [3, H, W] -> [H, W, 3]


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Render a figure to PNG bytes; safe to call from any thread.

    Drawn and encoded by hand, for `savefig` draws everything twice.
    """
    with _RENDERING:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """Render a figure to the bytes of a PDF; safe to call from any thread."""
    buffer = io.BytesIO()
    with _RENDERING:
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    return buffer.getvalue()
