"""Backbones with named layers, and the heads and auxiliary networks that methods put on top of them."""

from codial.config import Config
from codial.models.alexnet import AlexNet, scale_width
from codial.models.autoencoder import Autoencoder
from codial.models.backbone import CONV_LAYERS, LAYERS, Backbone
from codial.models.critic import Critic
from codial.models.inpainter import Inpainter, PatchDiscriminator
from codial.models.lab_alexnet import LabAlexNet, to_lab
from codial.models.repair_network import RepairNetwork, drop_cells, upsample_mask
from codial.models.sobel_alexnet import SobelAlexNet
from codial.models.stochastic_head import StochasticHead, to_gaussian
from codial.models.sync_batchnorm import synchronize_batchnorm
from codial.models.vgg import VGG_STRIDE, Vgg

__all__ = [
    "CONV_LAYERS",
    "LAYERS",
    "VGG_STRIDE",
    "AlexNet",
    "Autoencoder",
    "Backbone",
    "Critic",
    "Inpainter",
    "LabAlexNet",
    "PatchDiscriminator",
    "RepairNetwork",
    "SobelAlexNet",
    "StochasticHead",
    "Vgg",
    "build_backbone",
    "drop_cells",
    "scale_width",
    "synchronize_batchnorm",
    "to_gaussian",
    "to_lab",
    "upsample_mask",
]


_BY_INPUT: dict[str, type[AlexNet] | type[SobelAlexNet] | type[LabAlexNet]] = {
    "rgb": AlexNet,
    "lab": LabAlexNet,
    "sobel": SobelAlexNet,
}


def build_backbone(config: Config) -> Backbone:
    """Return the backbone for the input of `config.method`, initialized from torch's global random state."""
    return _BY_INPUT[config.method.input](config.model, config.views.size)
