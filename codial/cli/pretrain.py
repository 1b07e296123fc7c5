"""The command `codial pretrain`."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import codial
from codial.cli.inputs import parse_changes
from codial.cli.options import Changes, DataRoot, Device, Quiet
from codial.cli.output import INTERRUPTED, OK
from codial.config import RECIPES, Config, flatten, from_dict
from codial.config.preset_names import split_preset
from codial.config.registry import methods
from codial.errors import CodialError
from codial.runs.summary import summarize
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.methods import Method

EXAMPLES = """\
  codial pretrain --list                  # methods, variants and recipes
  codial pretrain codial/photos --show    # all settings that --set can change
  codial pretrain codial/photos --set train.epochs=2 --out runs/quick
  codial pretrain runs/quick/config.json --set seed=1 --out runs/quick-1
  codial pretrain codial/photos --logger tensorboard
  codial pretrain codial/cifar10 --set data.source=~/images --out runs/mine"""


def pretrain(
    source: Annotated[
        str | None, typer.Argument(metavar="PRESET|CONFIG.json", help="Name of a preset, or a file of settings.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder.", show_default="runs/RECIPE/METHOD")
    ] = None,
    changes: Changes = None,
    list_presets: Annotated[
        bool, typer.Option("--list", help="Print methods, variants and recipes, and exit.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print all settings, and exit.")] = False,
    data_root: DataRoot = None,
    device: Device = "auto",
    loggers: Annotated[
        list[str] | None,
        typer.Option("--logger", metavar="NAME", help="tensorboard, wandb, trackio, mlflow, ...; repeatable."),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Train a network without labels.

    The run folder is written during training. Ctrl-C finishes the current step and saves; the same command resumes,
    and returns at once when the run is finished.

    A preset is METHOD[-VARIANT]/RECIPE. Methods are codial and those that it is compared with (`--list`); supervised
    and random (untrained) are references. The recipes photos, short and cifar10 are for a laptop, brief, recommended
    and paper for a GPU. `codial --plugin FILE pretrain ...` adds a method of your own.
    """
    if list_presets:
        print(_preset_tables())
        return OK
    if source is None:
        raise CodialError("PRESET or CONFIG.json is missing; `codial pretrain --list` shows the presets.")
    settings: dict[str, Any] = parse_changes(changes, device)
    if loggers:
        settings["train.loggers"] = loggers
    config = codial.override(_read_config(source), settings)
    if show:
        print("\n".join(f"{key} = {value}" for key, value in flatten(config)))
        return OK
    out = out or Path("runs", *reversed(config.name.split("/")))
    run = codial.pretrain(config, out, root=data_root, progress=not quiet)
    return _print_state(run.folder) if os.environ.get("RANK", "0") == "0" else OK  # under torchrun, the first process


def _print_state(folder: Path) -> int:
    """Print how far a run is and what to do next, and return the exit code."""
    run = summarize(folder)
    print(f"{folder}: {run.state}; best kNN {run.best_percent('knn')}, best quick probe {run.best_percent('probe')}")
    if run.status == "unfinished":
        print("Saved. The same command resumes, with the same results as without the interruption.")
        return INTERRUPTED
    print(f"Next: codial probe {shlex.quote(str(folder))}")
    return OK


def _read_config(source: str) -> Config:
    """Return the config of a preset or of a JSON file."""
    if not source.endswith(".json"):
        if Path(source).is_dir():
            raise CodialError(f"{source} is a folder; expected a preset or a JSON file, such as a run's config.json.")
        split_preset(source)  # before methods are imported
        return codial.preset(source)
    try:
        values = json.loads(Path(source).read_text())
    except OSError as error:
        raise CodialError(f"Cannot read {source}: {error.strerror}. Name a preset or a config.json.") from error
    except (ValueError, RecursionError) as error:
        raise CodialError(f"{source} is not JSON ({error}); a run's config.json shows the form.") from error
    return from_dict(values)


def _preset_tables() -> str:
    """Return tables of methods, of their variants and of recipes."""
    available = methods()
    recipes = [["recipe", "images", "epochs", "views", "width"]]
    for recipe in RECIPES.values():
        images = f"{recipe.data.source}, {recipe.data.limit or 'all'}"
        recipes.append(
            [recipe.name, images, str(recipe.train.epochs), f"{recipe.views.size} px", f"{recipe.model.width:g}"]
        )
    return "\n\n".join(
        [
            "A preset is METHOD[-VARIANT]/RECIPE, such as codial/photos or codial-cls/cifar10.",
            format_table(
                [["method", "description"], *([name, _summary(method)] for name, method in available.items())]
            ),
            format_table([["variant", "changes of METHOD/recommended"], *_variants(available)]),
            format_table(recipes),
        ]
    )


def _summary(method: "type[Method]") -> str:
    """Return the first line of a method's docstring."""
    return (method.__doc__ or "").strip().partition("\n")[0]


def _variants(methods: "dict[str, type[Method]]") -> list[list[str]]:
    """Return the names of all variants, and the settings that each changes."""
    rows = []
    for name, method in methods.items():
        base = method.adapt(RECIPES["recommended"])
        plain = dict(flatten(base))
        for variant, entry in method.variants.items():
            changed = (f"{key}={value}" for key, value in flatten(entry.change(base)) if plain[key] != value)
            rows.append([f"{name}-{variant}", ", ".join(changed)])
    return rows
