"""The trunk and the small networks on top of it."""

from codial.config import Config, DeepClusterOptions
from codial.models.alexnet import CONV_TAPS, TAPS, AlexNet
from codial.models.critic import Critic
from codial.models.head import StochasticHead, to_gaussian
from codial.models.norm import synchronise
from codial.models.sobel import SobelAlexNet

__all__ = [
    "CONV_TAPS",
    "TAPS",
    "AlexNet",
    "Critic",
    "SobelAlexNet",
    "StochasticHead",
    "build_trunk",
    "synchronise",
    "to_gaussian",
]


def build_trunk(config: Config) -> AlexNet:
    """Return the trunk of the system that `config.objective` asks for, initialised from torch's random state."""
    if isinstance(config.objective, DeepClusterOptions) and config.objective.sobel:
        return SobelAlexNet(config.model, config.views.size)
    return AlexNet(config.model, config.views.size)
