"""The trunk and the small networks on top of it."""

from codial.config import CmcOptions, Config, DeepClusterOptions
from codial.models.alexnet import AlexNet, width_of
from codial.models.autoencoder import Autoencoder
from codial.models.critic import Critic
from codial.models.head import StochasticHead, to_gaussian
from codial.models.inpainting import Inpainter, PatchDiscriminator
from codial.models.lab import LabHalves, to_lab
from codial.models.norm import synchronise
from codial.models.repair import Repair, damage, enlarge
from codial.models.sobel import SobelAlexNet
from codial.models.trunk import CONV_TAPS, TAPS, Trunk
from codial.models.vgg import SHRINK, Vgg

__all__ = [
    "CONV_TAPS",
    "SHRINK",
    "TAPS",
    "AlexNet",
    "Autoencoder",
    "Critic",
    "Inpainter",
    "LabHalves",
    "PatchDiscriminator",
    "Repair",
    "SobelAlexNet",
    "StochasticHead",
    "Trunk",
    "Vgg",
    "build_trunk",
    "damage",
    "enlarge",
    "synchronise",
    "to_gaussian",
    "to_lab",
    "width_of",
]


def build_trunk(config: Config) -> Trunk:
    """Return the trunk of the system that `config.objective` asks for, initialised from torch's random state."""
    if isinstance(config.objective, DeepClusterOptions) and config.objective.sobel:
        return SobelAlexNet(config.model, config.views.size)
    if isinstance(config.objective, CmcOptions):
        return LabHalves(config.model, config.views.size)
    return AlexNet(config.model, config.views.size)
