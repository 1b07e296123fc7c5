"""Jigsaw++ puzzles: shuffled tiles of an image, some of them from another image (Noroozi et al., CVPR 2018)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.models import VGG_STRIDE, Vgg, scale_width
from codial.utils.batch_generator import BatchGenerator

SIDE = 3
TILES = SIDE**2
_MIN_STD = 1e-5  # of the pixels of a tile; less is a uniform tile
_TRIES = 100_000
_UNITS = (1024, 4096)  # of the dense layers, for each tile and for all nine


class Puzzles(NamedTuple):
    """Puzzles of B images, with the parameters that were sampled for them."""

    tiles: Tensor  # [B, 9, 3, T, T] float in [0, 1], by position in the puzzle, row by row
    labels: Tensor  # [B] int64, index of the permutation
    sources: Tensor  # [B, 9] int64, index in the batch of each tile's image
    cells: Tensor  # [B, 9] int64, cell of that image, row by row


def permutations(count: int, distance: int, seed: int) -> Tensor:
    """Return random permutations of nine tiles with a minimum Hamming distance from each other.

    Args:
        count: number of permutations.
        distance: minimum number of positions in which two permutations differ, 2 to 9.
        seed: seed of the permutations.

    Returns:
        [count, 9] int64.

    Raises:
        CodialError: too few such permutations were found.
    """
    generator = torch.Generator().manual_seed(seed)
    accepted = torch.randperm(TILES, generator=generator).unsqueeze(0)
    for _ in range(_TRIES):
        if len(accepted) == count:
            return accepted
        candidate = torch.randperm(TILES, generator=generator)
        if int((accepted != candidate).sum(1).min()) >= distance:
            accepted = torch.cat((accepted, candidate.unsqueeze(0)))
    raise CodialError(
        f"Found only {len(accepted)} of {count} permutations of {TILES} tiles that differ in at least {distance}"
        " positions; use fewer permutations or a smaller distance."
    )


def tile_side(size: int, part: float) -> int:
    """Return the side in pixels of a tile that is a fraction `part` of its cell, for images of `size` pixels."""
    return round(size // SIDE * part)


def make_puzzles(
    images: Tensor,
    orders: Tensor,
    rng: BatchGenerator,
    *,
    foreign: int,
    tile_part: float,
    tile_size: int,
    grayscale: float,
) -> Puzzles:
    """Cut images into tiles, replace some tiles by another image's, and shuffle.

    An image has 3 x 3 cells; a tile is at a random position in its cell, so that edges do not continue from tile to
    tile. 0 to `foreign` tiles of a puzzle, uniformly sampled, are replaced by random tiles of one other image.

    Args:
        images: [B, 3, S, S] float in [0, 1]; at least two images if there are foreign tiles.
        orders: permutations, [P, 9] int64: position i of a puzzle holds cell `orders[label, i]`.
        rng: random generator of the step.
        foreign: maximum number of replaced tiles.
        tile_part: side of a tile over the side of its cell.
        tile_size: side in pixels to which tiles are resized.
        grayscale: probability that a puzzle is converted to grayscale, in steps of 1/1000.
    """
    labels = rng.integers(0, len(orders))
    sources, cells = _replace_tiles(orders[labels], rng, foreign)
    side = tile_side(images.shape[-1], tile_part)
    jitter = rng.integers(0, images.shape[-1] // SIDE - side + 1, TILES, 2)
    tiles = cut(images, sources, cells, jitter, side)
    colorless = rng.integers(0, 1000) < 1000 * grayscale
    tiles = torch.where(colorless.view(-1, 1, 1, 1, 1), tiles.mean(2, keepdim=True), tiles)
    return Puzzles(resize(tiles, tile_size), labels, sources, cells)


def _replace_tiles(cells: Tensor, rng: BatchGenerator, foreign: int) -> tuple[Tensor, Tensor]:
    """Return the image and the cell of each tile, [B, 9] int64 each, after some tiles were replaced."""
    own = torch.arange(len(cells), device=cells.device).unsqueeze(1).expand(-1, TILES)
    if foreign == 0:
        return own, cells
    positions = _two_tiles(rng)[:, :foreign]
    new_cells = _two_tiles(rng)[:, :foreign]
    replaced = torch.arange(foreign, device=cells.device) < rng.integers(0, foreign + 1, 1)
    other = (own[:, :1] + rng.integers(1, len(cells), 1)) % len(cells)
    sources = own.scatter(1, positions, torch.where(replaced, other, own[:, :1]))
    return sources, cells.scatter(1, positions, torch.where(replaced, new_cells, cells.gather(1, positions)))


def _two_tiles(rng: BatchGenerator) -> Tensor:
    """Return two different tiles for each image, [B, 2] int64."""
    first = rng.integers(0, TILES, 1)
    return torch.cat((first, (first + rng.integers(1, TILES, 1)) % TILES), 1)


def cut(images: Tensor, sources: Tensor, cells: Tensor, jitter: Tensor, side: int) -> Tensor:
    """Return tiles of images, [B, 9, 3, side, side].

    Args:
        images: [B, 3, S, S].
        sources: image of each tile, [B, 9] int64.
        cells: cell of each tile, [B, 9] int64.
        jitter: offset (x, y) of each tile in its cell in pixels, [B, 9, 2] int64.
        side: side of a tile in pixels.
    """
    cell = images.shape[-1] // SIDE
    line = torch.arange(side, device=images.device)
    x = (cells % SIDE * cell + jitter[..., 0]).view(*cells.shape, 1, 1, 1) + line
    y = (cells // SIDE * cell + jitter[..., 1]).view(*cells.shape, 1, 1, 1) + line.view(-1, 1)
    channel = torch.arange(3, device=images.device).view(3, 1, 1)
    return images[sources.view(*cells.shape, 1, 1, 1), channel, y, x]


def resize(tiles: Tensor, size: int) -> Tensor:
    """Return tiles [B, 9, 3, T, T] resized to another side, by antialiased bilinear interpolation."""
    if tiles.shape[-1] == size:
        return tiles
    flat = interpolate(tiles.flatten(0, 1), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return flat.view(*tiles.shape[:3], size, size)


def standardize(images: Tensor) -> Tensor:
    """Return images [..., 3, H, W], each scaled to zero mean and unit variance over pixels and channels; float32."""
    images = images.float()
    centered = images - images.mean((-3, -2, -1), keepdim=True)
    return centered / centered.square().mean((-3, -2, -1), keepdim=True).sqrt().clamp_min(_MIN_STD)


def mosaic(tiles: Tensor, gap: int = 0) -> Tensor:
    """Return tiles [B, 9, 3, T, T] arranged as images [B, 3, S, S], S = 3 T + 2 gap, with white gaps."""
    count, _, _, size, _ = tiles.shape
    padded = tiles.new_ones(count, SIDE, SIDE, 3, size + gap, size + gap)
    padded[..., :size, :size] = tiles.view(count, SIDE, SIDE, 3, size, size)
    images = padded.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, SIDE * (size + gap), -1)
    return images[..., : SIDE * (size + gap) - gap, : SIDE * (size + gap) - gap]


class JigsawNetwork(nn.Module):
    """Classifier of permutations: a VGG network for each tile separately, then dense layers for all nine.

    Args:
        permutations: number of classes, P.
        tile_size: side of a tile in pixels, T.
        depth: depth of the VGG network, 11 or 16.
        width: multiplies the channels of every layer.
        config: settings of batch norm.
    """

    def __init__(self, permutations: int, tile_size: int, depth: int, width: float, config: ModelConfig) -> None:
        super().__init__()
        self.net = Vgg(depth, width, config)
        tile_units, units = (scale_width(count, width) for count in _UNITS)
        self.fc6 = self._dense(self.net.channels[-1] * (tile_size // VGG_STRIDE) ** 2, tile_units, config)
        self.fc7 = self._dense(TILES * tile_units, units, config)
        self.classifier = nn.Linear(units, permutations)

    @staticmethod
    def _dense(inputs: int, outputs: int, config: ModelConfig) -> nn.Sequential:
        norm = nn.BatchNorm1d(outputs, config.bn_eps, config.bn_momentum)
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), norm, nn.ReLU())

    def forward(self, tiles: Tensor) -> Tensor:
        """Return logits [B, P] of tiles [B, 9, 3, T, T] in [0, 1]; each tile is standardized."""
        maps = self.net(standardize(tiles).flatten(0, 1))
        return self.classifier(self.fc7(self.fc6(maps.flatten(1)).view(len(tiles), -1)))
