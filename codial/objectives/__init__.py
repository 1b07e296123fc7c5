"""The systems, one file each, behind one small protocol; the trainer knows none of them by name."""

import inspect
from collections.abc import Callable
from typing import Any

from codial.config import Config
from codial.objectives.cmc import Cmc
from codial.objectives.codial import Codial
from codial.objectives.decouple import Decouple
from codial.objectives.deepcluster import DeepCluster
from codial.objectives.globstat import GlobStat
from codial.objectives.knowtrans import KnowTrans
from codial.objectives.protocol import Batch, Confusion, Draws, Objective, Terms
from codial.objectives.rotnet import RotNet
from codial.objectives.spotartifacts import SpotArtifacts
from codial.objectives.supervised import Supervised

__all__ = [
    "Batch",
    "Cmc",
    "Codial",
    "Confusion",
    "Decouple",
    "DeepCluster",
    "Draws",
    "GlobStat",
    "KnowTrans",
    "Objective",
    "RotNet",
    "SpotArtifacts",
    "Supervised",
    "Terms",
    "build",
    "departures",
]

DEPARTURES = "Departures from the original: "  # begins a paragraph of a system's docstring


def _config(config: Config, classes: int, pictures: int) -> tuple[Any, ...]:
    return (config,)


def _and_classes(config: Config, classes: int, pictures: int) -> tuple[Any, ...]:
    return (config, classes)


def _and_pictures(config: Config, classes: int, pictures: int) -> tuple[Any, ...]:
    return (config, pictures)


# Each system, and what it is to be told.
_SYSTEMS: dict[str, tuple[type[Objective], Callable[[Config, int, int], tuple[Any, ...]]]] = {
    "codial": (Codial, _config),
    "supervised": (Supervised, _and_classes),
    "rotnet": (RotNet, _config),
    "decouple": (Decouple, _and_pictures),
    "deepcluster": (DeepCluster, _and_pictures),
    "cmc": (Cmc, _and_pictures),
    "globstat": (GlobStat, _config),
    "knowtrans": (KnowTrans, _and_pictures),
    "spotartifacts": (SpotArtifacts, _config),
}


def build(config: Config, classes: int, pictures: int = 0) -> Objective:
    """Return the system that `config.objective` asks for, freshly initialised from torch's current random state.

    Args:
        config: of the run.
        classes: number of picture labels, for systems that use them; 0 where a picture has none.
        pictures: N, the number of pictures in the set, for systems that remember something of each.
    """
    system, told = _SYSTEMS[config.objective.system]
    return system(*told(config, classes, pictures))


def departures(system: str) -> str:
    """Return in what a system departs from its original, as its docstring says; empty where it says nothing."""
    about = inspect.getdoc(_SYSTEMS[system][0]) or ""
    found = [part for part in about.split("\n\n") if part.startswith(DEPARTURES)]
    return " ".join(found[0].removeprefix(DEPARTURES).split()) if found else ""
