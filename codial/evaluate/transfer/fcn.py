"""A fully convolutional network over a trunk, and the moves that make its training crops."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from codial.data.voc import IGNORED
from codial.models import Trunk

STEP = 32  # pixels; the sides of what a trunk sees are multiples of it
LEAST = 64  # pixels, of a side; the classic form of AlexNet has no conv5 for less


class Fcn(nn.Module):
    """Scores every pixel (Long, Shelhamer and Darrell, CVPR 2015): fc7 slides over the picture, then one layer a class.

    The scores are brought to pixels by bilinear interpolation, each place lying where its window's centre lies. The
    last layer starts at zero.

    Args:
        trunk: it is trained along, all of it.
        classes: how many, the background among them.
        zoom: pictures are brought to this times their size.
    """

    def __init__(self, trunk: Trunk, classes: int, zoom: float = 1.0) -> None:
        super().__init__()
        self.trunk, self.zoom = trunk, zoom
        self.score = nn.Conv2d(trunk.features, classes, 1)
        for values in self.score.parameters():
            nn.init.zeros_(values)

    def forward(self, images: Tensor, sides: tuple[int, int] | None = None, zoom: float = 1.0) -> Tensor:
        """Return scores [B, classes, H, W].

        Args:
            images: [B, 3, h, w] in [0, 1].
            sides: H and W, where they are not h and w.
            zoom: what one pixel of the scores is in pixels of the images.
        """
        height, width = sides or (images.shape[-2], images.shape[-1])
        below, beside = (max(LEAST - n, -n % STEP) for n in images.shape[-2:])
        scores = self.score(self.trunk.maps(pad(images, (0, beside, 0, below), mode="replicate"), "fc7"))
        step, first = self.trunk.grid("fc7")
        rows, columns = (
            _between(places, pixels, step / zoom, (first + 0.5) / zoom - 0.5, scores)
            for places, pixels in zip(scores.shape[-2:], (height, width), strict=True)
        )
        return rows @ scores @ columns.T

    def pixels(self, picture: Tensor) -> Tensor:
        """Return scores [classes, H, W] of one picture [3, H, W] uint8 at its own size."""
        image = picture.unsqueeze(0).float() / 255
        sides = picture.shape[1], picture.shape[2]
        if self.zoom != 1:
            small = [max(1, round(n * self.zoom)) for n in sides]
            image = interpolate(image, small, mode="bilinear", antialias=True).clamp(0, 1)
        return self(image, sides, self.zoom)[0]

    @torch.no_grad()
    def measure(self, batches: list[Tensor]) -> None:
        """Set batch norm's running statistics to the mean over some batches, and the network to evaluation.

        Running averages would lag behind weights that have just been learnt, and by settings that differ between runs.
        """
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        kept = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean of all batches
            norm.train()
        for images in batches:
            self(images)
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum
        self.eval()


def _between(places: int, pixels: int, step: float, first: float, like: Tensor) -> Tensor:
    """Return the weights [pixels, places] of linear interpolation between places; beyond the outer ones, theirs."""
    at = ((torch.arange(pixels) - first) / step).clamp(0, places - 1)
    return (1 - (at.unsqueeze(1) - torch.arange(places)).abs()).clamp_min(0).to(like)


def crop(
    picture: Tensor, mask: Tensor, side: int, scales: tuple[float, float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut a square at random, at a random scale and perhaps mirrored, from a picture and its mask alike.

    What lies outside the picture is the picture's mean colour, and ignored.

    Args:
        picture: [3, H, W] uint8.
        mask: [H, W] uint8.
        side: of the result in pixels.
        scales: the least and the most; 0.5 shows twice as much of the picture. They are drawn evenly in logarithms.
        generator: of what is drawn: scale, place, mirror.

    Returns:
        [3, side, side] float32 in [0, 1], bilinear and antialiased, and [side, side] uint8, the nearest pixel's.
    """
    drawn = torch.rand(4, generator=generator).tolist()
    low, high = scales
    window = max(1, round(side / (low * (high / low) ** drawn[0])))
    height, width = mask.shape
    top, left = (round(part * (n - window)) for part, n in zip(drawn[1:3], (height, width), strict=True))
    image = picture[:, max(top, 0) : top + window, max(left, 0) : left + window].float() / 255
    cut = mask[max(top, 0) : top + window, max(left, 0) : left + window]
    outside = (max(-left, 0), window - max(-left, 0) - cut.shape[1], max(-top, 0), window - max(-top, 0) - cut.shape[0])
    if any(outside):
        mean = image.mean((1, 2), keepdim=True)
        image, cut = pad(image - mean, outside) + mean, pad(cut, outside, value=IGNORED)
    image = interpolate(image.unsqueeze(0), (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1)
    cut = interpolate(cut[None, None].float(), (side, side), mode="nearest-exact")[0, 0].to(torch.uint8)
    return (image.flip(-1), cut.flip(-1)) if drawn[3] < 0.5 else (image, cut)
