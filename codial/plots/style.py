"""The common style of all figures: sizes, colors, images in axes, and rendering.

Figures are plain `matplotlib.figure.Figure`s without pyplot, display or global state, so that widget callbacks can draw
in any thread. Only rendering takes a lock.
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

# Colors that are distinct with any color vision: those of Okabe and Ito, without yellow, which is too faint on white,
# and three that are equally far from them. A name in COLORS has the same color in every figure.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GRAY, BROWN, VIOLET = "#606060", "#662200", "#9922EE"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, BROWN, VIOLET)  # for series without a color in COLORS
MORE_COLORS = ("#44AA99", "#DDCC77", "#AA4499", "#999933")  # where the palette is used up
TICKS = {"right": "✓ ", "wrong": "✗ ", "": ""}  # prefixes by outcome; "" where labels are missing
COLORS = {
    # methods
    "codial": BLUE,
    "random": GRAY,
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
    "mi_infonce": BLUE,
    "mi_nwj": ORANGE,
    "mi_dv": PURPLE,
    "skl": PURPLE,
    "beta": SKY,
    # monitors
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
    "chance": GRAY,
    "query": BLUE,
    "right": GREEN,
    "wrong": VERMILION,
}
TITLE, LABEL, SMALL = 11, 10, 8.5  # points
WIDTH = 7.45  # inches, which fit beside JupyterLab's file browser at 1280 pixels
_RENDERING = Lock()  # matplotlib's text layout keeps caches that two threads must not fill at once


def new_figure(width: float, height: float, constrained: bool = True) -> Figure:
    """Return an empty white figure.

    Args:
        width: Width in inches.
        height: Height in inches.
        constrained: Whether to use matplotlib's constrained layout, which doubles the drawing time.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.07) if constrained else None  # inches
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def subplots(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    """Return a figure of a size in inches and its axes for curves, an array [rows, columns]."""
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    for each in axes.flat:
        curve_axes(each)
    return figure, axes


def curve_axes(axes: Axes) -> Axes:
    """Style axes for curves: no box, a faint grid, small tick labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=SMALL)
    return axes


def log_scale(axes: Axes) -> Axes:
    """Make the y axis logarithmic with plain numbers at its ticks; call it after drawing.

    Matplotlib's powers of ten would take a third of the drawing time of a live figure.
    """
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    steps = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    return axes


def image_axes(axes: Axes) -> Axes:
    """Style axes for an image: no ticks and no box."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def show_image(axes: Axes, image: Tensor, title: str = "") -> Axes:
    """Draw one image, [3, H, W] uint8 or float in [0, 1], in axes, with a title above it.

    One unit of the axes is one pixel and pixel centers are integers, so that boxes and points in the package's
    coordinates can be drawn over it.
    """
    axes.imshow(pixels(image), interpolation="nearest")
    image_axes(axes)
    axes.set_title(title, fontsize=SMALL, pad=3)
    return axes


def show_images(axes: Sequence[Axes] | np.ndarray, images: Tensor, titles: Sequence[str] = ()) -> None:
    """Draw images, [N, 3, H, W] uint8 or float in [0, 1], in the first N axes, and hide the remaining ones."""
    for index, each in enumerate(np.ravel(np.asarray(axes, dtype=object))):
        if index < len(images):
            show_image(each, images[index], titles[index] if index < len(titles) else "")
        else:
            each.set_axis_off()


def frame(axes: Axes, color: str, width: float = 3) -> None:
    """Draw a colored frame, `width` points thick, around an image."""
    axes.spines[:].set_visible(True)
    axes.spines[:].set(color=color, linewidth=width)


def run_colors(names: Sequence[str]) -> list[str]:
    """Return a color for each run: that of its method, such as codial of codial/photos, or a spare one if taken."""
    preferred = [COLORS.get(name.split("/")[0].lower()) for name in names]
    unique = [color if color not in preferred[:index] else None for index, color in enumerate(preferred)]
    spare = cycle([color for color in (*PALETTE, *MORE_COLORS) if color not in unique])
    return [color or next(spare) for color in unique]


def text_color(color: str) -> str:
    """Return black or white, whichever has more contrast to a color #RRGGBB (by the luminance of WCAG 2)."""
    channels = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "black" if luminance + 0.05 > (1.05 * 0.05) ** 0.5 else "white"


def pixels(image: Tensor) -> np.ndarray:
    """Convert an image, [3, H, W] uint8 or float in [0, 1], for matplotlib: [H, W, 3] uint8."""
    image = image.detach().cpu()
    if image.is_floating_point():
        image = image.float().clamp(0, 1).mul(255).round()
    return image.byte().permute(1, 2, 0).numpy()  # [3, H, W] -> [H, W, 3]


def png(figure: Figure, dpi: int = 110) -> bytes:
    """Render a figure to PNG bytes; thread-safe.

    It is faster than `savefig`, which draws everything twice.
    """
    with _RENDERING:
        figure.set_dpi(dpi)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def pdf(figure: Figure) -> bytes:
    """Render a figure to PDF bytes; thread-safe."""
    buffer = io.BytesIO()
    with _RENDERING:
        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    return buffer.getvalue()
