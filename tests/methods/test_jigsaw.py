import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torchvision.transforms.functional import resize as vision_resize

from codial.config import ModelConfig
from codial.errors import CodialError
from codial.methods.jigsaw import JigsawNetwork, cut, make_puzzles, mosaic, permutations, standardize, tile_side
from codial.utils.batch_generator import BatchGenerator

PLAIN = {"foreign": 0, "tile_part": 0.75, "tile_size": 16, "grayscale": 0.0}


@pytest.fixture
def images(few):
    """[24, 3, 64, 64] in [0, 1]."""
    return few.images.float() / 255


@pytest.fixture
def rng(generator):
    return BatchGenerator(generator, 24)


@pytest.fixture
def orders():
    return permutations(30, 3, seed=1)


# Permutations


@pytest.mark.parametrize(("count", "distance"), [(701, 3), (24, 7), (2, 9), (1000, 2)])
def test_permutations_have_the_minimum_distance(count, distance):
    orders = permutations(count, distance, seed=5)
    assert orders.shape == (count, 9)
    assert torch.equal(orders.sort(1).values, torch.arange(9).expand(count, -1))
    assert len(orders.unique(dim=0)) == count
    assert round(9 * pdist(orders.numpy(), "hamming").min()) >= distance


def test_permutations_depend_on_the_seed():
    assert torch.equal(permutations(50, 3, seed=1), permutations(50, 3, seed=1))
    assert not torch.equal(permutations(50, 3, seed=1), permutations(50, 3, seed=2))


def test_too_many_permutations_are_refused(monkeypatch):
    """At most nine permutations differ in all positions, since their first tiles differ."""
    monkeypatch.setattr("codial.methods.jigsaw._TRIES", 2000)
    with pytest.raises(CodialError, match=r"^Found only \d of 10 permutations of 9 tiles that differ in at least 9"):
        permutations(10, 9, seed=0)


# Puzzles


def test_tiles_put_back_in_order_are_the_image(images, orders, generator):
    """Tiles of the size of a cell, for images of 63 pixels: without jitter and gaps."""
    images = images[..., :63, :63]
    options = PLAIN | {"tile_part": 1.0, "tile_size": 21}
    puzzles = make_puzzles(images, orders, BatchGenerator(generator, 24), **options)
    inverse = orders[puzzles.labels].argsort(1)
    ordered = puzzles.tiles[torch.arange(24).unsqueeze(1), inverse]
    assert torch.equal(mosaic(ordered), images)
    assert not torch.equal(mosaic(puzzles.tiles), images)


def test_tiles_are_at_random_positions_in_their_cells(images, orders, generator):
    """All of the 6 x 6 positions occur."""
    positions = set()
    for _ in range(3):
        puzzles = make_puzzles(images, orders, BatchGenerator(generator, 24), **PLAIN)
        for image, tiles, cells in zip(images, puzzles.tiles, puzzles.cells, strict=True):
            for tile, cell in zip(tiles, cells.tolist(), strict=True):
                y, x = 21 * (cell // 3), 21 * (cell % 3)
                windows = image[:, y : y + 21, x : x + 21].unfold(1, 16, 1).unfold(2, 16, 1)  # [3, 6, 6, 16, 16]
                matches = (windows == tile[:, None, None]).all(0).all(-1).all(-1).nonzero().tolist()
                assert matches
                positions |= {tuple(match) for match in matches}
    assert len(positions) == 36


def test_labels_are_the_indices_of_the_permutations(images, orders, generator):
    labels = []
    for _ in range(10):
        puzzles = make_puzzles(images, orders, BatchGenerator(generator, 24), **PLAIN)
        assert torch.equal(puzzles.cells, orders[puzzles.labels])
        assert torch.equal(puzzles.sources, torch.arange(24).unsqueeze(1).expand(-1, 9))
        labels.append(puzzles.labels)
    assert len(torch.cat(labels).unique()) == 30


@pytest.mark.parametrize("foreign", [1, 2])
def test_foreign_tiles_are_of_another_image(images, orders, generator, foreign):
    """0 to `foreign` tiles, uniformly; at any position, from any cells of one other image, pixel by pixel."""
    options = PLAIN | {"foreign": foreign, "tile_part": 1.0, "tile_size": 21}
    counts, offsets, positions, cells = [], [], [], []
    images = images[..., :63, :63]
    for _ in range(25):
        puzzles = make_puzzles(images, orders, BatchGenerator(generator, 24), **options)
        replaced = puzzles.sources != torch.arange(24).unsqueeze(1)
        assert torch.equal(puzzles.cells[~replaced], orders[puzzles.labels][~replaced])
        for sources_of, cells_of, mask in zip(puzzles.sources, puzzles.cells, replaced, strict=True):
            assert len(sources_of[mask].unique()) == min(1, int(mask.sum()))
            assert len(cells_of[mask].unique()) == int(mask.sum())
        y, x = 21 * (puzzles.cells // 3), 21 * (puzzles.cells % 3)
        for row, position in replaced.nonzero().tolist():
            top, left = int(y[row, position]), int(x[row, position])
            source = images[puzzles.sources[row, position], :, top : top + 21, left : left + 21]
            assert torch.equal(puzzles.tiles[row, position], source)
        counts.append(replaced.sum(1))
        offsets.append((puzzles.sources - torch.arange(24).unsqueeze(1))[replaced] % 24)
        positions.append(replaced.nonzero()[:, 1])
        cells.append(puzzles.cells[replaced])
    shares = torch.bincount(torch.cat(counts), minlength=foreign + 1) / 600
    torch.testing.assert_close(shares, torch.full((foreign + 1,), 1 / (foreign + 1)), atol=0.07, rtol=0)
    assert torch.cat(offsets).unique().tolist() == list(range(1, 24))
    assert len(torch.cat(positions).unique()) == len(torch.cat(cells).unique()) == 9


def test_some_puzzles_are_gray(images, orders, generator):
    seed = generator.get_state()
    colored = make_puzzles(images, orders, BatchGenerator(generator, 24), **PLAIN).tiles
    generator.set_state(seed)
    tiles = make_puzzles(images, orders, BatchGenerator(generator, 24), **(PLAIN | {"grayscale": 0.5})).tiles
    gray = (tiles == tiles[:, :, :1]).flatten(1).all(1)
    assert 6 <= gray.sum() <= 18
    torch.testing.assert_close(tiles[gray], colored[gray].mean(2, keepdim=True).expand(-1, -1, 3, -1, -1))
    assert torch.equal(tiles[~gray], colored[~gray])


@pytest.mark.parametrize("size", [20, 32])
def test_tiles_are_resized_with_antialiasing(images, orders, generator, size):
    seed = generator.get_state()
    as_cut = make_puzzles(images, orders, BatchGenerator(generator, 24), **PLAIN).tiles
    generator.set_state(seed)
    tiles = make_puzzles(images, orders, BatchGenerator(generator, 24), **(PLAIN | {"tile_size": size})).tiles
    expected = vision_resize(as_cut.flatten(0, 1), [size, size], antialias=True).view(24, 9, 3, size, size)
    torch.testing.assert_close(tiles, expected, atol=1e-5, rtol=0)


def test_puzzles_depend_on_the_generator(images, orders, seed):
    options = PLAIN | {"foreign": 2, "grayscale": 0.7}
    first, again, other = (
        make_puzzles(images, orders, BatchGenerator(torch.Generator().manual_seed(s), 24), **options)
        for s in (seed, seed, seed + 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize(("size", "side"), [(64, 16), (32, 8), (224, 56), (255, 64), (16, 4)])
def test_the_side_of_a_tile_is_a_fraction_of_its_cell(size, side):
    assert tile_side(size, 0.75) == side


# Input of the teacher


def test_each_tile_is_standardized_over_pixels_and_channels(images, orders, rng):
    tiles = make_puzzles(images, orders, rng, **PLAIN).tiles
    standardized, values, axes = standardize(tiles).numpy(), tiles.numpy(), (-3, -2, -1)
    expected = (values - values.mean(axes, keepdims=True)) / values.std(axes, keepdims=True)
    np.testing.assert_allclose(standardized, expected, atol=1e-3)
    np.testing.assert_allclose(standardized.mean(axes), 0, atol=1e-4)
    np.testing.assert_allclose(standardized.std(axes), 1, atol=1e-3)


def test_a_uniform_tile_stays_finite():
    assert standardize(torch.full((1, 9, 3, 16, 16), 0.3)).abs().max() < 0.1


def test_a_mosaic_has_its_tiles_row_by_row_with_white_gaps():
    tiles = (torch.arange(9) / 10).view(1, 9, 1, 1, 1).expand(1, 9, 3, 4, 4)
    assert torch.equal(mosaic(tiles)[0, 0, ::4, ::4], (torch.arange(9) / 10).view(3, 3))
    spaced = mosaic(tiles, gap=2)
    assert spaced.shape == (1, 3, 16, 16)
    assert spaced[0, :, 4:6].eq(1).all()
    assert spaced[0, :, :, 10:12].eq(1).all()
    assert torch.equal(spaced[0, 0, ::6, ::6], (torch.arange(9) / 10).view(3, 3))
    assert torch.equal(spaced[..., 6:10, 12:16], tiles[:, 5])


def test_cut_returns_the_given_tiles():
    image = torch.rand(2, 3, 30, 30)
    tiles = cut(image, torch.full((1, 9), 1), torch.full((1, 9), 5), torch.tensor([1, 2]).expand(1, 9, 2), 7)
    assert torch.equal(tiles[0, 4], image[1, :, 12:19, 21:28])


def test_the_network_processes_each_tile_separately(images, orders, rng):
    """Another tile changes only its part of the input of the last dense layer."""
    torch.manual_seed(0)
    network = JigsawNetwork(30, tile_size=16, depth=11, width=0.1, config=ModelConfig()).eval()
    tiles, inputs = make_puzzles(images, orders, rng, **PLAIN).tiles, []
    network.fc7.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0].view(24, 9, -1)))
    assert network(tiles).shape == (24, 30)
    tiles = tiles.clone()
    tiles[:, 4] = tiles[:, 3]
    network(tiles)
    kept = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(inputs[0][:, kept], inputs[1][:, kept])
    torch.testing.assert_close(inputs[1][:, 4], inputs[1][:, 3])
    assert not torch.equal(inputs[0][:, 4], inputs[1][:, 4])
