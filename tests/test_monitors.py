import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import codial
from codial import monitors
from codial.checkpoints import read_tensors
from codial.monitors import confusion, feature_std, knn_accuracy, rankme, ridge_accuracy
from codial.objectives import build
from codial.views import sample_views

trainer = sys.modules["codial.pretrain"]  # the package's own name for it is the function


@pytest.fixture
def clouds(generator):
    """Four overlapping classes in 12 dimensions, and which fifth of them is asked for."""
    labels = torch.randint(4, (400,), generator=generator)
    features = torch.randn(400, 12, generator=generator) + 1.2 * torch.randn(4, 12, generator=generator)[labels]
    return features, labels, torch.arange(400) % 5 == 0


# Nearest neighbours


@pytest.mark.parametrize("k", [1, 5, 20, 400])
def test_knn_is_sklearns_by_cosine_distance(k, clouds):
    features, labels, fold = clouds
    known, asked = features[~fold].numpy(), features[fold].numpy()
    theirs = KNeighborsClassifier(min(k, len(known)), metric="cosine").fit(known, labels[~fold].numpy())
    votes = np.sort(theirs.predict_proba(asked), 1)
    untied = votes[:, -1] > votes[:, -2] + 1e-9
    assert untied.mean() > 0.75
    rows = torch.cat((torch.nonzero(~fold).squeeze(1), torch.nonzero(fold).squeeze(1)[torch.from_numpy(untied)]))
    expected = 100 * theirs.score(asked[untied], labels[fold].numpy()[untied])
    assert knn_accuracy(features[rows], labels[rows], fold[rows], k) == pytest.approx(expected, abs=1e-3)


def test_a_tie_goes_to_the_closer_voters():
    angles = torch.tensor([0.0, 0.1, 0.2, -0.3, -0.4])
    features = torch.stack((angles.cos(), angles.sin()), 1)
    fold = torch.tensor([True, False, False, False, False])
    for close, far in ((0, 1), (1, 0)):
        labels = torch.tensor([0, close, close, far, far])
        assert knn_accuracy(features, labels, fold, k=4) == (100 if close == 0 else 0)


def test_more_voters_beat_closer_ones():
    angles = torch.tensor([0.0, 0.0, 1.0, 1.1, 1.2])
    features = torch.stack((angles.cos(), angles.sin()), 1)
    fold = torch.tensor([True, False, False, False, False])
    assert knn_accuracy(features, torch.tensor([1, 0, 1, 1, 1]), fold, k=4) == 100


# Ridge


def primal_ridge(features, labels, fold, strength):
    """Solve (X^T X + strength * n * I) W = X^T Y on standardised features by hand; one penalty a sample."""
    x = features.double().numpy()
    x = (x - x[~fold].mean(0)) / x[~fold].std(0, ddof=1)
    known, targets = x[~fold], np.eye(int(labels.max()) + 1)[labels[~fold]]
    penalty = strength * len(known) * np.eye(x.shape[1])
    weights = np.linalg.solve(known.T @ known + penalty, known.T @ (targets - targets.mean(0)))
    scores = x[fold] @ weights + targets.mean(0)
    return 100 * (scores.argmax(1) == labels[fold].numpy()).mean()


@pytest.mark.parametrize("dims", [12, 600])
@pytest.mark.parametrize("strength", [1e-3, 1e-2, 1.0, 30.0])
def test_ridge_is_the_primal_solution(dims, strength, clouds, generator):
    features, labels, fold = clouds
    wide = features @ torch.randn(12, dims, generator=generator) + torch.randn(400, dims, generator=generator)
    expected = primal_ridge(wide, labels, fold, strength)
    assert ridge_accuracy(wide, labels, fold, strength) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_ridge_is_sklearns_ridge_classifier(strength, clouds):
    features, labels, fold = clouds
    scaler = StandardScaler().fit(features[~fold].numpy())
    known, asked = scaler.transform(features[~fold].numpy()), scaler.transform(features[fold].numpy())
    theirs = RidgeClassifier(alpha=strength * len(known)).fit(known, labels[~fold].numpy())
    expected = 100 * theirs.score(asked, labels[fold].numpy())
    assert ridge_accuracy(features, labels, fold, strength) == pytest.approx(expected, abs=1.3)  # one of 80


def test_ridge_learns_from_the_known_part_only(clouds):
    """With labels of the asked part shuffled away from what could be known, accuracy falls to chance."""
    features, labels, fold = clouds
    honest = ridge_accuracy(features, labels, fold)
    wrong = labels.clone()
    wrong[fold] = (labels[fold] + 1) % 4
    assert honest > 60
    assert ridge_accuracy(features, wrong, fold) < 40
    far = features.clone()
    far[fold] = far[fold] * 1000  # must not reach the standardisation either
    scaled = ridge_accuracy(far, labels, fold)
    assert scaled > 40


# Spread and rank


def test_feature_std_is_one_for_directions_spread_evenly_and_zero_for_one(generator):
    assert feature_std(torch.randn(20_000, 64, generator=generator)) == pytest.approx(1, abs=0.01)
    one = torch.randn(1, 64, generator=generator)
    assert feature_std(one * torch.rand(500, 1, generator=generator)) == pytest.approx(0, abs=1e-5)
    # Two opposite directions e1 and -e1: one coordinate of deviation 1, the others none.
    pair = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]).repeat(5000, 1)
    assert feature_std(pair) == pytest.approx(0.25 * 4**0.5, rel=1e-3)


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_rankme_of_equal_singular_values_is_their_number(rank, generator):
    left = torch.linalg.qr(torch.randn(100, rank, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(40, rank, generator=generator))[0]
    assert rankme(left @ right.T) == pytest.approx(rank, rel=2e-3)


def test_rankme_of_two_unequal_values_is_the_exponential_of_their_entropy():
    features = torch.zeros(10, 5)
    features[0, 0], features[1, 1] = 3.0, 1.0
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rankme(features) == pytest.approx(math.exp(entropy), rel=1e-3)


def test_rankme_is_at_most_the_smaller_side(generator):
    for shape in ((30, 100), (100, 30)):
        assert 20 < rankme(torch.randn(shape, generator=generator)) <= 30.01
    assert rankme(torch.zeros(10, 10)) == pytest.approx(1, abs=0.01)


# All of them


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e4])
def test_no_monitor_depends_on_the_scale_of_features(scale, clouds):
    """An untrained trunk of small width puts out a millionth of a trained one's; the comparison must be fair."""
    features, labels, fold = clouds
    wide = features @ torch.randn(12, 300, generator=torch.Generator().manual_seed(1))
    for monitor in (feature_std, rankme):
        assert monitor(wide * scale) == pytest.approx(monitor(wide), rel=1e-3)
    for monitor in (knn_accuracy, ridge_accuracy):
        assert monitor(wide * scale, labels, fold) == pytest.approx(monitor(wide, labels, fold), abs=1e-3)


def test_dead_units_do_no_harm(clouds):
    features, labels, fold = clouds
    dead = torch.cat((features, torch.zeros(400, 20), torch.full((400, 5), 3.0)), 1)
    assert ridge_accuracy(dead, labels, fold) == pytest.approx(ridge_accuracy(features, labels, fold), abs=1.3)
    assert knn_accuracy(dead[:, :32], labels, fold) == knn_accuracy(features, labels, fold)


# What the pretext's classes are taken for


@pytest.fixture
def asked(tiny, few, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = replace(tiny, train=replace(tiny.train, monitor_pictures=20))
        return build(config, classes=0, pictures=len(few)), few, config


def test_the_same_views_are_asked_whenever_one_looks(asked):
    first = confusion(*asked)
    assert first["classes"] == ["turn0", "turn90", "turn180", "turn270", "warp"]
    assert [sum(row) for row in first["counts"]] == [20] * 5  # `monitor_pictures`
    state = torch.get_rng_state()
    assert confusion(*asked) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_the_matrix_is_that_of_the_very_same_views_seen_at_once(asked):
    system, images, config = asked
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:20]
    views = sample_views(images.batch(chosen), config.views, torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = system.eval().classifier(system.trunk(views.images.flatten(0, 1))).argmax(1).view(20, 5)
    expected = [[int((told[:, shown] == taken).sum()) for taken in range(5)] for shown in range(5)]
    assert confusion(*asked)["counts"] == expected


def test_more_classes_than_a_matrix_can_show_are_left_out(asked, monkeypatch):
    monkeypatch.setattr(monitors, "MOST_CLASSES", 4)
    assert confusion(*asked) is None


def test_looking_changes_nothing_of_the_training(tiny, few, tmp_path, monkeypatch):
    seen = codial.pretrain(tiny, tmp_path / "seen", images=few, progress=False)
    monkeypatch.setattr(trainer, "confusion", lambda *rest: None)
    unseen = codial.pretrain(tiny, tmp_path / "unseen", images=few, progress=False)
    assert any("confusion" in line for line in seen.history)
    weights, others = (read_tensors(run.checkpoint()) for run in (seen, unseen))
    assert all(torch.equal(weights[name], others[name]) for name in weights | others)
