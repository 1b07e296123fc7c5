from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torchvision.transforms.functional import resize as vision_resize

from codial.config import KnowTransOptions, ModelConfig
from codial.errors import CodialError
from codial.objectives.jigsaw import Solver, cut, make_puzzles, mosaic, permutations, standardise, tile_side
from codial.objectives.protocol import Draws

PLAIN = KnowTransOptions(foreign=0, grey=0.0)


@pytest.fixture
def pictures(few):
    """[24, 3, 64, 64] in [0, 1]."""
    return few.images.float() / 255


@pytest.fixture
def draws(generator):
    return Draws(generator, 24)


@pytest.fixture
def orders():
    return permutations(30, 3, seed=1)


# Permutations


@pytest.mark.parametrize(("count", "distance"), [(701, 3), (24, 7), (2, 9), (1000, 2)])
def test_any_two_permutations_differ_in_many_places(count, distance):
    found = permutations(count, distance, seed=5)
    assert found.shape == (count, 9)
    assert torch.equal(found.sort(1).values, torch.arange(9).expand(count, -1))
    assert len(found.unique(dim=0)) == count
    assert round(9 * pdist(found.numpy(), "hamming").min()) >= distance


def test_a_seed_has_its_permutations():
    assert torch.equal(permutations(50, 3, seed=1), permutations(50, 3, seed=1))
    assert not torch.equal(permutations(50, 3, seed=1), permutations(50, 3, seed=2))


def test_permutations_that_are_not_there_are_refused(monkeypatch):
    """No more than nine differ in all nine places: each puts another tile first."""
    monkeypatch.setattr("codial.objectives.jigsaw._TRIES", 2000)
    with pytest.raises(CodialError, match=r"^Of 10 permutations of 9 tiles that differ in 9 places, only \d were"):
        permutations(10, 9, seed=0)


# Puzzles


def test_tiles_put_back_in_order_are_the_picture(pictures, orders, generator):
    """Whole cells of a picture of 63 pixels, so that there is no jitter and no gap."""
    pictures = pictures[..., :63, :63]
    options = replace(PLAIN, tile_part=1.0, tile_size=21)
    puzzles = make_puzzles(pictures, orders, Draws(generator, 24), options)
    back = orders[puzzles.labels].argsort(1)
    ordered = puzzles.tiles[torch.arange(24).unsqueeze(1), back]
    assert torch.equal(mosaic(ordered), pictures)
    assert not torch.equal(mosaic(puzzles.tiles), pictures)


def test_a_tile_lies_anywhere_in_its_cell(pictures, orders, generator):
    """Each tile is found in its cell, at one of 6 x 6 places, all of which come up."""
    seen = set()
    for _ in range(3):
        puzzles = make_puzzles(pictures, orders, Draws(generator, 24), PLAIN)
        for picture, tiles, cells in zip(pictures, puzzles.tiles, puzzles.cells, strict=True):
            for tile, cell in zip(tiles, cells.tolist(), strict=True):
                y, x = 21 * (cell // 3), 21 * (cell % 3)
                windows = picture[:, y : y + 21, x : x + 21].unfold(1, 16, 1).unfold(2, 16, 1)  # [3, 6, 6, 16, 16]
                found = (windows == tile[:, None, None]).all(0).all(-1).all(-1).nonzero().tolist()
                assert found
                seen |= {tuple(place) for place in found}
    assert len(seen) == 36


def test_labels_name_the_permutation_and_all_come_up(pictures, orders, generator):
    labels = []
    for _ in range(10):
        puzzles = make_puzzles(pictures, orders, Draws(generator, 24), PLAIN)
        assert torch.equal(puzzles.cells, orders[puzzles.labels])
        assert torch.equal(puzzles.pictures, torch.arange(24).unsqueeze(1).expand(-1, 9))
        labels.append(puzzles.labels)
    assert len(torch.cat(labels).unique()) == 30


@pytest.mark.parametrize("foreign", [1, 2])
def test_foreign_tiles_are_another_pictures(pictures, orders, generator, foreign):
    """None, one or two in equal parts; at any place, from any cells of any one other picture, pixel by pixel."""
    options, counts, donors, places, cells = (
        replace(PLAIN, foreign=foreign, tile_part=1.0, tile_size=21),
        [],
        [],
        [],
        [],
    )
    pictures = pictures[..., :63, :63]
    for _ in range(25):
        puzzles = make_puzzles(pictures, orders, Draws(generator, 24), options)
        replaced = puzzles.pictures != torch.arange(24).unsqueeze(1)
        assert torch.equal(puzzles.cells[~replaced], orders[puzzles.labels][~replaced])
        for donors_of, cells_of, gone in zip(puzzles.pictures, puzzles.cells, replaced, strict=True):
            assert len(donors_of[gone].unique()) == min(1, int(gone.sum()))
            assert len(cells_of[gone].unique()) == int(gone.sum())
        y, x = 21 * (puzzles.cells // 3), 21 * (puzzles.cells % 3)
        for row, place in replaced.nonzero().tolist():
            top, left = int(y[row, place]), int(x[row, place])
            source = pictures[puzzles.pictures[row, place], :, top : top + 21, left : left + 21]
            assert torch.equal(puzzles.tiles[row, place], source)
        counts.append(replaced.sum(1))
        donors.append((puzzles.pictures - torch.arange(24).unsqueeze(1))[replaced] % 24)
        places.append(replaced.nonzero()[:, 1])
        cells.append(puzzles.cells[replaced])
    shares = torch.bincount(torch.cat(counts), minlength=foreign + 1) / 600
    torch.testing.assert_close(shares, torch.full((foreign + 1,), 1 / (foreign + 1)), atol=0.07, rtol=0)
    assert torch.cat(donors).unique().tolist() == list(range(1, 24))
    assert len(torch.cat(places).unique()) == len(torch.cat(cells).unique()) == 9


def test_some_puzzles_have_no_colours(pictures, orders, generator):
    seed = generator.get_state()
    coloured = make_puzzles(pictures, orders, Draws(generator, 24), PLAIN).tiles
    generator.set_state(seed)
    tiles = make_puzzles(pictures, orders, Draws(generator, 24), replace(PLAIN, grey=0.5)).tiles
    grey = (tiles == tiles[:, :, :1]).flatten(1).all(1)
    assert 6 <= grey.sum() <= 18
    torch.testing.assert_close(tiles[grey], coloured[grey].mean(2, keepdim=True).expand(-1, -1, 3, -1, -1))
    assert torch.equal(tiles[~grey], coloured[~grey])


@pytest.mark.parametrize("size", [20, 32])
def test_tiles_are_brought_to_their_size(pictures, orders, generator, size):
    seed = generator.get_state()
    as_cut = make_puzzles(pictures, orders, Draws(generator, 24), PLAIN).tiles
    generator.set_state(seed)
    tiles = make_puzzles(pictures, orders, Draws(generator, 24), replace(PLAIN, tile_size=size)).tiles
    expected = vision_resize(as_cut.flatten(0, 1), [size, size], antialias=True).view(24, 9, 3, size, size)
    torch.testing.assert_close(tiles, expected, atol=1e-5, rtol=0)


def test_a_generator_has_its_puzzles(pictures, orders, seed):
    options = KnowTransOptions()
    first, again, other = (
        make_puzzles(pictures, orders, Draws(torch.Generator().manual_seed(s), 24), options)
        for s in (seed, seed, seed + 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize(("size", "side"), [(64, 16), (32, 8), (224, 56), (255, 64), (16, 4)])
def test_a_tile_is_three_quarters_of_its_cell(size, side):
    assert tile_side(size, 0.75) == side


# What the teacher sees


def test_each_tile_is_standardised_over_its_pixels_and_colours(pictures, orders, draws):
    tiles = make_puzzles(pictures, orders, draws, PLAIN).tiles
    found, plain, each = standardise(tiles).numpy(), tiles.numpy(), (-3, -2, -1)
    expected = (plain - plain.mean(each, keepdims=True)) / plain.std(each, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(found.mean(each), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(each), 1, atol=1e-3)


def test_a_tile_that_shows_nothing_stays_finite():
    assert standardise(torch.full((1, 9, 3, 16, 16), 0.3)).abs().max() < 0.1


def test_a_mosaic_has_its_tiles_row_by_row_between_white_lines():
    tiles = (torch.arange(9) / 10).view(1, 9, 1, 1, 1).expand(1, 9, 3, 4, 4)
    assert torch.equal(mosaic(tiles)[0, 0, ::4, ::4], (torch.arange(9) / 10).view(3, 3))
    spaced = mosaic(tiles, gap=2)
    assert spaced.shape == (1, 3, 16, 16)
    assert spaced[0, :, 4:6].eq(1).all()
    assert spaced[0, :, :, 10:12].eq(1).all()
    assert torch.equal(spaced[0, 0, ::6, ::6], (torch.arange(9) / 10).view(3, 3))
    assert torch.equal(spaced[..., 6:10, 12:16], tiles[:, 5])


def test_cut_takes_the_tile_that_is_named():
    picture = torch.rand(2, 3, 30, 30)
    found = cut(picture, torch.full((1, 9), 1), torch.full((1, 9), 5), torch.tensor([1, 2]).expand(1, 9, 2), 7)
    assert torch.equal(found[0, 4], picture[1, :, 12:19, 21:28])


def test_the_solver_sees_each_tile_alone(pictures, orders, draws):
    """Another tile at one place changes only that place's part of what the dense layers read."""
    torch.manual_seed(0)
    solver = Solver(KnowTransOptions(teacher_width=0.1, permutations=30), ModelConfig()).eval()
    tiles, seen = make_puzzles(pictures, orders, draws, PLAIN).tiles, []
    solver.fc7.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].view(24, 9, -1)))
    assert solver(tiles).shape == (24, 30)
    tiles = tiles.clone()
    tiles[:, 4] = tiles[:, 3]
    solver(tiles)
    kept = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(seen[0][:, kept], seen[1][:, kept])
    torch.testing.assert_close(seen[1][:, 4], seen[1][:, 3])
    assert not torch.equal(seen[0][:, 4], seen[1][:, 4])
