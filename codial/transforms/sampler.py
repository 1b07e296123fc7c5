"""From images to views: parameters from `random_params`, rendered by the module for the device of the images."""

from typing import NamedTuple

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.errors import CodialError
from codial.transforms import render_numba, render_torch
from codial.transforms.random_params import ViewParams, sample_params
from codial.transforms.warp import POINTS
from codial.utils.devices import to_device


class Views(NamedTuple):
    """The views of a batch of images."""

    images: Tensor  # [B, K, 3, S, S] float in [0, 1]
    labels: Tensor  # [B, K] int64: index of the view's primary transform in `config.transforms`
    params: ViewParams


def sample_views(images: Tensor, config: ViewsConfig, generator: torch.Generator) -> Views:
    """Sample and render the views of a batch of images.

    Each view has a crop, colors and a blur of its own (unless `config.shared_crop`), also if several have the same
    primary transform; the flip and the displacements of the warp are shared by all views of an image.

    Random numbers are generated on the CPU, image by image: the same seed gives the same views, whatever the batch size
    and the device.

    Args:
        images: [B, 3, H, W] uint8, or float in [0, 1].
        config: distributions of the parameters; `config.primary` determines K and the labels.
        generator: a CPU generator.

    Returns:
        Views on the device of the images, their parameters on the CPU.

    Raises:
        CodialError: the images have another shape or dtype.
    """
    _check_images(images)
    params = sample_params(len(images), (images.shape[2], images.shape[3]), config, generator)
    return render(images, params, config)


def render(images: Tensor, params: ViewParams, config: ViewsConfig) -> Views:
    """Render views; the same parameters give the same views on any device, up to rounding.

    Args:
        images: [B, 3, H, W] uint8, or float in [0, 1].
        params: parameters from `sample_params`, on the CPU.
        config: the config from which they were sampled.

    Returns:
        Views on the device of the images.

    Raises:
        CodialError: the images have another shape or dtype, or the parameters do not fit them or are not finite.
    """
    _check_images(images)
    _check_params(params, len(images), len(config.primary))
    classes = torch.tensor([config.transforms.index(name) for name in config.primary])
    labels = to_device(classes, images.device).expand(len(images), -1)
    renderer = render_numba.render if images.device.type == "cpu" else render_torch.render
    return Views(renderer(images, params, config), labels, params)


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise CodialError(f"Images are {list(images.shape)}; expected [B, 3, H, W].")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise CodialError(f"Images are {images.dtype}; expected uint8, or floats in [0, 1].")


def _check_params(params: ViewParams, count: int, views: int) -> None:
    """Refuse parameters with which the compiled kernels would access memory out of bounds."""
    per_view = (count, views, 4)
    shapes = {
        "flip": (count,),
        "box": per_view,
        "factors": per_view,
        "order": per_view,
        "sigma": (count, views),
        "offsets": (count, POINTS, 2),
        "points": (count, POINTS, 2),
    }
    for name, values in params._asdict().items():
        shape = shapes[name]
        if values.shape != shape:
            raise CodialError(f"params.{name} is {list(values.shape)}; expected {list(shape)} for this batch.")
        if values.is_floating_point() and not bool(values.isfinite().all()):
            raise CodialError(f"params.{name} contains NaN or infinite values.")
