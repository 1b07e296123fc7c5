"""Backbones with named layers, and the heads and auxiliary networks that methods put on top of them."""

from codial.models.alexnet import AlexNet, scale_width
from codial.models.autoencoder import Autoencoder
from codial.models.backbone import Backbone
from codial.models.build import LayerNames, build_backbone, create_backbone, layer_names, register_backbone
from codial.models.inpainter import Inpainter, PatchDiscriminator
from codial.models.lab_alexnet import LabAlexNet, to_lab
from codial.models.repair_network import RepairNetwork, drop_cells, upsample_mask
from codial.models.sobel_alexnet import SobelAlexNet
from codial.models.sync_batchnorm import synchronize_batchnorm
from codial.models.transfer_backbone import TransferBackbone, require_transfer
from codial.models.vgg import VGG_STRIDE, Vgg

__all__ = [
    "VGG_STRIDE",
    "AlexNet",
    "Autoencoder",
    "Backbone",
    "Inpainter",
    "LabAlexNet",
    "LayerNames",
    "PatchDiscriminator",
    "RepairNetwork",
    "SobelAlexNet",
    "TransferBackbone",
    "Vgg",
    "build_backbone",
    "create_backbone",
    "drop_cells",
    "layer_names",
    "register_backbone",
    "require_transfer",
    "scale_width",
    "synchronize_batchnorm",
    "to_lab",
    "upsample_mask",
]
