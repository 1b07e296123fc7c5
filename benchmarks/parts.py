"""What is measured, and how one part's numbers get into the report."""

import importlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import codial
from benchmarks import probing, sampling, searching, starting, streaming, training
from benchmarks.clock import Measured

# What is measured, and in what.
PARTS = {
    "sampling": (sampling.measure, "views a second"),
    "training": (training.measure, "views a second"),
    "probing": (probing.measure, "times a second"),
    "searching": (searching.measure, "queries a second"),
    "streaming": (streaming.measure, "pictures a second"),
    "starting": (starting.measure, "times a second"),
}


def measure(part: str, device: torch.device, path: Path) -> None:
    """Measure one part, and put it in its place in the report."""
    work, unit = PARTS[part]
    cases = {case: _as_json(rates) for case, rates in work(device).items()}
    report = json.loads(path.read_text()) if path.exists() else {}
    report[part] = {"unit": unit, "cases": cases, "machine": _machine(device)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def _as_json(rates: dict[str, Measured]) -> dict[str, Any]:
    """Return the numbers with the digits that count."""
    return {who: {k: _short(v) for k, v in measured._asdict().items()} for who, measured in rates.items()}


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.4g}")


def _machine(device: torch.device) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "codial": codial.__version__, "python": platform.python_version()}
    for peer in ("torchvision", "kornia", "sklearn", "faiss"):
        try:
            versions[peer] = importlib.import_module(peer).__version__
        except ImportError:
            versions[peer] = "not installed"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"device": name, "threads": torch.get_num_threads(), "versions": versions, "when": when}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
