import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import codial
from codial.methods import build
from codial.runs.checkpoints import read_tensors
from codial.training import monitors, trainer
from codial.training.monitors import feature_std, knn_accuracy, pretext_confusion, rankme, ridge_accuracy
from codial.transforms import sample_views


@pytest.fixture
def clouds(generator):
    """Features of four overlapping classes in 12 dimensions, their labels, and a mask of test images."""
    labels = torch.randint(4, (400,), generator=generator)
    features = torch.randn(400, 12, generator=generator) + 1.2 * torch.randn(4, 12, generator=generator)[labels]
    return features, labels, torch.arange(400) % 5 == 0


# kNN


@pytest.mark.parametrize("k", [1, 5, 20, 400])
def test_knn_equals_scikit_learns_by_cosine_distance(k, clouds):
    features, labels, is_test = clouds
    train, test = features[~is_test].numpy(), features[is_test].numpy()
    theirs = KNeighborsClassifier(min(k, len(train)), metric="cosine").fit(train, labels[~is_test].numpy())
    votes = np.sort(theirs.predict_proba(test), 1)
    untied = votes[:, -1] > votes[:, -2] + 1e-9
    assert untied.mean() > 0.75
    rows = torch.cat((torch.nonzero(~is_test).squeeze(1), torch.nonzero(is_test).squeeze(1)[torch.from_numpy(untied)]))
    expected = 100 * theirs.score(test[untied], labels[is_test].numpy()[untied])
    assert knn_accuracy(features[rows], labels[rows], is_test[rows], k) == pytest.approx(expected, abs=1e-3)


def test_a_tie_is_resolved_by_similarity():
    angles = torch.tensor([0.0, 0.1, 0.2, -0.3, -0.4])
    features = torch.stack((angles.cos(), angles.sin()), 1)
    is_test = torch.tensor([True, False, False, False, False])
    for close, far in ((0, 1), (1, 0)):
        labels = torch.tensor([0, close, close, far, far])
        assert knn_accuracy(features, labels, is_test, k=4) == (100 if close == 0 else 0)


def test_more_votes_win_over_closer_neighbors():
    angles = torch.tensor([0.0, 0.0, 1.0, 1.1, 1.2])
    features = torch.stack((angles.cos(), angles.sin()), 1)
    is_test = torch.tensor([True, False, False, False, False])
    assert knn_accuracy(features, torch.tensor([1, 0, 1, 1, 1]), is_test, k=4) == 100


# Probe


def primal_ridge(features, labels, is_test, strength):
    """Solve (X^T X + strength * n * I) W = X^T Y for standardized features."""
    x = features.double().numpy()
    x = (x - x[~is_test].mean(0)) / x[~is_test].std(0, ddof=1)
    train, targets = x[~is_test], np.eye(int(labels.max()) + 1)[labels[~is_test]]
    penalty = strength * len(train) * np.eye(x.shape[1])
    weights = np.linalg.solve(train.T @ train + penalty, train.T @ (targets - targets.mean(0)))
    scores = x[is_test] @ weights + targets.mean(0)
    return 100 * (scores.argmax(1) == labels[is_test].numpy()).mean()


@pytest.mark.parametrize("dims", [12, 600])
@pytest.mark.parametrize("strength", [1e-3, 1e-2, 1.0, 30.0])
def test_ridge_equals_the_primal_solution(dims, strength, clouds, generator):
    features, labels, is_test = clouds
    wide = features @ torch.randn(12, dims, generator=generator) + torch.randn(400, dims, generator=generator)
    expected = primal_ridge(wide, labels, is_test, strength)
    assert ridge_accuracy(wide, labels, is_test, strength) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_ridge_equals_scikit_learns_classifier(strength, clouds):
    features, labels, is_test = clouds
    scaler = StandardScaler().fit(features[~is_test].numpy())
    train, test = scaler.transform(features[~is_test].numpy()), scaler.transform(features[is_test].numpy())
    theirs = RidgeClassifier(alpha=strength * len(train)).fit(train, labels[~is_test].numpy())
    expected = 100 * theirs.score(test, labels[is_test].numpy())
    assert ridge_accuracy(features, labels, is_test, strength) == pytest.approx(expected, abs=1.3)  # one of 80


def test_ridge_is_fitted_to_training_images_only(clouds):
    """Neither labels nor features of the test images have an influence."""
    features, labels, is_test = clouds
    accuracy = ridge_accuracy(features, labels, is_test)
    wrong = labels.clone()
    wrong[is_test] = (labels[is_test] + 1) % 4
    assert accuracy > 60
    assert ridge_accuracy(features, wrong, is_test) < 40
    far = features.clone()
    far[is_test] = far[is_test] * 1000  # no influence on the standardization
    assert ridge_accuracy(far, labels, is_test) > 40


# Standard deviation and rank


def test_feature_std_is_1_for_uniform_directions_and_0_for_a_single_one(generator):
    assert feature_std(torch.randn(20_000, 64, generator=generator)) == pytest.approx(1, abs=0.01)
    one = torch.randn(1, 64, generator=generator)
    assert feature_std(one * torch.rand(500, 1, generator=generator)) == pytest.approx(0, abs=1e-5)
    # Two opposite directions e1 and -e1: one coordinate has standard deviation 1, the others 0.
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


# All monitors


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e4])
def test_monitors_do_not_depend_on_the_scale_of_features(scale, clouds):
    """Features of a narrow untrained backbone may be a millionth of those of a trained one."""
    features, labels, is_test = clouds
    wide = features @ torch.randn(12, 300, generator=torch.Generator().manual_seed(1))
    for monitor in (feature_std, rankme):
        assert monitor(wide * scale) == pytest.approx(monitor(wide), rel=1e-3)
    for monitor in (knn_accuracy, ridge_accuracy):
        assert monitor(wide * scale, labels, is_test) == pytest.approx(monitor(wide, labels, is_test), abs=1e-3)


def test_dead_units_have_no_influence(clouds):
    features, labels, is_test = clouds
    dead = torch.cat((features, torch.zeros(400, 20), torch.full((400, 5), 3.0)), 1)
    assert ridge_accuracy(dead, labels, is_test) == pytest.approx(ridge_accuracy(features, labels, is_test), abs=1.3)
    assert knn_accuracy(dead[:, :32], labels, is_test) == knn_accuracy(features, labels, is_test)


# Confusion matrix


@pytest.fixture
def arguments(tiny, few, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = replace(tiny, train=replace(tiny.train, monitor_images=20))
        return build(config, classes=0, images=len(few)), few, config


def test_the_views_are_the_same_at_every_call(arguments):
    first = pretext_confusion(*arguments)
    assert first["classes"] == ["rot0", "rot90", "rot180", "rot270", "warp"]
    assert [sum(row) for row in first["counts"]] == [20] * 5  # monitor_images
    state = torch.get_rng_state()
    assert pretext_confusion(*arguments) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_the_matrix_equals_that_of_one_batch(arguments):
    method, images, config = arguments
    indices = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:20]
    views = sample_views(images.batch(indices), config.views, torch.Generator().manual_seed(0))
    with torch.no_grad():
        predictions = method.eval().classifier(method.backbone(views.images.flatten(0, 1))).argmax(1).view(20, 5)
    expected = [[int((predictions[:, k] == other).sum()) for other in range(5)] for k in range(5)]
    assert pretext_confusion(*arguments)["counts"] == expected


def test_too_many_classes_give_no_matrix(arguments, monkeypatch):
    monkeypatch.setattr(monitors, "MAX_CLASSES", 4)
    assert pretext_confusion(*arguments) is None


def test_monitors_do_not_change_the_training(tiny, few, tmp_path, monkeypatch):
    run = codial.pretrain(tiny, tmp_path / "run", images=few, progress=False)
    monkeypatch.setattr(trainer, "pretext_confusion", lambda *rest: None)
    other = codial.pretrain(tiny, tmp_path / "other", images=few, progress=False)
    assert any("confusion" in line for line in run.history)
    weights, others = (read_tensors(r.checkpoint()) for r in (run, other))
    assert all(torch.equal(weights[name], others[name]) for name in weights | others)
