"""GlobStat: classify transforms that preserve local image statistics (Jenni, Jin, Favaro, CVPR 2020)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, relu

from codial.config import PRIMARY, Config, MethodConfig, Recipe, TrainConfig
from codial.config.registry import register
from codial.config.validation import require
from codial.methods.base import Batch, ConfusionMatrix, Method, Terms, adamw, confusion_matrix
from codial.models import Inpainter, PatchDiscriminator, build_backbone

_CLASSES = ("rot0", "inpainted", "rot90", "rot180", "rot270", "warp")
_NOISE = 0.1  # standard deviation of the noise in a hole, for pixels in [-1, 1]


class _PatchedViews(NamedTuple):
    """N views with a generated patch: B to inpaint, then four views of every second image to autoencode."""

    images: Tensor  # [N, 3, S, S] in [0, 1]
    real: Tensor  # [N, 3, P, P] in [-1, 1], the original patches
    generated: Tensor  # [N, 3, P, P] in [-1, 1], their replacements


@dataclass(frozen=True)
class GlobStatConfig(MethodConfig):
    """Settings of GlobStat, with the values of the original."""

    name: str = "globstat"
    patch: float = 0.625  # side over the view's, rounded down to a multiple of 8: 40 of 64; the original has 48 of 80
    border: int = 2  # pixels of a patch that the inpainter gets; 4 for 224-pixel views
    width: float = 1.0  # multiplies the channels of inpainter and discriminator
    kept_weight: float = 50.0  # of loss_border and loss_autoencoded, relative to the adversarial terms
    inpainter_rate: float = 2e-4
    discriminator_rate: float = 8e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.patch <= 1, "method.patch", self.patch, "a fraction in (0, 1]")
        require(self.border >= 1, "method.border", self.border, "at least 1 pixel")
        require(0.05 <= self.width <= 4, "method.width", self.width, "a factor in [0.05, 4]")
        require(self.kept_weight >= 0, "method.kept_weight", self.kept_weight, "a number >= 0")
        for name in ("inpainter_rate", "discriminator_rate"):
            require(getattr(self, name) > 0, f"method.{name}", getattr(self, name), "a positive number")

    def side(self, size: int) -> int:
        """Return the side of a patch in views of `size` pixels: a multiple of 8, for three stride-2 layers."""
        return 8 * int(self.patch * size / 8)

    def check(self, config: Config) -> None:
        """Check that the views are the paper's five, and that a patch has space for a border and a hole."""
        expected = f"{', '.join(PRIMARY)}, five of globstat's six classes"
        require(config.views.primary == PRIMARY, "views.primary", config.views.primary, expected)
        size = config.views.size
        side = self.side(size)
        expected = f"at least {8 / size:g}, so that patches have 8 or more of the view's {size} pixels"
        require(side >= 8, "method.patch", self.patch, expected)
        expected = f"less than {side // 2}, half of the {side} pixels of a patch"
        require(2 * self.border < side, "method.border", self.border, expected)


@register("globstat")
class GlobStat(Method):
    """Classify six transforms; one of them is limited-context inpainting by a network that is trained to hide it.

    The classes are 0: none; 1: none, with a patch that was inpainted from its border; 2 to 4: rotations; 5: warp. In
    every second image a patch of classes 0 and 2 to 4 is autoencoded by the inpainter, so that its artifacts do not
    reveal class 1. The inpainter is trained to preserve borders and autoencoded patches, to deceive a discriminator of
    pairs of patches, and to increase the classifier's loss. All three networks are updated from one forward pass.

    Departures from the original: backbone, optimizer and views are those of all methods here (`views.shared_crop`
    restores the shared crop of an image; small rotations and the crop of the finished images are omitted); the rates of
    the adversaries follow the cosine schedule too; the autoencoded patches of an image lie elsewhere than the inpainted
    one, and differ between its views; a pair of patches is from neighboring images of the batch.

    Args:
        config: config of the run; `config.method` holds GlobStat's settings.
        images: unused.
        classes: unused.
    """

    settings = GlobStatConfig
    transforms = _CLASSES

    view_classes: Tensor
    border_weights: Tensor

    def __init__(self, config: Config, images: int = 0, classes: int = 0) -> None:
        super().__init__(config, images, classes)
        options = config.method
        assert isinstance(options, GlobStatConfig)
        self.options, self.side = options, options.side(config.views.size)
        self.backbone = build_backbone(config)
        self.classifier = nn.Linear(self.backbone.feature_dim, len(_CLASSES))
        self.inpainter = Inpainter(options.width, config.model)
        self.discriminator = PatchDiscriminator(options.width)
        self.register_buffer("view_classes", torch.tensor((0, 2, 3, 4)), persistent=False)  # of the first four views
        border = torch.ones(self.side, self.side)
        self._hole(border).zero_()
        self.register_buffer("border_weights", border / border.mean(), persistent=False)  # mean 1, 0 in the hole

    @classmethod
    def adapt(cls, recipe: Recipe) -> Config:
        """Return the config with adversaries of the backbone's width; under the paper's recipe views share a crop."""
        recipe = recipe.with_one_crop() if recipe.name == "paper" else recipe
        return recipe.config(GlobStatConfig(width=recipe.model.width))

    def optimizers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW for backbone and classifier, and Adam for each of the adversaries, as the original."""
        options = self.options

        def adam(module: nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(module.parameters(), rate, (0.5, 0.999), fused=True)

        return {
            "loss": adamw(nn.ModuleList((self.backbone, self.classifier)), train),
            "loss_inpainter": adam(self.inpainter, options.inpainter_rate),
            "loss_discriminator": adam(self.discriminator, options.discriminator_rate),
        }

    def terms(self, batch: Batch) -> Terms:
        """Return three losses, two parts of the inpainter's (border, autoencoded), and accuracies overall and by class.

        Each loss is minimized with respect to the parameters of its own optimizer only.
        """
        images = batch.views.images
        count = len(images)
        patched, real, generated = self._patch(batch)
        # In this order, not image by image, to avoid copies.
        rows = torch.cat((patched, images[::2, :4].flatten(0, 1), images[:, 4]))  # [B * 6, 3, S, S]
        labels = self._labels(count)
        logits = self.classifier(self.backbone(rows)).float()
        loss = cross_entropy(logits, labels)
        correct = (logits.detach().argmax(1) == labels).float()
        pairs = torch.cat((_pairs(real[:count]), _pairs(generated[:count])))
        real_scores, generated_scores = self.discriminator(pairs).chunk(2)
        border = ((generated[:count] - real[:count]).square() * self.border_weights).mean()
        autoencoded = mse_loss(generated[count:], real[count:])
        kept = self.options.kept_weight * (border + autoencoded)
        return {
            "loss": loss,
            "loss_inpainter": kept - generated_scores.mean() - loss,
            "loss_discriminator": relu(1 - real_scores).mean() + relu(1 + generated_scores).mean(),
            "loss_border": border,
            "loss_autoencoded": autoencoded,
            "pretext_accuracy": correct.mean(),
            "inpainted_accuracy": correct[:count].mean(),
            "autoencoded_accuracy": correct[count : len(patched) : 4].mean(),  # of class 0
        }

    @torch.no_grad()
    def class_images(self, batch: Batch) -> Tensor:
        """Return the images that the classifier gets, by class, [B, 6, 3, S, S] float in [0, 1]."""
        patched, views = self._patch(batch).images, batch.views.images.clone()
        inpainted, autoencoded = patched[: len(views)], patched[len(views) :]
        views[1::2, :4] = autoencoded.unflatten(0, (-1, 4))
        return torch.cat((views[:, :1], inpainted.unsqueeze(1), views[:, 1:]), 1)

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the images of the six classes; half of the unwarped ones have an autoencoded patch."""
        return dict(zip(_CLASSES, self.class_images(batch).unbind(1), strict=True))

    def confusion(self, batch: Batch) -> ConfusionMatrix:
        """Return the confusion matrix of the six classes."""
        images = self.class_images(batch)
        labels = torch.arange(len(_CLASSES), device=images.device).repeat(len(images))
        return confusion_matrix(_CLASSES, self.classifier(self.backbone(images.flatten(0, 1))), labels)

    def _labels(self, count: int) -> Tensor:
        """Return the classes of a batch: inpainted views, the first four views, then warped views."""
        classes = self.view_classes
        return torch.cat((classes.new_full((count,), 1), classes.repeat(count), classes.new_full((count,), 5)))

    def _patch(self, batch: Batch) -> _PatchedViews:
        """Sample windows and replace their content by the inpainter's output."""
        images, rng, side = batch.views.images, batch.rng, self.side
        count, size, hole = len(images), images.shape[-1], side - 2 * self.options.border
        corners = rng.integers(0, size - side + 1, 5, 2)  # [B, 5, 2] (row, column): to inpaint, then to autoencode
        noise = _NOISE * rng.normal(3, hole, hole)
        plain = torch.cat((images[:, 0], images[1::2, :4].flatten(0, 1)))  # [N, 3, S, S]
        pixels = window_pixels(torch.cat((corners[:, 0], corners[1::2, 1:].flatten(0, 1))), side, size)
        real = 2 * cut(plain, pixels, side) - 1
        context = real.clone()
        self._hole(context[:count]).copy_(noise)
        generated = self.inpainter(context)
        return _PatchedViews(paste(plain, pixels, (generated + 1) / 2), real, generated)

    def _hole(self, patches: Tensor) -> Tensor:
        """Return the part of patches [..., P, P] inside the border."""
        inside = slice(self.options.border, self.side - self.options.border)
        return patches[..., inside, inside]


def _pairs(patches: Tensor) -> Tensor:
    """Return consecutive patches [N, 3, P, P] as pairs [N / 2, 6, P, P], without the last one if N is odd."""
    return patches[: len(patches) // 2 * 2].unflatten(0, (-1, 2)).flatten(1, 2)


def window_pixels(corners: Tensor, side: int, size: int) -> Tensor:
    """Return the indices of the pixels of windows in flattened images, row by row, [N, side * side] int64.

    Args:
        corners: first (row, column) of each window, [N, 2] int64.
        side: side of a window in pixels.
        size: side of an image in pixels.
    """
    ticks = torch.arange(side, device=corners.device)
    rows, columns = (corners[:, i : i + 1] + ticks for i in range(2))
    return (size * rows.unsqueeze(2) + columns.unsqueeze(1)).flatten(1)


def cut(images: Tensor, pixels: Tensor, side: int) -> Tensor:
    """Return the content of windows, [N, 3, side, side], of images [N, 3, S, S]; pixels as from `window_pixels`."""
    return images.flatten(2).gather(2, pixels.unsqueeze(1).expand(-1, 3, -1)).unflatten(2, (side, side))


def paste(images: Tensor, pixels: Tensor, patches: Tensor) -> Tensor:
    """Return images [N, 3, S, S] with patches [N, 3, side, side] in their windows; differentiable in the patches."""
    return images.flatten(2).scatter(2, pixels.unsqueeze(1).expand(-1, 3, -1), patches.flatten(2)).view_as(images)
