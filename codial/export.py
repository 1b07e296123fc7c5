"""Weights to hand on: the convolutions of a finished run at half precision, with a model card, as a folder to open.

The folder is a run like any other (`codial.open_run`), whose checkpoint has conv1 to conv5 alone: what the paper
probes, and a few MB at full width.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from codial.checkpoints import newest_note, read_tensors, save_checkpoint
from codial.errors import CodialError
from codial.models.trunk import CONV_TAPS
from codial.parameters import project_path
from codial.reports import probe_report, probed_sets
from codial.results import WEIGHTS, reports
from codial.runs import Run, open_run
from codial.writing import make_folder

_KEPT = ("config.json", "provenance.json")


def export(run: Run, root: str | Path | None = None, name: str | None = None) -> Path:
    """Write a run's convolutions, settings, origin, reports and card into a folder; an older export there goes.

    Args:
        run: a finished run.
        root: where the folder goes; the project's results/weights when left out.
        name: of the folder; runs/cifar10/codial is codial-cifar10.

    Returns:
        The folder.

    Raises:
        CodialError: the run is not finished or has no whole checkpoint, or the folder is its own or no export.
    """
    if not run.finished:
        raise CodialError(f"{run!r} is not finished; only whole runs are exported.")
    folder = _place(run, root, name)
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in _convolutions(run).items()}
    make_folder(folder.parent)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        _fill(Path(made, folder.name), run, tensors)
        if folder.exists():
            folder.rename(Path(made, "old"))
        Path(made, folder.name).rename(folder)
    (folder / "README.md").write_text(card(open_run(folder)))
    return folder


def _place(run: Run, root: str | Path | None, name: str | None) -> Path:
    """Return the folder to write, which is new or an older export."""
    system, scale = run.folder.resolve().parts[-1], run.folder.resolve().parts[-2]
    name = name or f"{system}-{scale}"
    if name == ".." or Path(name).name != name:
        raise CodialError(f"name is {name!r}; expected the name of a folder, such as {system}-{scale}.")
    folder = Path(project_path(WEIGHTS) if root is None else root, name)
    if folder.exists() and (folder.samefile(run.folder) or not _is_export(folder)):
        raise CodialError(f"{folder} is the run itself, or no exported one; choose another name or folder.")
    return folder


def _is_export(folder: Path) -> bool:
    """Say whether a folder has what `export` writes, and nothing else but reports made from it."""
    known = {"config.json", "provenance.json", "README.md", "checkpoints", "evaluations"}
    strange = [path for path in folder.iterdir() if path.name not in known and path.suffix != ".json"]
    return not strange and (folder / "config.json").is_file() and "layers" in newest_note(folder / "checkpoints")


def _fill(folder: Path, run: Run, tensors: dict[str, Tensor]) -> None:
    (folder / "checkpoints").mkdir(parents=True)
    save_checkpoint(folder / "checkpoints/last.safetensors", tensors, run.progress | {"layers": list(CONV_TAPS)})
    for path in [run.folder / kept for kept in _KEPT] + sorted(reports(run).glob("*-*.json")):
        shutil.copyfile(path, folder / path.name)


def card(run: Run) -> str:
    """Return a model card in Markdown: what the weights learnt from, how well they do, and what they are not."""
    config, origin, pictures = run.config, run.provenance, run.provenance["pictures"]
    shipped = run.folder.resolve().parent == project_path(WEIGHTS).resolve()
    where = f"{WEIGHTS}/{run.folder.name}" if shipped else str(run.folder)
    by_name = f", or name `{run.folder.name}` where a notebook asks for runs" if shipped else ""
    rows = [f"- {source}: {_numbers(run, source)}" for source in probed_sets([run])]
    return f"""# {config.name}, seed {config.seed}

The convolutions (conv1 to conv5 with their batch norms) of an AlexNet at {config.model.width:g} of its width, for \
pictures of {config.views.size} x {config.views.size} pixels in [0, 1], float16. Open them with \
`codial.open_run("{where}").trunk()`{by_name}.

- Learnt from {pictures["count"]:,} pictures of {pictures["name"]}/{pictures["split"]} (fingerprint \
{pictures["fingerprint"]}), {run.progress["views"]:,} views, without labels unless the system is `supervised`.
- Settings: `config.json`, hash {origin["config_hash"]}; code {origin["commit"]}; {origin["device"]}.

Top-1 accuracy in percent of a linear probe on each frozen layer, measured on the whole network in its own precision:

{chr(10).join(rows) or "- not measured"}

Limits: one run. The numbers hold for these pictures and this probe (its protocol is in the reports beside). The dense \
layers fc6 and fc7 are left out, so nothing that reads them can be done with these weights, and training cannot go on.
"""


def _convolutions(run: Run) -> dict[str, Tensor]:
    """Return the tensors of the trunk's convolutions and their batch norms."""
    tensors = read_tensors(run.checkpoint(), "model.trunk.")
    return {name: value for name, value in tensors.items() if set(CONV_TAPS) & set(name.split("."))}


def _numbers(run: Run, source: str) -> str:
    report = probe_report(run, source)
    assert report is not None
    return ", ".join(f"{layer} {report.mean(layer):.1f}" for layer in report.accuracies)
