"""Pretext predictions of a run: the transform that it predicts for a view, and the saliency map of that prediction."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from codial import methods
from codial.errors import CodialError
from codial.evaluate.method_inputs import load_weights
from codial.methods import Method
from codial.models import Backbone
from codial.runs.run import Run


class Prediction(NamedTuple):
    """Pretext predictions of N views.

    Attributes:
        names: names of the C classes.
        probabilities: [N, C] float32.
        saliency: [N, S, S] float32 in [0, 1], each pixel's evidence for the predicted class; the maximum is 1.
    """

    names: tuple[str, ...]
    probabilities: Tensor
    saliency: Tensor

    def top_class(self, row: int) -> str:
        """Return the predicted class of a view."""
        return self.names[int(self.probabilities[row].argmax())]

    def outcome(self, row: int, name: str) -> str:
        """Return "right" or "wrong" for a view whose transform is `name`; "" if that is not one of the classes."""
        if name not in self.names:
            return ""
        return "right" if self.top_class(row) == name else "wrong"


def predictions(run: Run, images: Tensor) -> Prediction:
    """Predict the transform of each view with a run's latest checkpoint, and compute saliency maps.

    Saliency is HiResCAM's (Draelos and Carin 2020, arXiv 2011.08891): sum_c A_c dy/dA_c, clamped at 0, with the last
    maps A and the predicted class's logit y, interpolated bilinearly to pixels. Grad-CAM's averaged gradient would mix
    up positions, because dense layers above the maps weigh each position differently.

    Args:
        run: a run of a method that classifies transforms.
        images: [N, 3, S, S] float in [0, 1], views of the run's size.

    Raises:
        CodialError: the method does not classify transforms, the views have another size, or there is no checkpoint.
    """
    method = _load_classifier(run)
    size = method.backbone.size
    if images.ndim != 4 or images.shape[1:] != (3, size, size):
        raise CodialError(
            f"images are {list(images.shape)}; {run.folder} was trained on views of {size} pixels, so expected"
            f" [N, 3, {size}, {size}]."
        )
    with torch.enable_grad():
        last_map, last = method.backbone.map_layers[-1], method.backbone.layers[-1]
        activations = method.backbone.features(images, (last_map, last))
        logits = method.classifier(activations[last][:, : method.classifier.in_features]).float()
        (gradient,) = torch.autograd.grad(logits.max(1).values.sum(), activations[last_map])
    evidence = (gradient * activations[last_map]).detach().sum(1, keepdim=True).clamp_min(0)  # [N, 1, h, w]
    saliency = _to_pixels(evidence / evidence.amax((2, 3), keepdim=True).clamp_min(1e-12), method.backbone)
    return Prediction(method.transforms, logits.detach().softmax(1), saliency)


def _load_classifier(run: Run) -> Method:
    with torch.random.fork_rng(devices=[]):
        method = methods.build(run.config, run.provenance["images"].get("count", 1), classes=2)
    if not method.transforms:
        raise CodialError(
            f"{run.folder} is a run of {run.config.method.name}, which does not classify transforms; choose a run of"
            " codial, rotnet, decouple, globstat or essl."
        )
    return load_weights(method, run)


def _to_pixels(maps: Tensor, backbone: Backbone) -> Tensor:
    """Interpolate the last maps [N, 1, h, w] to pixels [N, S, S]; values lie at the centers of receptive fields.

    Where the backbone does not tell those, the units cover the image evenly.
    """
    even = backbone.size / maps.shape[-1]
    step, first = backbone.grid(backbone.map_layers[-1]) or (even, (even - 1) / 2)
    coordinates = (2 * (torch.arange(backbone.size) - first) / step + 1) / maps.shape[
        -1
    ] - 1  # [-1, 1] between outer edges
    y, x = torch.meshgrid(coordinates, coordinates, indexing="ij")
    grid = torch.stack((x, y), -1).expand(len(maps), -1, -1, -1)
    return grid_sample(maps, grid, padding_mode="border", align_corners=False).squeeze(1)
