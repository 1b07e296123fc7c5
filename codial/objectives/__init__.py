"""The systems, one file each, behind one small protocol; the trainer knows none of them by name."""

from collections.abc import Callable

from codial.config import Config
from codial.objectives.cmc import Cmc
from codial.objectives.codial import Codial
from codial.objectives.decouple import Decouple
from codial.objectives.deepcluster import DeepCluster
from codial.objectives.protocol import Batch, Draws, Objective, Terms
from codial.objectives.rotnet import RotNet
from codial.objectives.spotartifacts import SpotArtifacts
from codial.objectives.supervised import Supervised

__all__ = [
    "Batch",
    "Cmc",
    "Codial",
    "Decouple",
    "DeepCluster",
    "Draws",
    "Objective",
    "RotNet",
    "SpotArtifacts",
    "Supervised",
    "Terms",
    "build",
]


_SYSTEMS: dict[str, Callable[[Config, int, int], Objective]] = {
    "codial": lambda config, classes, pictures: Codial(config),
    "supervised": lambda config, classes, pictures: Supervised(config, classes),
    "rotnet": lambda config, classes, pictures: RotNet(config),
    "decouple": lambda config, classes, pictures: Decouple(config, pictures),
    "deepcluster": lambda config, classes, pictures: DeepCluster(config, pictures),
    "cmc": lambda config, classes, pictures: Cmc(config, pictures),
    "spotartifacts": lambda config, classes, pictures: SpotArtifacts(config),
}


def build(config: Config, classes: int, pictures: int = 0) -> Objective:
    """Return the system that `config.objective` asks for, freshly initialised from torch's current random state.

    Args:
        config: of the run.
        classes: number of picture labels, for systems that use them; 0 where a picture has none.
        pictures: N, the number of pictures in the set, for systems that remember something of each.
    """
    return _SYSTEMS[config.objective.system](config, classes, pictures)
