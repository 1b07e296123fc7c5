"""Exporting weights: the convolutions of a finished run in half precision, with a model card.

The exported folder can be opened like any run (`codial.open_run`). Its checkpoint holds only conv1 to conv5, the layers
that the paper probes: a few MB at full width.
"""

import shutil
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

from torch import Tensor

from codial.errors import CodialError
from codial.models.backbone import CONV_LAYERS
from codial.runs.checkpoints import read_tensors, save_checkpoint
from codial.runs.metadata import latest_metadata
from codial.runs.publish import WEIGHTS
from codial.runs.reports import current_report, probed_sets, read_report, reports_folder
from codial.runs.run import Run, open_run
from codial.utils.atomic_io import make_folder
from codial.utils.paths import project_path

_COPIED = ("config.json", "provenance.json")


def export(run: Run, root: str | Path | None = None, name: str | None = None) -> Path:
    """Write a run's convolutions, config, provenance, reports and model card to a folder.

    Args:
        run: a finished run.
        root: parent folder; the project's results/weights if None.
        name: name of the folder; codial-cifar10 for runs/cifar10/codial if None. An earlier export of that name is
            replaced.

    Returns:
        The folder.

    Raises:
        CodialError: the run is not finished, its checkpoint is damaged, or the folder is the run itself or something
            other than an export.
    """
    if not run.finished:
        raise CodialError(f"{run!r} is not finished; only finished runs can be exported.")
    folder = _target(run, root, name)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in _convolutions(run).items()}
    make_folder(folder.parent)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new = Path(temporary, folder.name)
        _fill(new, run, tensors)
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        new.rename(folder)
    (folder / "README.md").write_text(model_card(open_run(folder)))
    return folder


def _target(run: Run, root: str | Path | None, name: str | None) -> Path:
    """Return the folder to write, which is new or an earlier export."""
    scale, method = run.folder.resolve().parts[-2:]
    name = name or f"{method}-{scale}"
    if name == ".." or Path(name).name != name:
        raise CodialError(f"name is {name!r}; expected the name of a folder, such as {method}-{scale}.")
    folder = Path(project_path(WEIGHTS) if root is None else root, name)
    if folder.exists() and folder.samefile(run.folder):
        raise CodialError(f"{folder} is the run itself; use another name or folder.")
    if folder.exists() and not _is_export(folder):
        raise CodialError(f"{folder} exists and is not an export; use another name or folder.")
    return folder


def _is_export(folder: Path) -> bool:
    """Return whether a folder holds what `export` writes, and nothing else except reports on it."""
    exported = {"config.json", "provenance.json", "README.md", "checkpoints", "evaluations"}
    other = [path for path in folder.iterdir() if path.name not in exported and path.suffix != ".json"]
    return not other and (folder / "config.json").is_file() and "layers" in latest_metadata(folder / "checkpoints")


def _fill(folder: Path, run: Run, tensors: dict[str, Tensor]) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    save_checkpoint(folder / "checkpoints/last.safetensors", tensors, run.progress | {"layers": list(CONV_LAYERS)})
    for path in [run.folder / name for name in _COPIED] + sorted(reports_folder(run).glob("*-*.json")):
        shutil.copyfile(path, folder / path.name)


def model_card(run: Run) -> str:
    """Return a model card in Markdown for an exported run: training data, probe accuracies and limits."""
    config, origin, images = run.config, run.provenance, run.provenance["images"]
    shipped = run.folder.resolve().parent == project_path(WEIGHTS).resolve()
    path = f"{WEIGHTS}/{run.folder.name}" if shipped else str(run.folder)
    by_name = f", or use the name `{run.folder.name}` as a run in the notebooks" if shipped else ""
    rows = [f"- {source}: {_accuracies(run, source)}" for source in probed_sets([run])]
    return f"""# {config.name}, seed {config.seed}

The convolutional layers (conv1 to conv5 with batch norm) of an AlexNet with a width multiplier of \
{config.model.width:g}, for images of {config.views.size} x {config.views.size} pixels in [0, 1], in float16. Load \
them with `codial.open_run("{path}").backbone()`{by_name}.

- Training data: {images["count"]:,} images of {images["name"]}/{images["split"]} (fingerprint \
{images["fingerprint"]}), {run.progress["views"]:,} views, without labels unless the method is `supervised`.
- Settings: `config.json`, hash {origin["config_hash"]}; code {origin["commit"]}; {origin["device"]}.

Top-1 accuracy in percent of a linear probe on each frozen layer, measured with the complete network in its original \
precision:

{chr(10).join(rows) or "- not measured"}

Limits: one run. The accuracies hold for these images and this probe, whose protocol is in the reports in this folder. \
The fully connected layers fc6 and fc7 are not included: they cannot be evaluated, and training cannot be continued.
"""


def _convolutions(run: Run) -> dict[str, Tensor]:
    """Return the tensors of the backbone's convolutions and their batch norms."""
    tensors = read_tensors(run.checkpoint(), "model.backbone.")
    return {name: value for name, value in tensors.items() if set(CONV_LAYERS) & set(name.split("."))}


def _accuracies(run: Run, source: str) -> str:
    """Return the mean accuracy of each layer from a run's probe report on a data set."""
    path = current_report(run, f"probe-{source}")
    accuracies = {} if path is None else read_report(path, accuracies=dict)["accuracies"]
    return (
        ", ".join(f"{layer} {mean(values):.1f}" for layer, values in accuracies.items())
        or "measured with other settings"
    )
