"""Jigsaw++: put shuffled tiles in order, some of which are another picture's (Noroozi et al., CVPR 2018)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from codial.config import KnowTransOptions, ModelConfig
from codial.errors import CodialError
from codial.models import SHRINK, Vgg, width_of
from codial.objectives.protocol import Draws

SIDE = 3
TILES = SIDE**2
_FLAT = 1e-5  # deviation of a tile that shows nothing
_TRIES = 100_000
_DENSE = (1024, 4096)  # units for each tile, and for all nine


class Puzzles(NamedTuple):
    """Shuffled pictures, and all that was drawn to make them."""

    tiles: Tensor  # [B, 9, 3, T, T] float in [0, 1], as they lie in the puzzle, row by row
    labels: Tensor  # [B] int64, which permutation
    pictures: Tensor  # [B, 9] int64, which picture of the batch a tile is from
    cells: Tensor  # [B, 9] int64, where in that picture it was, row by row


def permutations(count: int, distance: int, seed: int) -> Tensor:
    """Return permutations of the nine places, drawn at random, of which any two differ in many places.

    Args:
        count: how many.
        distance: least number of places in which two of them differ (Hamming), 2 to 9.
        seed: the same seed gives the same permutations.

    Returns:
        [count, 9] int64; all different.

    Raises:
        CodialError: so many, so different from each other, were not found.
    """
    generator = torch.Generator().manual_seed(seed)
    found = torch.randperm(TILES, generator=generator).unsqueeze(0)
    for _ in range(_TRIES):
        if len(found) == count:
            return found
        drawn = torch.randperm(TILES, generator=generator)
        if int((found != drawn).sum(1).min()) >= distance:
            found = torch.cat((found, drawn.unsqueeze(0)))
    raise CodialError(
        f"Of {count} permutations of {TILES} tiles that differ in {distance} places, only {len(found)} were found; ask"
        " for fewer permutations or a smaller distance."
    )


def tile_side(size: int, part: float) -> int:
    """Return the side in pixels of a tile that is this part of its cell, in pictures of `size` pixels."""
    return round(size // SIDE * part)


def make_puzzles(images: Tensor, orders: Tensor, draws: Draws, options: KnowTransOptions) -> Puzzles:
    """Cut pictures into tiles, put some of other pictures among them, and shuffle.

    A picture has 3 x 3 cells; a tile lies anywhere within its cell, so that no edges go on from tile to tile. None to
    `foreign` tiles of a puzzle, evenly drawn, are one other picture's instead, from any of its cells.

    Args:
        images: [B, 3, S, S] float in [0, 1]; at least two pictures when there are foreign tiles.
        orders: [P, 9] int64, permutations: place i of a puzzle shows cell `orders[label, i]`.
        draws: of the step, for B pictures.
        options: of tiles and colours; the probability `grey` counts to the thousandth.
    """
    labels = draws.integers(0, len(orders))
    pictures, cells = _choose(orders[labels], draws, options.foreign)
    side = tile_side(images.shape[-1], options.tile_part)
    jitter = draws.integers(0, images.shape[-1] // SIDE - side + 1, TILES, 2)
    tiles = cut(images, pictures, cells, jitter, side)
    colourless = draws.integers(0, 1000) < 1000 * options.grey
    tiles = torch.where(colourless.view(-1, 1, 1, 1, 1), tiles.mean(2, keepdim=True), tiles)
    return Puzzles(resize(tiles, options.tile_size), labels, pictures, cells)


def _choose(cells: Tensor, draws: Draws, foreign: int) -> tuple[Tensor, Tensor]:
    """Return the picture and the cell of each tile, [B, 9] int64 both, after some have been replaced."""
    own = torch.arange(len(cells), device=cells.device).unsqueeze(1).expand(-1, TILES)
    if foreign == 0:
        return own, cells
    places, anywhere = (_two(draws)[:, :foreign] for _ in range(2))
    replaced = torch.arange(foreign, device=cells.device) < draws.integers(0, foreign + 1, 1)
    another = (own[:, :1] + draws.integers(1, len(cells), 1)) % len(cells)
    pictures = own.scatter(1, places, torch.where(replaced, another, own[:, :1]))
    return pictures, cells.scatter(1, places, torch.where(replaced, anywhere, cells.gather(1, places)))


def _two(draws: Draws) -> Tensor:
    """Return two different numbers below nine for each picture, [B, 2] int64."""
    first = draws.integers(0, TILES, 1)
    return torch.cat((first, (first + draws.integers(1, TILES, 1)) % TILES), 1)


def cut(images: Tensor, pictures: Tensor, cells: Tensor, jitter: Tensor, side: int) -> Tensor:
    """Return tiles of pictures, [B, 9, 3, side, side].

    Args:
        images: [B, 3, S, S].
        pictures: [B, 9] int64, which picture each tile is from.
        cells: [B, 9] int64, from which of its cells.
        jitter: [B, 9, 2] int64, (x, y) of the tile's corner in the cell, in pixels.
        side: in pixels.
    """
    cell = images.shape[-1] // SIDE
    line = torch.arange(side, device=images.device)
    x = (cells % SIDE * cell + jitter[..., 0]).view(*cells.shape, 1, 1, 1) + line
    y = (cells // SIDE * cell + jitter[..., 1]).view(*cells.shape, 1, 1, 1) + line.view(-1, 1)
    colour = torch.arange(3, device=images.device).view(3, 1, 1)
    return images[pictures.view(*cells.shape, 1, 1, 1), colour, y, x]


def resize(tiles: Tensor, size: int) -> Tensor:
    """Return tiles [B, 9, 3, T, T] at another side, antialiased bilinear."""
    if tiles.shape[-1] == size:
        return tiles
    flat = interpolate(tiles.flatten(0, 1), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return flat.view(*tiles.shape[:3], size, size)


def standardise(images: Tensor) -> Tensor:
    """Return pictures [..., 3, H, W], each brought to zero mean and unit deviation over all its numbers; float32."""
    images = images.float()
    centred = images - images.mean((-3, -2, -1), keepdim=True)
    return centred / centred.square().mean((-3, -2, -1), keepdim=True).sqrt().clamp_min(_FLAT)


def mosaic(tiles: Tensor, gap: int = 0) -> Tensor:
    """Return tiles [B, 9, 3, T, T] laid out as a picture, [B, 3, S, S] with S = 3 T + 2 gap; gaps are white."""
    count, _, _, size, _ = tiles.shape
    wide = tiles.new_ones(count, SIDE, SIDE, 3, size + gap, size + gap)
    wide[..., :size, :size] = tiles.view(count, SIDE, SIDE, 3, size, size)
    whole = wide.permute(0, 3, 1, 4, 2, 5).reshape(count, 3, SIDE * (size + gap), -1)
    return whole[..., : SIDE * (size + gap) - gap, : SIDE * (size + gap) - gap]


class Solver(nn.Module):
    """Tell which permutation a puzzle has: one network sees each tile alone, dense layers then all nine.

    Args:
        options: the teacher's size, the puzzles' tiles and permutations.
        config: what batch norm is like.
    """

    def __init__(self, options: KnowTransOptions, config: ModelConfig) -> None:
        super().__init__()
        self.net = Vgg(options.teacher_depth, options.teacher_width, config)
        each, whole = (width_of(units, options.teacher_width) for units in _DENSE)
        self.fc6 = self._dense(self.net.channels[-1] * (options.tile_size // SHRINK) ** 2, each, config)
        self.fc7 = self._dense(TILES * each, whole, config)
        self.classifier = nn.Linear(whole, options.permutations)

    @staticmethod
    def _dense(inputs: int, outputs: int, config: ModelConfig) -> nn.Sequential:
        norm = nn.BatchNorm1d(outputs, config.bn_eps, config.bn_momentum)
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), norm, nn.ReLU())

    def forward(self, tiles: Tensor) -> Tensor:
        """Return logits [B, P] of tiles [B, 9, 3, T, T] in [0, 1], each of which is standardised."""
        maps = self.net(standardise(tiles).flatten(0, 1))
        return self.classifier(self.fc7(self.fc6(maps.flatten(1)).view(len(tiles), -1)))
