"""GlobStat: tell transforms that leave local statistics as they are (Jenni, Jin, Favaro, CVPR 2020)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, relu

from codial.config import Config, GlobStatOptions, TrainConfig
from codial.models import AlexNet, Inpainter, PatchDiscriminator
from codial.objectives.protocol import Batch, Confusion, Objective, Terms, adamw, confused

_CLASSES = ("turn0", "inpainted", "turn90", "turn180", "turn270", "warp")
_NOISE = 0.1  # deviation, of pixels in [-1, 1]


class _Painted(NamedTuple):
    """N views with a painted patch: B to inpaint, then of every second picture four to autoencode."""

    pictures: Tensor  # [N, 3, S, S] in [0, 1]
    real: Tensor  # [N, 3, P, P] in [-1, 1], what was there before
    painted: Tensor  # likewise, what is there now


class GlobStat(Objective):
    """Classify six transforms, one of them limited-context inpainting, which an opponent learns to hide.

    The classes: 0 plain; 1 plain with a patch of which an inpainter saw only the border; 2 to 4 quarter turns; 5 warp.
    In every second picture a patch of classes 0 and 2 to 4 is autoencoded by the same inpainter, so that its traces are
    no cue. The inpainter is to keep the border and what it autoencodes, to deceive a discriminator of pairs of patches,
    and to raise the classifier's loss. All three take their steps at once, from one forward pass.

    Departures from the original: trunk, optimiser and views are those of every other system (`views.shared_crop` gives
    back the one crop of a picture; its small turns and the crop of the finished pictures are left out); the opponents'
    rates follow the cosine, too; a picture's autoencoded patches lie elsewhere than the inpainted one, and in each
    view elsewhere; a pair of patches is of neighbours in the batch.

    Args:
        config: of the run; `config.objective` holds GlobStat's options.
    """

    transforms = _CLASSES
    turns: Tensor
    outside: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        options = config.objective
        assert isinstance(options, GlobStatOptions)
        self.options, self.side = options, options.side(config.views.size)
        self.trunk = AlexNet(config.model, config.views.size)
        self.classifier = nn.Linear(self.trunk.features, len(_CLASSES))
        self.inpainter = Inpainter(options.width, config.model)
        self.discriminator = PatchDiscriminator(options.width)
        self.register_buffer("turns", torch.tensor((0, 2, 3, 4)), persistent=False)  # classes of the first four views
        outside = torch.ones(self.side, self.side)
        self._hole(outside).zero_()
        self.register_buffer("outside", outside / outside.mean(), persistent=False)  # weights of mean 1, 0 in the hole

    def optimisers(self, train: TrainConfig) -> dict[str, torch.optim.Optimizer]:
        """Return AdamW for trunk and classifier, and Adam for each of the opponents, as the original."""
        options = self.options

        def adam(module: nn.Module, rate: float) -> torch.optim.Adam:
            return torch.optim.Adam(module.parameters(), rate, (0.5, 0.999), fused=True)

        return {
            "loss": adamw(nn.ModuleList((self.trunk, self.classifier)), train),
            "loss_inpainter": adam(self.inpainter, options.inpainter_rate),
            "loss_discriminator": adam(self.discriminator, options.discriminator_rate),
        }

    def terms(self, batch: Batch) -> Terms:
        """Return three losses, what the inpainter's keeps (border, autoencoded), and accuracies in all and by class.

        Each loss is for its own optimiser's parameters; the graph leads to the others', too.
        """
        images, (pasted, real, painted) = batch.views.images, self._paint(batch)
        count = len(images)
        # Row by row as they come, not picture by picture, which spares copies there and back.
        rows = torch.cat((pasted, images[::2, :4].flatten(0, 1), images[:, 4]))  # [B * 6, 3, S, S]
        labels = torch.cat(
            (self.turns.new_full((count,), 1), self.turns.repeat(count), self.turns.new_full((count,), 5))
        )
        logits = self.classifier(self.trunk(rows)).float()
        loss = cross_entropy(logits, labels)
        right = (logits.detach().argmax(1) == labels).float()
        of_real, of_painted = self.discriminator(torch.cat((_pairs(real[:count]), _pairs(painted[:count])))).chunk(2)
        border = ((painted[:count] - real[:count]).square() * self.outside).mean()
        autoencoded = mse_loss(painted[count:], real[count:])
        return {
            "loss": loss,
            "loss_inpainter": self.options.kept_weight * (border + autoencoded) - of_painted.mean() - loss,
            "loss_discriminator": relu(1 - of_real).mean() + relu(1 + of_painted).mean(),
            "loss_border": border,
            "loss_autoencoded": autoencoded,
            "pretext_accuracy": right.mean(),
            "inpainted_accuracy": right[:count].mean(),
            "autoencoded_accuracy": right[count : len(pasted) : 4].mean(),  # of class 0, with a patch that is no cue
        }

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        """Return what the classifier sees, [B, 6, 3, S, S] float in [0, 1], by class; for looking, in `eval()` mode."""
        pasted, views = self._paint(batch).pictures, batch.views.images.clone()
        inpainted, autoencoded = pasted[: len(views)], pasted[len(views) :]
        views[1::2, :4] = autoencoded.unflatten(0, (-1, 4))
        return torch.cat((views[:, :1], inpainted.unsqueeze(1), views[:, 1:]), 1)

    def shown(self, batch: Batch) -> dict[str, Tensor]:
        """Return the pictures of its six classes; every second plain or turned one has an autoencoded patch."""
        names = ("plain", "inpainted", "turn90", "turn180", "turn270", "warp")
        return dict(zip(names, self.pictures(batch).unbind(1), strict=True))

    def confusion(self, batch: Batch) -> Confusion:
        """Return what each of the six classes is taken for."""
        pictures = self.pictures(batch)
        labels = torch.arange(len(_CLASSES), device=pictures.device).repeat(len(pictures))
        return confused(_CLASSES, self.classifier(self.trunk(pictures.flatten(0, 1))), labels)

    def _paint(self, batch: Batch) -> _Painted:
        """Draw windows, paint what they show and put it back."""
        images, draws, side = batch.views.images, batch.draws, self.side
        count, size, hole = len(images), images.shape[-1], side - 2 * self.options.border
        corners = draws.integers(0, size - side + 1, 5, 2)  # [B, 5, 2] (row, column): to inpaint, then to autoencode
        noise = _NOISE * draws.normal(3, hole, hole)
        plain = torch.cat((images[:, 0], images[1::2, :4].flatten(0, 1)))  # [N, 3, S, S]
        places = window_pixels(torch.cat((corners[:, 0], corners[1::2, 1:].flatten(0, 1))), side, size)
        real = 2 * cut(plain, places, side) - 1
        seen = real.clone()
        self._hole(seen[:count]).copy_(noise)
        painted = self.inpainter(seen)
        return _Painted(paste(plain, places, (painted + 1) / 2), real, painted)

    def _hole(self, patches: Tensor) -> Tensor:
        """Return the part of patches [..., P, P] within the border."""
        inside = slice(self.options.border, self.side - self.options.border)
        return patches[..., inside, inside]


def _pairs(patches: Tensor) -> Tensor:
    """Return neighbours [N, 3, P, P] as pairs [N / 2, 6, P, P]; the last one of an odd number is left out."""
    return patches[: len(patches) // 2 * 2].unflatten(0, (-1, 2)).flatten(1, 2)


def window_pixels(corners: Tensor, side: int, size: int) -> Tensor:
    """Return the places of each window's pixels, row by row, in a picture that is one line, [N, side * side] int64.

    Args:
        corners: [N, 2] int64, the first (row, column) of each window.
        side: of a window.
        size: side of the picture.
    """
    ticks = torch.arange(side, device=corners.device)
    rows, columns = (corners[:, i : i + 1] + ticks for i in range(2))
    return (size * rows.unsqueeze(2) + columns.unsqueeze(1)).flatten(1)


def cut(images: Tensor, places: Tensor, side: int) -> Tensor:
    """Return what windows show, [N, 3, side, side], of pictures [N, 3, S, S]; places as of `window_pixels`."""
    return images.flatten(2).gather(2, places.unsqueeze(1).expand(-1, 3, -1)).unflatten(2, (side, side))


def paste(images: Tensor, places: Tensor, patches: Tensor) -> Tensor:
    """Return pictures [N, 3, S, S] with patches [N, 3, side, side] in their windows; gradients flow to the patches."""
    return images.flatten(2).scatter(2, places.unsqueeze(1).expand(-1, 3, -1), patches.flatten(2)).view_as(images)
