"""Measure everything, print a table of ratios, and write results/bench-DEVICE.json: `make bench`."""

import argparse
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

RESULTS = Path(__file__).resolve().parents[1] / "results"
# What is measured, and in what.
PARTS = {
    "sampling": (sampling.measure, "views a second"),
    "training": (training.measure, "views a second"),
    "probing": (probing.measure, "times a second"),
    "searching": (searching.measure, "queries a second"),
    "streaming": (streaming.measure, "pictures a second"),
    "starting": (starting.measure, "times a second"),
}


def main() -> None:
    """Run the parts that are asked for; the others keep the numbers of their last run."""
    given = _arguments()
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = given.out or RESULTS / f"bench-{device.type}.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    for part in given.parts or PARTS:
        print(f"{part} ...", flush=True)
        measure, unit = PARTS[part]
        cases = {case: _as_json(rates) for case, rates in measure(device).items()}
        report[part] = {"unit": unit, "cases": cases, "machine": _machine(device)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(_table(report)))
    print(f"\nWritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all when left out")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU when there is one)")
    parser.add_argument("--out", type=Path, help="file to write (default: results/bench-DEVICE.json)")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return given


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


def _table(report: dict[str, Any]) -> list[str]:
    """Return lines: who, how fast, and how many times as fast as that we are."""
    lines = ["", "| what | who | rate | ours is x times that | memory, MB | |", "|---|---|---|---|---|---|"]
    for part in (p for p in PARTS if p in report):
        for case, rates in report[part]["cases"].items():
            ours = next(iter(rates.values()))["per_second"]
            for who, measured in rates.items():
                times = f"{ours / measured['per_second']:.2f}"
                rate = f"{measured['per_second']:.4g} {report[part]['unit']}"
                memory, note = f"{measured['memory']:.0f}", measured["note"]
                lines.append(f"| {part}: {case} | {who} | {rate} | {times} | {memory} | {note} |")
    return lines


if __name__ == "__main__":
    main()
