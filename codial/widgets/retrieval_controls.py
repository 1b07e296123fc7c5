"""Controls and captions of the retrieval browser."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate import RetrievalResult
from codial.models import LayerNames
from codial.models.collapse import collapse_text
from codial.widgets.neighbor_search import Neighbors

MAX_NEIGHBORS = 100  # per run
_AUTO = {"description_width": "auto"}


LAST = "last layer"  # of each run, where these have different names


def selectable_layers(backbones: Iterable[LayerNames]) -> tuple[list[str], str]:
    """Return the layers of some runs' backbones, each name once, and the default.

    The default is the last layer. If the last layers have different names, it is `LAST`, the first choice.
    """
    names = list(backbones)
    layers = dict.fromkeys(layer for each in names for layer in each.layers)
    last = {each.last for each in names}
    return ([LAST, *layers], LAST) if len(last) > 1 else (list(layers), next(iter(last), ""))


def controls(datasets: Mapping[str, Dataset], layers: Sequence[str], layer: str, k: int) -> dict[str, Any]:
    """Return the controls by name.

    Args:
        datasets: the data sets by source.
        layers: names of the layers to choose from.
        layer: the selected one.
        k: number of neighbors.

    Raises:
        CodialError: The layer or k is invalid.
    """
    require_settings(layers, layer, k, MAX_NEIGHBORS)
    max_k = max(k, min(MAX_NEIGHBORS, len(datasets["gallery"]) - 1))
    options = [(f"{dataset_title(images)} ({source})", source) for source, images in datasets.items()]
    return {
        "dataset": ipywidgets.Dropdown(options=options, description="query from", style=_AUTO, layout=_width("auto")),
        "previous": _button("◀ previous", "previous image of this data set"),
        "number": ipywidgets.BoundedIntText(0, min=0, max=0, description="number", style=_AUTO, layout=_width("130px")),
        "next": _button("next ▶", "next image of this data set"),
        "back": _button("↩ back", "the query before this one"),
        "layer": ipywidgets.Dropdown(
            options=list(layers), value=layer, description="layer", style=_AUTO, layout=_width("auto")
        ),
        "k": ipywidgets.IntSlider(
            k, min=1, max=max_k, description="k", continuous_update=False, style=_AUTO, layout=_width("210px")
        ),
        "file": ipywidgets.Text("runs/neighbors.png", description="file", style=_AUTO, layout=_width("240px")),
        "save": _button("save", "write all queries so far as a figure, PNG or PDF"),
    }


def control_rows(named: Mapping[str, Any]) -> list[Any]:
    """Return the controls in two rows."""
    rows = (("dataset", "previous", "number", "next", "back"), ("layer", "k", "file", "save"))
    return [ipywidgets.HBox([named[name] for name in names]) for names in rows]


def require_settings(layers: Sequence[str], layer: str, k: int, max_k: int) -> None:
    """Check a layer and a number of neighbors.

    Raises:
        CodialError: There is no such layer, or the number is out of range.
    """
    if layer not in layers:
        raise CodialError(f"layer is {layer!r}; expected one of {', '.join(layers)}.")
    if not 1 <= k <= max_k:
        raise CodialError(f"k is {k}; expected 1 to {max_k}.")


def dataset_title(images: Dataset) -> str:
    """Return a data set's name and split."""
    return f"{images.name}/{images.split}"


def class_name(images: Dataset, number: int) -> str:
    """Return the class of an image, or "" if it has no label."""
    label = int(images.labels[number])
    return images.classes[label] if label >= 0 else ""


def image_title(images: Dataset, number: int) -> str:
    """Return an image's number and class."""
    label = class_name(images, number)
    return f"image {number}" + (f", {label}" if label else "")


def block_title(name: str, layer: str, result: RetrievalResult) -> str:
    """Return the title of a run's block in the figure: its precision if there are labels, and whether it collapsed."""
    precision, (count, k) = result.precision, result.indices.shape
    number = "" if math.isnan(precision) else f"precision at {k} of these {count}: {precision:.1f} %"
    return "\n".join(filter(None, (f"{name}, {layer}", number, result.collapse)))


def precision_html(neighbors: Neighbors) -> str:
    """Return the precision of one query as HTML, unless labels are missing, and whether the features are collapsed."""
    lines = []
    if neighbors.labeled:
        relevant, count = int(neighbors.relevant.sum()), len(neighbors.relevant)
        percent = 100 * relevant / max(1, count)
        lines.append(f"precision at {count} of this query {percent:.0f} % ({relevant} of {count})")
    lines.append(collapse_text(neighbors.feature_std))
    return "".join(f"<br>{escape(line)}" for line in lines if line)


def _button(description: str, tooltip: str) -> Any:
    return ipywidgets.Button(description=description, tooltip=tooltip, layout=_width("auto"))


def _width(width: str) -> ipywidgets.Layout:
    return ipywidgets.Layout(width=width)
