"""Loading a trained backbone from a run, an exported folder, or the Hugging Face Hub."""

from pathlib import Path

import torch

from codial.config import ModelConfig
from codial.config.validation import build
from codial.errors import CodialError
from codial.models import Backbone, create_backbone
from codial.runs.checkpoints import latest_checkpoint
from codial.runs.hub import HUB, download
from codial.runs.metadata import read_metadata
from codial.runs.run import open_run
from codial.runs.summary import require_run
from codial.runs.weights import load_weights
from codial.utils.json_io import read_json, require_types


def load_backbone(source: str | Path, *, revision: str | None = None, device: str | torch.device = "cpu") -> Backbone:
    """Return a trained backbone in evaluation mode.

    Of an export this needs torch, torchvision and safetensors, but not the method that trained it. Nothing is
    unpickled.

    Args:
        source: an exported folder, a run's folder, or "hf:USER/NAME", a model that `codial push` uploaded.
        revision: branch, tag or commit of a model on the hub; main if None.
        device: device of the backbone.

    Returns:
        The backbone: `backbone.features(images, layers=["conv5"])` returns activations by name, of those in
        `backbone.layers`.

    Raises:
        CodialError: there is no such folder or model, a file is missing or damaged, or the backbone's class is not
            registered here.
    """
    if str(source).startswith(HUB):
        folder = download(str(source).removeprefix(HUB), revision)
    elif revision is not None:
        raise CodialError(f"revision is {revision!r}; only models on the hub, {HUB}USER/NAME, have revisions.")
    else:
        folder = Path(source).expanduser()
    config = require_run(folder)
    path = latest_checkpoint(folder / "checkpoints")
    given = None if path is None else read_metadata(path).get("input")
    if path is None or given is None:
        return open_run(folder).backbone(device=device)
    return load_weights(_create(config, str(given)), path).to(device)


def _create(path: Path, given: str) -> Backbone:
    """Return the backbone of an export's config.json, whose other sections may be of a method unknown here."""
    values = read_json(path)
    require_types(values, {"model": dict, "views": dict}, path)
    require_types(values["views"], {"size": int}, path)
    try:
        return create_backbone(build(ModelConfig, values["model"], "model."), values["views"]["size"], given)
    except CodialError as error:
        raise CodialError(f"The backbone of {path} cannot be created: {error}") from error
