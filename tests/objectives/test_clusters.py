import faiss
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import normalize

from codial.objectives.clusters import entropy, kmeans, mutual_information, whiten

N = 5000  # more than are taken at a time


@pytest.fixture(scope="module")
def blobs(seed):
    points, labels = make_blobs(N, 6, centers=9, cluster_std=0.7, random_state=seed % 1000)
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


# Whitening


@pytest.mark.parametrize("dims", [1, 3, 6])
def test_whitening_is_scikit_learns_but_for_signs(dims, blobs):
    points = 1e-4 * (blobs[0] @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) + 50)
    expected = torch.from_numpy(PCA(dims, whiten=True, svd_solver="full").fit_transform(points.double().numpy()))
    found = whiten(points, dims)
    assert found.shape == (N, dims)
    signs = (found * expected).sum(0).sign()
    # It divides by N - 1. The pictures' own mean is fifty times their spread: 1e-3 is what float32 leaves.
    torch.testing.assert_close(found, (expected * signs * (N / (N - 1)) ** 0.5).float(), atol=1e-3, rtol=1e-3)


def test_no_axis_is_kept_that_is_only_rounding(generator):
    points = torch.randn(50, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    found = whiten(points, 10)
    assert found.shape == (50, 3)
    torch.testing.assert_close(found.T @ found / 50, torch.eye(3), atol=1e-4, rtol=0)
    assert whiten(torch.randn(5, 20, generator=generator), 10).shape == (5, 4), "five pictures span four dimensions"
    assert whiten(torch.ones(5, 20), 10).isfinite().all()


# k-means


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_from_the_same_points_the_clusters_are_scikit_learns(steps, blobs, seed):
    points = blobs[0]
    start = points[torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:9]].numpy()
    reference = KMeans(9, init=start, n_init=1, max_iter=steps, tol=0, algorithm="lloyd").fit(points.numpy())
    found = kmeans(points, 9, steps, torch.Generator().manual_seed(seed))
    assert torch.equal(found, torch.from_numpy(reference.labels_).long())


def within(points, labels):
    """The mean squared distance from the clusters' means."""
    each = [points[labels == c] for c in labels.unique()]
    return sum((part - part.mean(0)).square().sum() for part in each) / len(points)


def test_on_pictures_the_clusters_are_as_tight_as_faiss(photos, seed):
    points = normalize(whiten(photos["train"].images[:, :, ::4, ::4].flatten(1).float(), 32), dim=1)
    other = faiss.Kmeans(32, 20, niter=20, seed=1, min_points_per_centroid=1)
    other.train(points.numpy())
    theirs = torch.from_numpy(other.index.search(points.numpy(), 1)[1][:, 0])
    ours = kmeans(points, 20, 20, torch.Generator().manual_seed(seed))
    assert within(points, ours) < 1.05 * within(points, theirs)


def test_the_same_seed_gives_the_same_clusters_and_another_does_not(blobs):
    one, two, other = (kmeans(blobs[0], 30, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_an_empty_cluster_takes_far_points(generator):
    """All but two of a hundred points are one; whichever are chosen, most of five centres start there."""
    points = torch.zeros(100, 2)
    points[3], points[7] = torch.tensor([5.0, 0.0]), torch.tensor([0.0, 4.0])
    labels = kmeans(points, 5, 3, generator)
    assert len({int(labels[3]), int(labels[7]), int(labels[0])}) == 3
    assert torch.equal(torch.bincount(labels).sort().values[-3:], torch.tensor([1, 1, 98]))


# Agreement


@pytest.mark.parametrize("clusters", [2, 7, 40])
def test_agreement_and_entropy_are_scikit_learns(clusters, generator):
    first = torch.randint(clusters, (N,), generator=generator)
    second = torch.where(
        torch.rand(N, generator=generator) < 0.4, torch.randint(clusters, (N,), generator=generator), first
    )
    found = mutual_information(first, second, clusters)
    assert float(found) == pytest.approx(normalized_mutual_info_score(first, second), rel=1e-9)
    renamed = torch.randperm(clusters, generator=generator)[first]
    assert float(mutual_information(first, renamed, clusters)) == pytest.approx(1)
    assert float(mutual_information(first, torch.zeros_like(first), clusters)) == 0
    assert float(entropy(torch.full((clusters,), 3))) == pytest.approx(torch.tensor(clusters).log().item())
    assert float(entropy(torch.tensor([0, 4, 0]))) == 0
