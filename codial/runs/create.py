"""Creating a run's folder with its config and provenance."""

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
import torch

from codial import config as configs
from codial.config import Config
from codial.data.registry import absolute_source
from codial.errors import CodialError
from codial.runs.run import Run, open_run, require_run_or_empty
from codial.utils.atomic_io import make_folder, write_atomic

_FREE = ("train.device", "train.loggers")  # settings with which a run may be resumed that differ from its config.json


def create_run(folder: str | Path, config: Config, images: Mapping[str, Any], device: str) -> Run:
    """Create a run's folder, or open it if it exists with the same settings and images.

    The device and the loggers may differ.

    Args:
        folder: path of the run.
        config: all settings.
        images: name, split, count and fingerprint of the training images, for the provenance; if empty, they are not
            compared with those of an existing run.
        device: description of the device, for the provenance.

    Raises:
        CodialError: the folder holds a run with other settings or images, or something other than a run.
    """
    folder = Path(folder)
    require_run_or_empty(folder)
    if (folder / "config.json").exists():
        run = open_run(folder)
        _require_same_config(run, config)
        _require_same_images(run, images)
        return run
    make_folder(folder / "checkpoints")
    write_atomic(folder / "provenance.json", json.dumps(_provenance(config, images, device), indent=1).encode())
    write_atomic(folder / "config.json", json.dumps(configs.to_dict(config), indent=1).encode())
    return Run(folder, config)


def _require_same_config(run: Run, config: Config) -> None:
    existing = _identity(run.config)
    requested = _identity(config)
    differences = [
        f"{key}: {existing.get(key)!r} in the folder, {requested.get(key)!r} requested"
        for key in existing | requested
        if existing.get(key) != requested.get(key)
    ]
    if differences:
        raise CodialError(
            f"{run.folder} holds a run with other settings ({'; '.join(differences)}). Use a new folder, or delete this"
            " one."
        )


def _identity(config: Config) -> dict[str, Any]:
    """Return the settings that may not differ when a run is resumed: all but `_FREE`."""
    settings = {key: value for key, value in configs.flatten(config) if key not in _FREE}
    return settings | {"data.source": absolute_source(config.data.source)}  # older runs have relative paths


def _require_same_images(run: Run, images: Mapping[str, Any]) -> None:
    existing = run.provenance["images"]
    if images and images["fingerprint"] != existing.get("fingerprint"):
        raise CodialError(
            f"{run.folder} is trained on other images ({_describe(existing)} in the folder, {_describe(images)}"
            " requested). Use a new folder, or delete this one."
        )


def _describe(images: Mapping[str, Any]) -> str:
    return "{} of {}/{}, {}".format(*map(images.get, ("count", "name", "split", "fingerprint")))


def _provenance(config: Config, images: Mapping[str, Any], device: str) -> dict[str, Any]:
    return {
        "codial": version("codial"),
        "commit": _commit(),
        "config_hash": configs.config_hash(config),
        "seed": config.seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "images": dict(images),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """Return the commit of the checkout, followed by "+" if files were changed; None outside a checkout."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (commit + "+" * bool(changes)) or None


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10).stdout.strip()
