"""The parts of the benchmark, and the report of their results."""

import importlib
import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import codial
from benchmarks import probing, sampling, searching, starting, streaming, training
from benchmarks.clock import Measurement

PARTS = {
    "sampling": (sampling.measure, "views a second"),
    "training": (training.measure, "views a second"),
    "probing": (probing.measure, "times a second"),
    "searching": (searching.measure, "queries a second"),
    "streaming": (streaming.measure, "images a second"),
    "starting": (starting.measure, "times a second"),
}


def measure(part: str, device: torch.device, path: Path) -> None:
    """Measure one part, and update its entry in the report."""
    function, unit = PARTS[part]
    cases = {case: _as_json(measurements) for case, measurements in function(device).items()}
    report = json.loads(path.read_text()) if path.exists() else {}
    report[part] = {"unit": unit, "cases": cases, "machine": _machine(device)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def _as_json(measurements: dict[str, Measurement]) -> dict[str, Any]:
    """Return the fields of measurements, rounded to four significant digits."""
    return {name: {k: _rounded(v) for k, v in values._asdict().items()} for name, values in measurements.items()}


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.4g}")


def _machine(device: torch.device) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "codial": codial.__version__, "python": platform.python_version()}
    for package in ("torchvision", "kornia", "sklearn", "faiss"):
        try:
            versions[package] = importlib.import_module(package).__version__
        except ImportError:
            versions[package] = "not installed"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"device": name, "threads": torch.get_num_threads(), "versions": versions, "when": now}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
