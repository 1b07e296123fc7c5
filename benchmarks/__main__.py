"""Measure everything, print a table of ratios, and write results/bench-DEVICE.json: `make bench`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import parts

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main() -> None:
    """Run the parts that are asked for; the others keep the numbers of their last run.

    Each part has a process of its own, for the threads that one part's libraries leave behind slow the next one down.
    """
    given = _arguments()
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = given.out or RESULTS / f"bench-{device.type}.json"
    chosen = given.parts or list(parts.PARTS)
    for part in chosen:
        print(f"{part} ...", flush=True)
        if len(chosen) == 1:
            parts.measure(part, device, path)
        else:
            alone = [sys.executable, "-m", "benchmarks", part, f"--device={device}", f"--out={path}"]
            subprocess.run(alone, stdout=subprocess.DEVNULL, check=True)
    print("\n".join(_table(json.loads(path.read_text()))))
    print(f"\nWritten to {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(parts.PARTS)}; all when left out")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU when there is one)")
    parser.add_argument("--out", type=Path, help="file to write (default: results/bench-DEVICE.json)")
    given = parser.parse_args()
    unknown = set(given.parts) - set(parts.PARTS)
    if unknown:
        parser.error(f"there is no part called {', '.join(sorted(unknown))}; there are {', '.join(parts.PARTS)}")
    return given


def _table(report: dict[str, Any]) -> list[str]:
    """Return lines: who, how fast, and how many times as fast as that we are."""
    lines = ["", "| what | who | rate | ours is x times that | memory, MB | |", "|---|---|---|---|---|---|"]
    for part in (p for p in parts.PARTS if p in report):
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
