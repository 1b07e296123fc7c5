"""The systems, one file each, behind one small protocol; the trainer knows none of them by name."""

from codial.config import Config
from codial.objectives.codial import Codial
from codial.objectives.protocol import Batch, Draws, Objective, Terms
from codial.objectives.supervised import Supervised

__all__ = ["Batch", "Codial", "Draws", "Objective", "Supervised", "Terms", "build"]


def build(config: Config, classes: int) -> Objective:
    """Return the system that `config.objective` asks for, freshly initialised from torch's current random state.

    Args:
        config: of the run.
        classes: number of picture labels, for systems that use them; 0 where a picture has none.
    """
    if config.objective.system == "supervised":
        return Supervised(config, classes)
    return Codial(config)
