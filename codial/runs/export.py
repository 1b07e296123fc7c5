"""Exporting weights: the backbone of a finished run, with its config, reports and a model card.

The exported folder can be opened by `codial.load_backbone`, and like any run by `codial.open_run`:

config.json, provenance.json     those of the run, without the path of a folder of images
checkpoints/last.safetensors     the backbone's weights; the metadata has `layers` and the backbone's `input`
probe-*.json, retrieval-*.json   the run's reports
README.md                        model card
backbone.pt2                     on request: a program of torch.export, which needs no codial
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from codial.errors import CodialError
from codial.models import Backbone
from codial.runs.checkpoints import save_checkpoint
from codial.runs.metadata import latest_metadata
from codial.runs.model_card import UNKNOWN, model_card
from codial.runs.program import PROGRAM, agree, write_program
from codial.runs.publish import WEIGHTS, copy_config
from codial.runs.reports import reports_folder
from codial.runs.run import Run, open_run
from codial.runs.weights import PREFIX, read_weights, without_vectors
from codial.utils.atomic_io import make_folder
from codial.utils.paths import project_path

LAYERS = ("maps", "all")
PRECISIONS = ("half", "full")


def export(
    run: Run,
    root: str | Path | None = None,
    name: str | None = None,
    *,
    layers: str = "maps",
    precision: str = "half",
    program: bool = False,
    license: str = UNKNOWN,
) -> Path:
    """Write a run's backbone, config, provenance, reports and model card to a folder.

    Args:
        run: a finished run.
        root: parent folder; the project's results/weights if None.
        name: name of the folder; codial-cifar10 for runs/cifar10/codial if None. An earlier export of that name is
            replaced.
        layers: "maps" leaves out the weights of layers after the last maps (fc6 and fc7 of AlexNet, nothing of a
            ResNet); "all" keeps them.
        precision: "half" rounds to float16; "full" keeps the weights bit for bit.
        program: also write backbone.pt2, which `torch.export.load` opens without codial.
        license: license of the weights for the model card, by Hugging Face's identifier, such as "mit".

    Returns:
        The folder.

    Raises:
        CodialError: the run is not finished, its checkpoint is damaged or has fewer layers than asked for, or the
            folder is the run itself or something other than an export.
    """
    _require(run, layers, precision)
    folder = _target(run, root, name)
    make_folder(folder.parent)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary, folder.name)
        _fill(new, run, layers, precision)
        if program:
            write_program(open_run(new).backbone(), new / PROGRAM)
        (new / "README.md").write_text(model_card(open_run(new), _shown(folder), license))
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        new.rename(folder)
    return folder


def is_export(folder: Path) -> bool:
    """Return whether a folder holds what `export` writes, and nothing else except reports on it."""
    exported = {"config.json", "provenance.json", "README.md", PROGRAM, "checkpoints", "evaluations"}
    other = [path for path in folder.iterdir() if path.name not in exported and path.suffix != ".json"]
    return not other and (folder / "config.json").is_file() and "layers" in latest_metadata(folder / "checkpoints")


def _require(run: Run, layers: str, precision: str) -> None:
    """Check that a run and options are valid."""
    for name, value, choices in (("layers", layers, LAYERS), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise CodialError(f"{name} is {value!r}; expected {' or '.join(choices)}.")
    if not run.finished:
        raise CodialError(f"{run!r} is not finished; only finished runs can be exported.")


def _target(run: Run, root: str | Path | None, name: str | None) -> Path:
    """Return the folder to write, which is new or an earlier export."""
    scale, method = run.folder.resolve().parts[-2:]
    name = name or f"{method}-{scale}"
    if name == ".." or Path(name).name != name:
        raise CodialError(f"name is {name!r}; expected the name of a folder, such as {method}-{scale}.")
    folder = Path(project_path(WEIGHTS) if root is None else root, name)
    if folder.exists() and folder.samefile(run.folder):
        raise CodialError(f"{folder} is the run itself; use another name or folder.")
    if folder.exists() and not is_export(folder):
        raise CodialError(f"{folder} exists and is not an export; use another name or folder.")
    return folder


def _shown(folder: Path) -> str:
    """Return the path of an export for its model card; that of shipped weights is relative to the project."""
    shipped = folder.resolve().parent == project_path(WEIGHTS).resolve()
    return f"{WEIGHTS}/{folder.name}" if shipped else str(folder)


def _fill(folder: Path, run: Run, layers: str, precision: str) -> None:
    """Write everything but program and model card; check that the exported layers are computed as the run's."""
    backbone = run.backbone()
    weights = read_weights(run.checkpoint())
    if layers == "all" and weights.keys() < backbone.state_dict().keys():
        raise CodialError(f"{run.folder} is an export with {', '.join(backbone.layers)} only; export the run itself.")
    kept, names = without_vectors(weights, backbone) if layers == "maps" else (weights, backbone.layers)
    kept = {name: _round(tensor) for name, tensor in kept.items()} if precision == "half" else kept
    (folder / "checkpoints").mkdir(parents=True)
    metadata = run.progress | {"layers": list(names), "input": run.config.method.input}
    tensors = {PREFIX + name: tensor for name, tensor in kept.items()}
    save_checkpoint(folder / "checkpoints/last.safetensors", tensors, metadata)
    copy_config(run, folder)
    for path in [run.folder / "provenance.json", *sorted(reports_folder(run).glob("*-*.json"))]:
        shutil.copyfile(path, folder / path.name)
    backbone.load_state_dict(backbone.state_dict() | kept)
    _require_same_maps(backbone, open_run(folder).backbone(), names)


def _round(tensor: Tensor) -> Tensor:
    """Round a tensor to float16 unless it has integers, as counters of batch norm."""
    rounded = tensor.half() if tensor.is_floating_point() else tensor
    if rounded.is_floating_point() and not bool(rounded.isfinite().all()) and bool(tensor.isfinite().all()):
        raise CodialError("A weight is beyond the range of float16, 65,504; export with precision full.")
    return rounded


@torch.no_grad()
def _require_same_maps(original: Backbone, exported: Backbone, layers: tuple[str, ...]) -> None:
    """Check that nothing was left out that the exported layers need."""
    images = torch.rand(2, 3, original.size, original.size, generator=torch.Generator().manual_seed(0))
    expected = original.features(images, layers)
    for layer, activations in exported.features(images, layers).items():
        if not agree(activations, expected[layer]):
            raise CodialError(f"Without the weights after the last maps, {layer} changes; export with layers all.")
