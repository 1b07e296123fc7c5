"""Backbones of the library timm (pip install timm), by name."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from codial.config import ModelConfig
from codial.config.registry import TIMM
from codial.errors import CodialError
from codial.models.backbone import Backbone, configure_batchnorm


class TimmBackbone(Backbone):
    """A randomly initialized model of timm, named by `config.backbone`, such as timm:convnext_atto.

    Its layers are those that timm's `feature_info` lists, such as act1, layer1, ... or blocks.0, ..., with maps from
    `forward_intermediates`, and last "pool", the vector that timm's classifier would read. Colors are normalized by the
    config's mean and standard deviation. `config.resolution` has no effect; there is one width.

    Args:
        config: name, batch norm and color normalization.
        size: side of the input images in pixels; models of a fixed input size (transformers) are created for it.

    Raises:
        CodialError: timm is not installed, has no such model, or the model does not take images of this size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.size = size
        self.name = config.backbone.removeprefix(TIMM)
        self.model = _create(self.name, size)
        self.map_layers = tuple(info["module"] for info in self.model.feature_info)
        self.layers = (*self.map_layers, "pool")
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        configure_batchnorm(self.model, config.bn_eps, config.bn_momentum)
        self.feature_dim = self._feature_dim()

    def features(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations of layers, by name, as `Backbone.features`."""
        names = self.require(layers)
        self.require_images(images)
        x = (images - self.mean) / self.std
        kept = [name for name in self.map_layers if name in names]
        if not kept:
            return {"pool": self.model.forward_head(self.model.forward_features(x), pre_logits=True)}
        options: dict[str, Any] = {"indices": [self.map_layers.index(name) for name in kept], "output_fmt": "NCHW"}
        if "pool" not in names:
            maps = self.model.forward_intermediates(x, stop_early=True, intermediates_only=True, **options)
            return dict(zip(kept, maps, strict=True))
        last, maps = self.model.forward_intermediates(x, **options)
        return dict(zip(kept, maps, strict=True)) | {"pool": self.model.forward_head(last, pre_logits=True)}

    @torch.no_grad()
    def _feature_dim(self) -> int:
        """Return the length of the feature vector of a black image."""
        self.model.eval()
        try:
            activations = self.features(torch.zeros(1, 3, self.size, self.size))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise CodialError(
                f"timm's {self.name} does not take images of {self.size} pixels ({error}); change views.size, or choose"
                " another model."
            ) from error
        finally:
            self.model.train()
        return activations["pool"].shape[1]


def _create(name: str, size: int) -> Any:
    """Return timm's model without its classifier.

    Raises:
        CodialError: timm is not installed, has no such model, or none that returns the activations of its layers.
    """
    try:
        import timm
    except ImportError as error:
        raise CodialError(f"model.backbone is timm:{name}, but timm is not installed: pip install timm.") from error
    if name not in (names := timm.list_models()):
        near = get_close_matches(name, names, 3)
        hint = f" Did you mean {' or '.join(near)}?" if near else " timm.list_models() returns all names."
        raise CodialError(f"timm has no model called {name!r}.{hint}")
    settings = timm.get_pretrained_cfg(name)
    fixed: dict[str, Any] = {"img_size": size} if settings is not None and settings.fixed_input_size else {}
    model = timm.create_model(name, pretrained=False, num_classes=0, **fixed)
    if not hasattr(model, "forward_intermediates"):
        raise CodialError(f"timm's {name} does not return its layers (forward_intermediates); choose another model.")
    return model
