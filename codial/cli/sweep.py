"""The command `codial sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from codial.cli.inputs import parse_changes
from codial.cli.options import Changes, DataRoot, Device, Minutes, Quiet, RunsRoot
from codial.cli.output import print_sweep
from codial.config.preset_names import split_preset
from codial.experiments.named_sweeps import SWEEPS

EXAMPLES = """\
  codial sweep figure3/photos --probe
  codial sweep table2/cifar10 --seeds 3 --probe
  codial sweep 'codial-pairs*/photos' --set train.epochs=2 --out short
  codial sweep table2/cifar10 --task 0 --of 4"""

_NAMES = f"Presets, patterns in quotes, or {', '.join(SWEEPS)} with a recipe, such as table2/photos."


def sweep(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help=_NAMES)],
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Number of seeds of each preset, from 0.")] = 1,
    out: RunsRoot = Path("runs"),
    probe: Annotated[bool, typer.Option("--probe", help="Measure runs that lack reports, as compare does.")] = False,
    minutes: Minutes = None,
    task: Annotated[int, typer.Option(metavar="I", help="Train one share of the runs: task I, from 0, of --of.")] = 0,
    of: Annotated[int, typer.Option(min=1, metavar="N", help="Number of tasks that share the runs.")] = 1,
    changes: Changes = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> int:
    """Train many presets one after another.

    Names are presets, patterns of presets, or what a table or figure of the paper compares. Runs are in
    OUT/RECIPE/METHOD, with seeds from 1 on in OUT/RECIPE-seedN/METHOD.

    Finished runs are skipped and interrupted ones resumed, so the same command continues a sweep. A run that fails does
    not stop the others; the exit code is then 2.

    In an array of jobs, each job trains its share: --task 0 --of 4 the first, fifth, ... of the runs.
    """
    settings = parse_changes(changes, device)
    for name in names:
        if not set(name) & set("*?[") and name.partition("/")[0] not in SWEEPS:
            split_preset(name)  # before methods are imported
    from codial.experiments.sweep import plan, share, sweep

    planned = share(plan(names, seeds, out, settings), task, of)
    result = sweep(planned, root=data_root, probe=probe, minutes=minutes, progress=not quiet)
    return print_sweep(result, len(planned))
