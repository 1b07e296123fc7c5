"""From pictures to views: what `drawing` drew, rendered by the way that suits the pictures' device."""

from typing import NamedTuple

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.errors import CodialError
from codial.views import batched, fused
from codial.views.drawing import Drawn, draw
from codial.views.warp import POINTS


class Views(NamedTuple):
    """The views of a batch of pictures."""

    images: Tensor  # [B, K, 3, S, S] float in [0, 1]
    labels: Tensor  # [B, K] int64: index of the view's primary transform in `config.primary`
    drawn: Drawn


def sample_views(pictures: Tensor, config: ViewsConfig, generator: torch.Generator) -> Views:
    """Draw and render the views of a batch.

    Randomness is drawn on the CPU, picture after picture, so that the same seed gives the same views however the
    pictures are split into batches and wherever they are rendered.

    Args:
        pictures: [B, 3, H, W] uint8, or float in [0, 1].
        config: what is drawn; `config.primary` fixes K and the labels.
        generator: a CPU generator.

    Returns:
        Views with images [B, K, 3, S, S] on the pictures' device.

    Raises:
        CodialError: the pictures have another shape or type.
    """
    _check_pictures(pictures)
    drawn = draw(len(pictures), (pictures.shape[2], pictures.shape[3]), config, generator)
    return render(pictures, drawn, config)


def render(pictures: Tensor, drawn: Drawn, config: ViewsConfig) -> Views:
    """Make the views that were drawn; the same drawn parameters give the same views, up to rounding, on any device.

    Args:
        pictures: [B, 3, H, W] uint8, or float in [0, 1].
        drawn: as `draw` returned it, on the CPU.
        config: what it was drawn with.

    Returns:
        Views with images [B, K, 3, S, S] on the pictures' device.

    Raises:
        CodialError: the pictures have another shape or type, or what was drawn is not for them, or not finite.
    """
    _check_pictures(pictures)
    _check_drawn(drawn, len(pictures), len(config.primary))
    labels = torch.arange(len(config.primary), device=pictures.device).expand(len(pictures), -1)
    make = fused.render if pictures.device.type == "cpu" else batched.render
    return Views(make(pictures, drawn, config), labels, drawn)


def _check_pictures(pictures: Tensor) -> None:
    if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[2:]) < 1:
        raise CodialError(f"Pictures are {list(pictures.shape)}; expected [B, 3, H, W].")
    if pictures.dtype != torch.uint8 and not pictures.is_floating_point():
        raise CodialError(f"Pictures are {pictures.dtype}; expected uint8, or floats in [0, 1].")


def _check_drawn(drawn: Drawn, count: int, views: int) -> None:
    """Refuse what would be read past its end, or send a reader past a picture's."""
    each, points = [(count, views, 4)] * 3, [(count, POINTS, 2)] * 2
    for name, part, shape in zip(Drawn._fields, drawn, [(count,), *each, (count, views), *points], strict=True):
        if part.shape != shape:
            raise CodialError(f"drawn.{name} is {list(part.shape)}; for these pictures and views, {list(shape)}.")
        if part.is_floating_point() and not bool(part.isfinite().all()):
            raise CodialError(f"drawn.{name} holds values that are infinite or not a number.")
