"""The command `codial embed`."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import codial
from codial.cli.inputs import default_split, load_images
from codial.cli.options import DataRoot, Device, Layer, Limit, Quiet, Run
from codial.cli.output import plotting, require_writable, write_file
from codial.runs.summary import require_run

if TYPE_CHECKING:
    from torch import Tensor

    from codial.data import Dataset

EXAMPLES = """\
  codial embed runs/photos/codial --layer fc7 --out features.safetensors
  codial embed runs/photos/codial --layer conv5 --split train --out train.npz
  codial embed runs/photos/codial --out map.png"""


def embed(
    run: Run,
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .safetensors, .npz or .png.")],
    layer: Layer = "",
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="Data set or folder.", show_default="the run's data set")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SPLIT", help="Split of the images.", show_default="test; of a folder without splits all"),
    ] = None,
    limit: Limit = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write features of a layer, or a map of them.

    The suffix of the file decides: .safetensors and .npz hold the features [N, F] with labels and class names; .png is
    a UMAP, colored by class. A map preserves neighborhoods, but neither distances between clusters nor their sizes.
    """
    require_writable(out, tuple(_WRITERS))
    require_run(run)
    opened = codial.open_run(run)
    from codial.evaluate.features import backbone_of

    backbone = backbone_of(opened, device).eval()
    layer = layer or backbone.layers[-1]
    split = split or default_split(data or opened.config.data.source, "test")
    images = load_images(opened, data, split, limit, data_root)
    features = codial.features(backbone, images, layer, progress=not quiet).cpu()
    name = opened.config.name
    print(f"{layer} of {name}: [{features.shape[0]}, {features.shape[1]}] float32 from {images}")
    write_file(out, _WRITERS[out.suffix](features, images, layer, name))


def _safetensors(features: "Tensor", images: "Dataset", layer: str, name: str) -> bytes:
    from safetensors.torch import save

    metadata = {"run": name, "layer": layer, "set": f"{images.name}/{images.split}"}
    metadata["classes"] = json.dumps(images.classes)
    return save({"features": features.contiguous(), "labels": images.labels}, metadata)


def _npz(features: "Tensor", images: "Dataset", layer: str, name: str) -> bytes:
    import numpy as np

    buffer = BytesIO()
    classes = np.array(images.classes, dtype=str)
    np.savez(buffer, features=features.numpy(), labels=images.labels.numpy(), classes=classes)
    return buffer.getvalue()


def _map(features: "Tensor", images: "Dataset", layer: str, name: str) -> bytes:
    from codial.evaluate import map_features

    with plotting():
        from codial.plots.embeddings import feature_maps
        from codial.plots.style import png
    return png(feature_maps({name: {layer: map_features(features)}}, images))


_WRITERS: "dict[str, Callable[[Tensor, Dataset, str, str], bytes]]" = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".png": _map,
}
