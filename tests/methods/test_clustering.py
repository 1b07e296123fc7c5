import faiss
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import normalize

from codial.methods.clustering import entropy, kmeans, normalized_mutual_information, whiten

N = 5000  # more than are processed at a time


@pytest.fixture(scope="module")
def blobs(seed):
    points, labels = make_blobs(N, 6, centers=9, cluster_std=0.7, random_state=seed % 1000)
    return torch.from_numpy(points).float(), torch.from_numpy(labels)


# Whitening


@pytest.mark.parametrize("dims", [1, 3, 6])
def test_whitening_equals_scikit_learns_up_to_signs(dims, blobs):
    points = 1e-4 * (blobs[0] @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1)) + 50)
    expected = torch.from_numpy(PCA(dims, whiten=True, svd_solver="full").fit_transform(points.double().numpy()))
    whitened = whiten(points, dims)
    assert whitened.shape == (N, dims)
    signs = (whitened * expected).sum(0).sign()
    # Scikit-learn divides by N - 1. The mean is fifty times the standard deviation, so that float32 leaves 1e-3.
    torch.testing.assert_close(whitened, (expected * signs * (N / (N - 1)) ** 0.5).float(), atol=1e-3, rtol=1e-3)


def test_components_of_rounding_errors_are_dropped(generator):
    points = torch.randn(50, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    whitened = whiten(points, 10)
    assert whitened.shape == (50, 3)
    torch.testing.assert_close(whitened.T @ whitened / 50, torch.eye(3), atol=1e-4, rtol=0)
    assert whiten(torch.randn(5, 20, generator=generator), 10).shape == (5, 4), "five images span four dimensions"
    assert whiten(torch.ones(5, 20), 10).isfinite().all()


# k-means


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_kmeans_equals_scikit_learns_from_the_same_centers(steps, blobs, seed):
    points = blobs[0]
    start = points[torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:9]].numpy()
    reference = KMeans(9, init=start, n_init=1, max_iter=steps, tol=0, algorithm="lloyd").fit(points.numpy())
    labels = kmeans(points, 9, steps, torch.Generator().manual_seed(seed))
    assert torch.equal(labels, torch.from_numpy(reference.labels_).long())


def within(points, labels):
    """Return the mean squared distance from the means of the clusters."""
    clusters = [points[labels == c] for c in labels.unique()]
    return sum((cluster - cluster.mean(0)).square().sum() for cluster in clusters) / len(points)


def test_clusters_of_images_are_as_tight_as_those_of_faiss(photos, seed):
    points = normalize(whiten(photos["train"].images[:, :, ::4, ::4].flatten(1).float(), 32), dim=1)
    other = faiss.Kmeans(32, 20, niter=20, seed=1, min_points_per_centroid=1)
    other.train(points.numpy())
    theirs = torch.from_numpy(other.index.search(points.numpy(), 1)[1][:, 0])
    ours = kmeans(points, 20, 20, torch.Generator().manual_seed(seed))
    assert within(points, ours) < 1.05 * within(points, theirs)


def test_clusters_depend_on_the_seed(blobs):
    one, two, other = (kmeans(blobs[0], 30, 5, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_an_empty_cluster_gets_far_points(generator):
    """All but two of a hundred points are equal, so that most of the five initial centers are equal."""
    points = torch.zeros(100, 2)
    points[3], points[7] = torch.tensor([5.0, 0.0]), torch.tensor([0.0, 4.0])
    labels = kmeans(points, 5, 3, generator)
    assert len({int(labels[3]), int(labels[7]), int(labels[0])}) == 3
    assert torch.equal(torch.bincount(labels).sort().values[-3:], torch.tensor([1, 1, 98]))


# Agreement of clusterings


@pytest.mark.parametrize("clusters", [2, 7, 40])
def test_normalized_mutual_information_equals_scikit_learns(clusters, generator):
    first = torch.randint(clusters, (N,), generator=generator)
    second = torch.where(
        torch.rand(N, generator=generator) < 0.4, torch.randint(clusters, (N,), generator=generator), first
    )
    nmi = normalized_mutual_information(first, second, clusters)
    assert float(nmi) == pytest.approx(normalized_mutual_info_score(first, second), rel=1e-9)
    permuted = torch.randperm(clusters, generator=generator)[first]
    assert float(normalized_mutual_information(first, permuted, clusters)) == pytest.approx(1)
    assert float(normalized_mutual_information(first, torch.zeros_like(first), clusters)) == 0
    assert float(entropy(torch.full((clusters,), 3))) == pytest.approx(torch.tensor(clusters).log().item())
    assert float(entropy(torch.tensor([0, 4, 0]))) == 0
