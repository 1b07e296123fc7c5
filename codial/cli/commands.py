"""What each command does."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

import codial
import codial.config as configs
from codial.ablations import ABLATIONS
from codial.cli import data, export, figure, reproduce, shortcuts, sweep, table, transfer
from codial.cli.arguments import parser
from codial.cli.drawing import drawing, write
from codial.comparison import by_name
from codial.data import Pictures, load_images
from codial.data.pictures import choose
from codial.errors import CodialError
from codial.evaluate import PROTOCOLS, map_features
from codial.evaluate.probe import Protocol
from codial.presets import PRESETS
from codial.readings import READINGS
from codial.results import publish
from codial.runs import Run, list_runs, open_run
from codial.tables import compare, laid_out

FAILED, INTERRUPTED = 2, 130  # exit codes: a mistake that the user can mend; Ctrl-C, as shells count it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 for a mistake told in one message, 130 for Ctrl-C."""
    given = parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.filterwarnings("always", module="codial")
        warnings.showwarning = _warn
        try:
            return _COMMANDS[given.command](given) or 0
        except (CodialError, OSError) as error:
            print(f"codial: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            print("codial: interrupted.", file=sys.stderr)
            return INTERRUPTED


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"codial: warning: {message}", file=sys.stderr)


# The commands. Each takes the parsed arguments and returns an exit code, or None for success.


def _pretrain(given: argparse.Namespace) -> int | None:
    """Train, resume or find finished; stopped by Ctrl-C, say how to go on."""
    if given.list:
        print(_presets())
        return None
    if given.source is None:
        raise CodialError("Say what to train: codial pretrain PRESET, or a config.json; --list shows the presets.")
    config = _changed(_config(given.source), given)
    if given.show:
        print("\n".join(f"{key} = {value}" for key, value in configs.flatten(config)))
        return None
    # Scale before system, as the notebooks have it, so that runs to be compared lie side by side.
    out = given.out or Path("runs", *reversed(config.name.split("/")))
    run = codial.pretrain(config, out, root=given.data_root, progress=not given.quiet)
    if int(os.environ.get("RANK", "0")):
        return None  # of the processes that torchrun started, the first one speaks
    print(f"{run.folder}: {_state(run)}; best kNN {_best(run, 'knn')}, best quick probe {_best(run, 'probe')}")
    if not run.finished:
        print("Saved. The same command goes on from here, to the same numbers as if it had never stopped.")
        return INTERRUPTED
    print(f"Next: codial probe {run.folder}")
    return None


def _probe(given: argparse.Namespace) -> None:
    """Print the accuracy of each layer of each run, and the protocol."""
    protocol = _protocol(given)
    runs = _open(given.runs)
    known, asked = _known_and_asked(runs, given)
    rows = []
    for name, run in runs.items():
        report = codial.probe(run, known, asked, protocol, progress=not given.quiet, device=given.device)
        rows.append([name, *(f"{report.mean(layer):.1f} ± {report.spread(layer):.1f}" for layer in protocol.layers)])
    dims = ", ".join(f"{layer} {count:,}" for layer, count in report.dims.items())
    print(laid_out([[f"{report.metric} in percent", *protocol.layers], *rows]))
    print(f"\nLearnt from {known}, judged on {asked}.\nProtocol: {protocol.describe(report.metric)}.")
    print(f"Dimensions: {dims}." if len(runs) == 1 else f"Dimensions, of the last: {dims}.")


def _retrieve(given: argparse.Namespace) -> None:
    """Print each run's precision at k, and draw some queries with their neighbours."""
    runs = _open(given.runs)
    gallery, queries = _known_and_asked(runs, given)
    options: dict[str, Any] = {"progress": not given.quiet, "device": given.device}
    found = {
        name: codial.retrieve(run, gallery, queries, given.k, given.layer, **options) for name, run in runs.items()
    }
    rows = [[name, f"{each.precision:.1f} %"] for name, each in found.items()]
    print(laid_out([["run", f"precision at {given.k}"], *rows]))
    print(f"\nGallery: {gallery}, queries: {queries}; cosine similarity of {given.layer}.")
    with drawing():
        from codial.plots.neighbours import neighbour_rows
        from codial.plots.style import png
    shown = choose(queries.labels, given.pictures, given.seed).tolist()
    out = given.out or next(iter(runs.values())).folder / "evaluations" / f"neighbours-{queries.name}.png"
    write(out, png(neighbour_rows(queries, gallery, found, shown)))


def _compare(given: argparse.Namespace) -> None:
    """Print systems side by side, each with the paper's numbers beneath it; measure what is not measured yet."""
    runs = _open(given.runs)
    protocol = codial.ProbeConfig(epochs=given.epochs, seeds=tuple(range(given.seeds)))
    options: dict[str, Any] = {"progress": not given.quiet, "device": given.device}
    again = given.again or given.limit is not None  # what is kept says neither which pictures were chosen nor how
    found = compare(
        list(runs.values()),
        lambda: _known_and_asked(runs, given),
        protocol,
        source=given.train,
        again=again,
        **options,
    )
    print(found)


def _embed(given: argparse.Namespace) -> None:
    """Write a layer's activations, or a map of them, in the form that the file's ending names."""
    writers: dict[str, Callable[..., bytes]] = {".safetensors": _as_safetensors, ".npz": _as_npz, ".png": _as_map}
    if given.out.suffix not in writers:
        raise CodialError(f"--out is {str(given.out)!r}; expected a file that ends in {', '.join(writers)}.")
    run = open_run(given.run)
    images = _pictures(run, given.data, given.split, given)
    found = codial.features(run, images, given.layer, progress=not given.quiet, device=given.device).cpu()
    print(f"{given.layer} of {run.config.name}: [{found.shape[0]}, {found.shape[1]}] float32 from {images}")
    write(given.out, writers[given.out.suffix](found, images, given.layer, run.config.name))


def _as_safetensors(found: Tensor, images: Pictures, layer: str, name: str) -> bytes:
    note = {"run": name, "layer": layer, "set": f"{images.name}/{images.split}", "classes": json.dumps(images.classes)}
    return save({"features": found.contiguous(), "labels": images.labels}, note)


def _as_npz(found: Tensor, images: Pictures, layer: str, name: str) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, features=found.numpy(), labels=images.labels.numpy(), classes=np.array(images.classes, dtype=str))
    return buffer.getvalue()


def _as_map(found: Tensor, images: Pictures, layer: str, name: str) -> bytes:
    with drawing():
        from codial.plots.maps import feature_maps
        from codial.plots.style import png
    return png(feature_maps({name: {layer: map_features(found)}}, images))


def _runs(given: argparse.Namespace) -> None:
    """Print a line for each run below a folder."""
    runs = list_runs(given.root)
    if not runs:
        raise CodialError(f"There is no run below {given.root}; `codial pretrain codial/photos` makes one.")
    rows = [[run.config.name, _state(run), _best(run, "knn"), _best(run, "probe"), str(run.folder)] for run in runs]
    print(laid_out([["run", "state", "best kNN", "best quick probe", "folder"], *rows]))


def _publish(given: argparse.Namespace) -> None:
    """Copy what can be committed of each run."""
    for run in _open(given.runs).values():
        print(f"{run.folder} -> {publish(run, given.out)}")


# From arguments to what the functions take.


def _config(source: str) -> configs.Config:
    """Read a preset by name or a config from a JSON file."""
    if not source.endswith(".json"):
        return codial.preset(source)
    try:
        return configs.from_dict(json.loads(Path(source).read_text()))
    except OSError as error:
        raise CodialError(f"Cannot read {source}: {error.strerror}. Name a preset or a config.json.") from error
    except (ValueError, RecursionError) as error:
        raise CodialError(f"{source} is not JSON ({error}); a run's config.json shows the form.") from error


def _changed(config: configs.Config, given: argparse.Namespace) -> configs.Config:
    """Apply --set and --device."""
    changes = sweep.settings(given.set)
    if given.device != "auto":
        changes["train.device"] = given.device
    return codial.override(config, changes)


def _protocol(given: argparse.Namespace) -> Protocol:
    """Return the probes' protocol, its length changed where one was given in the unit that it has."""
    kind, lengths = PROTOCOLS[given.protocol], {"epochs": given.epochs, "steps": given.steps}
    changes: dict[str, Any] = {name: value for name, value in lengths.items() if value is not None}
    valid = [name for name in lengths if name in {f.name for f in fields(kind)}]
    for name in changes:
        if name not in valid:
            raise CodialError(f"--{name} does not fit --protocol {given.protocol}, whose length is --{valid[0]}.")
    return kind(layers=_names(given.layers), seeds=tuple(range(given.seeds)), **changes)


def _open(folders: Sequence[Path]) -> dict[str, Run]:
    return by_name(open_run(folder) for folder in folders)


def _known_and_asked(runs: dict[str, Run], given: argparse.Namespace) -> tuple[Pictures, Pictures]:
    """Load the pictures to learn from or look in, and those to judge or look for; by default the first run's own."""
    first = next(iter(runs.values()))
    known = _pictures(first, given.train, given.train_split, given)
    return known, _pictures(first, given.test or given.train, given.test_split, given)


def _pictures(run: Run, source: str | None, split: str, given: argparse.Namespace) -> Pictures:
    """Load pictures; without a source those that the run was trained on, at the same size."""
    size = run.config.data.size if source is None else None
    return load_images(source or run.config.data.source, split, root=given.data_root, size=size, limit=given.limit)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


# What is printed and written.


def _presets() -> str:
    """List the presets; those that differ from codial in one setting or two by their names alone."""
    rows = [["preset", "pictures", "epochs", "views", "width"]]
    ablations, readings = ([f"codial-{name}" for name in names] for names in (ABLATIONS, READINGS))
    for name, c in PRESETS.items():
        if name.split("/")[0] not in ablations + readings:
            pictures = f"{c.data.source}, {c.data.limit or 'all'}"
            rows.append([name, pictures, str(c.train.epochs), f"{c.views.size} px", f"{c.model.width:g}"])
    told = (
        f"CODIAL's ablations, at the same scales: {', '.join(ablations)}.",
        f"Readings of what the paper leaves open, at short, cifar10, brief and recommended: {', '.join(readings)}.",
    )
    return "\n\n".join([laid_out(rows), *(fill(line, 80, break_on_hyphens=False) for line in told)])


def _state(run: Run) -> str:
    epochs = f"{run.config.train.epochs} epoch{'s' * (run.config.train.epochs != 1)}"
    return (
        f"finished, {epochs}" if run.finished else f"stopped or under way, {run.progress.get('epoch', 0)} of {epochs}"
    )


def _best(run: Run, name: str) -> str:
    values = [line[name] for line in run.history if name in line]
    return f"{max(values):.1f} %" if values else "-"


_COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "pretrain": _pretrain,
    "probe": _probe,
    "retrieve": _retrieve,
    "compare": _compare,
    "shortcuts": shortcuts.run,
    "export": export.run,
    "table": table.run,
    "figure": figure.run,
    "sweep": sweep.run,
    "reproduce": reproduce.run,
    "embed": _embed,
    "transfer": transfer.run,
    "data": data.run,
    "runs": _runs,
    "publish": _publish,
}
