"""Run the benchmarks, print a table of ratios, and write results/bench-DEVICE.json: `make bench`."""

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
    """Run the requested parts; the others keep the numbers of their last run.

    Each part runs in its own process, because threads left over by one part's libraries slow down the next part.
    """
    options = _parse_arguments()
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = options.out or RESULTS / f"bench-{device.type}.json"
    selected = options.parts or list(parts.PARTS)
    for part in selected:
        print(f"{part} ...", flush=True)
        if len(selected) == 1:
            parts.measure(part, device, path)
        else:
            command = [sys.executable, "-m", "benchmarks", part, f"--device={device}", f"--out={path}"]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    print("\n".join(_table(json.loads(path.read_text()))))
    print(f"\nWritten to {path}")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts.PARTS)} (default: all)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--out", type=Path, help="output file (default: results/bench-DEVICE.json)")
    options = parser.parse_args()
    unknown = set(options.parts) - set(parts.PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; valid parts: {', '.join(parts.PARTS)}")
    return options


def _table(report: dict[str, Any]) -> list[str]:
    """Return the rows of a Markdown table with rates, ratios and memory."""
    lines = [
        "",
        "| benchmark | implementation | rate | speed-up of codial | memory, MB | note |",
        "|---|---|---|---|---|---|",
    ]
    for part in (p for p in parts.PARTS if p in report):
        for case, measurements in report[part]["cases"].items():
            codial_rate = next(iter(measurements.values()))["per_second"]
            for name, values in measurements.items():
                rate = f"{values['per_second']:.4g} {report[part]['unit']}"
                ratio = f"{codial_rate / values['per_second']:.2f}"
                cells = [f"{part}: {case}", name, rate, ratio, f"{values['memory']:.0f}", values["note"]]
                lines.append(f"| {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
