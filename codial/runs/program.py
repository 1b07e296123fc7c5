"""A backbone as a program of torch.export, which runs with torch alone."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from codial.errors import CodialError
from codial.models import Backbone

PROGRAM = "backbone.pt2"


class _Features(nn.Module):
    """All layers of a backbone as one module."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.backbone.features(images)


def write_program(backbone: Backbone, path: Path) -> None:
    """Write a program that `torch.export.load(path).module()` opens without codial, and check it.

    The program maps images [B, 3, S, S] float32 in [0, 1], for any B, to a dict of all layers of the backbone by name.

    Args:
        backbone: a backbone on the CPU, in evaluation mode.
        path: file to write.

    Raises:
        CodialError: torch.export cannot trace the backbone, or the program returns something else.
    """
    example, images = (_images(count, backbone.size) for count in (2, 3))
    with torch.no_grad(), _quiet():
        # First without tracing, since constants that it caches must not be traced.
        expected = backbone.features(images)
        try:
            batch = {"images": {0: torch.export.Dim("batch")}}
            torch.export.save(torch.export.export(_Features(backbone), (example,), dynamic_shapes=batch), path)
            found = torch.export.load(path).module()(images)
        except Exception as error:  # whatever torch raises for code that it cannot trace
            reason = (str(error).splitlines() or [""])[0]
            raise CodialError(
                f"torch.export cannot trace this {type(backbone).__name__} ({type(error).__name__}: {reason:.200});"
                " export without program."
            ) from error
    for layer in expected:
        if not agree(found[layer], expected[layer]):
            raise CodialError(
                f"torch.export changes {layer} of this {type(backbone).__name__}; export without program."
            )


def agree(found: Tensor, expected: Tensor) -> bool:
    """Return whether activations are the same up to rounding errors, relative to the largest."""
    return torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()), equal_nan=True)


def _images(count: int, size: int) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch.export from logging advice on its own options."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
