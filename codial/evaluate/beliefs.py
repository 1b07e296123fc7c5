"""What a run makes of views: which transform it takes each for, and the places that say so."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from codial import objectives
from codial.errors import CodialError
from codial.evaluate.looks import with_weights
from codial.models import Trunk
from codial.objectives import Objective
from codial.runs import Run


class Belief(NamedTuple):
    """What one run believes about N views."""

    names: tuple[str, ...]  # of its C classes
    probabilities: Tensor  # [N, C] float32
    places: Tensor  # [N, S, S] float32 in [0, 1]: how much each place speaks for the likeliest class, most being 1

    def said(self, row: int) -> str:
        """Return the likeliest class of a view."""
        return self.names[int(self.probabilities[row].argmax())]

    def verdict(self, row: int, name: str) -> str:
        """Return "right" or "wrong" for a view whose transform is `name`; "" where that is none of the classes."""
        if name not in self.names:
            return ""
        return "right" if self.said(row) == name else "wrong"


def beliefs(run: Run, images: Tensor) -> Belief:
    """Return what a run's newest checkpoint believes about views, and where it looks.

    A place's weight is that of HiResCAM (Draelos and Carin 2020, arXiv 2011.08891), sum_c A_c dy/dA_c with conv5's
    maps A and the likeliest class's logit y, where positive; read between conv5's places bilinearly. Grad-CAM's mean
    gradient would mix places up, for dense layers follow that weigh each place on its own.

    Args:
        run: of a system that tells transforms apart.
        images: [N, 3, S, S] float in [0, 1], views of the run's size.

    Raises:
        CodialError: the system has another task, the views another size, or the run no checkpoint.
    """
    system = _asked(run)
    if images.ndim != 4 or images.shape[1:] != (3, system.trunk.size, system.trunk.size):
        size = system.trunk.size
        raise CodialError(f"{run.folder} looks at views of {size} pixels, [N, 3, {size}, {size}]; choose size {size}.")
    with torch.enable_grad():
        taps = system.trunk.taps(images, ("conv5", "fc7"))
        logits = system.classifier(taps["fc7"][:, : system.classifier.in_features]).float()
        (slope,) = torch.autograd.grad(logits.max(1).values.sum(), taps["conv5"])
    weights = (slope * taps["conv5"]).detach().sum(1, keepdim=True).clamp_min(0)  # [N, 1, h, w]
    places = _over_picture(weights / weights.amax((2, 3), keepdim=True).clamp_min(1e-12), system.trunk)
    return Belief(system.transforms, logits.detach().softmax(1), places)


def _asked(run: Run) -> Objective:
    with torch.random.fork_rng(devices=[]):
        system = objectives.build(run.config, 2, run.provenance["pictures"].get("count", 1))
    if not system.transforms:
        raise CodialError(
            f"{run.folder} holds {run.config.objective.system}, which does not learn to tell transforms; ask a run of"
            " codial, rotnet, decouple or globstat."
        )
    return with_weights(system, run)


def _over_picture(maps: Tensor, trunk: Trunk) -> Tensor:
    """Return conv5's maps [N, 1, h, w] at every pixel of the picture, [N, S, S], each value at its place's centre."""
    step, first = trunk.grid("conv5")
    ticks = (2 * (torch.arange(trunk.size) - first) / step + 1) / maps.shape[-1] - 1  # [-1, 1] between outer edges
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    grid = torch.stack((x, y), -1).expand(len(maps), -1, -1, -1)
    return grid_sample(maps, grid, padding_mode="border", align_corners=False).squeeze(1)
