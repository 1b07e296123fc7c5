"""The command `codial pretrain`."""

import json
import os
import shlex
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import codial
from codial.cli.inputs import parse_changes
from codial.cli.options import Changes, DataRoot, Device, Quiet
from codial.cli.output import OK
from codial.cli.run_messages import Announcement, print_layout, print_state
from codial.config import RECIPES, Config, flatten, from_dict
from codial.config.preset_names import split_preset
from codial.config.registry import DEFAULT as DEFAULT_METHOD
from codial.config.registry import methods
from codial.data.folders.source import parse_folder
from codial.data.registry import name_of
from codial.errors import CodialError
from codial.runs.summary import summarize
from codial.utils.text_table import format_table

if TYPE_CHECKING:
    from codial.methods import Method

EXAMPLES = """\
  codial pretrain ~/images                # your own, with or without classes
  codial pretrain --list                  # methods, variants and recipes
  codial pretrain codial/photos --show    # all settings that --set can change
  codial pretrain codial/photos --set train.epochs=2 --out runs/quick
  codial pretrain runs/quick/config.json --set seed=1 --out runs/quick-1
  codial pretrain codial/photos --logger tensorboard
  codial pretrain codial/cifar10 --set data.source=~/images --out runs/mine"""


def pretrain(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER|PRESET|CONFIG.json", help="Folder of images, name of a preset, or a file of settings."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder.", show_default="runs/RECIPE/METHOD, or runs/FOLDER")
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

    FOLDER is trained on with the preset codial/photos. Without sub-folders for splits (train, test, val) all its
    images are used, in as many epochs as the preset's number of views takes. So are folders that --set data.source
    names; an own train.epochs counts as it is.

    The run folder is written during training. Ctrl-C, SIGTERM, SIGUSR1 and the like finish the current step and save;
    the same command resumes, and returns at once when the run is finished.

    A preset is METHOD[-VARIANT]/RECIPE. Methods are codial and those that it is compared with (`--list`); supervised
    and random (untrained) are references. The recipes photos, short and cifar10 are for a laptop, brief, recommended
    and paper for a GPU. `codial --plugin FILE pretrain ...` adds a method of your own.
    """
    if list_presets:
        print(_preset_tables())
        return OK
    if source is None:
        raise CodialError("FOLDER, PRESET or CONFIG.json is missing; `codial pretrain --list` shows the presets.")
    settings: dict[str, Any] = parse_changes(changes, device)
    if loggers:
        settings["train.loggers"] = loggers
    config = _config(source, settings)
    if show:
        print("\n".join(f"{key} = {value}" for key, value in flatten(config)))
        return OK
    if not quiet and os.environ.get("RANK", "0") == "0":
        print_layout(config.data.source)
    say = Announcement()
    callbacks: dict[str, Any] = {} if quiet else {"on_start": say.start, "on_log": say.log}
    run = codial.pretrain(config, out or _default_folder(config), root=data_root, progress=not quiet, **callbacks)
    return print_state(run.folder) if os.environ.get("RANK", "0") == "0" else OK  # under torchrun, the first process


def _config(source: str, settings: dict[str, Any]) -> Config:
    """Return the config of a folder of images, a preset or a JSON file, with changed settings."""
    if source.endswith(".json"):
        return codial.override(_read_json(source), settings)
    try:
        split_preset(source)  # before methods are imported
    except CodialError as error:
        _require_folder(source, error)
        if "data.source" in settings:
            raise CodialError(f"Either {source} or --set data.source={settings['data.source']}, not both.") from error
        source, settings = "", settings | {"data.source": source}
    from codial.methods.own_images import DEFAULT, is_own_folder, preset_for_folder

    source = source or DEFAULT
    if is_own_folder(settings.get("data.source", "")):
        return preset_for_folder(settings["data.source"], source, settings)
    return codial.override(codial.preset(source), settings)


def _require_folder(source: str, error: CodialError) -> None:
    """Check that what is not the name of a preset is a folder of images.

    Args:
        source: as it was typed.
        error: the error of an unknown preset.

    Raises:
        CodialError: it is a run, a file or nothing that exists.
    """
    path = parse_folder(source).path
    if (path / "config.json").exists():
        file = shlex.quote(str(path / "config.json"))
        raise CodialError(f"{source} is a run; `codial pretrain {file} --out {shlex.quote(source)}` resumes it.")
    if path.is_dir():
        return
    if path.exists() or source.startswith((".", "~", "/")) or source.count("/") > 1 or source.endswith("/"):
        fault = "is a file" if path.exists() else "does not exist"
        raise CodialError(f"{source} {fault}; expected a folder of images, a preset or a run's config.json.")
    raise CodialError(f"{error} Nor is there a folder {source}.") from error


def _read_json(source: str) -> Config:
    """Return the config of a JSON file."""
    try:
        values = json.loads(Path(source).read_text())
    except OSError as error:
        raise CodialError(f"Cannot read {source}: {error.strerror}. Name a preset or a config.json.") from error
    except (ValueError, RecursionError) as error:
        raise CodialError(f"{source} is not JSON ({error}); a run's config.json shows the form.") from error
    return from_dict(values)


def _default_folder(config: Config) -> Path:
    """Return the folder of a run: runs/RECIPE/METHOD, or for a folder of images runs/NAME, with a number if need be."""
    from codial.methods.own_images import is_own_folder

    head, _, recipe = config.name.partition("/")
    if not is_own_folder(config.data.source):
        return Path("runs", recipe, head) if recipe else Path("runs", head)
    name = (name_of(config.data.source) or "images") + (f"-{head}" if head != DEFAULT_METHOD else "")
    folders = (Path("runs", f"{name}-{number}" if number > 1 else name) for number in count(1))
    return next(folder for folder in folders if not folder.exists() or _is_trained_on(folder, config.data.source))


def _is_trained_on(folder: Path, source: str) -> bool:
    try:
        return summarize(folder).source == source
    except CodialError:
        return False


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
            rows.append([f"{name}-{variant}", ", ".join(changed) or "none; it changes METHOD/photos alone"])
    return rows
