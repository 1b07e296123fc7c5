"""Maps of features in the plane."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.features import features, trunk_of
from codial.models import Trunk
from codial.runs import Run


@dataclass(frozen=True)
class LayerMap:
    """A layer's features in the plane."""

    points: Tensor  # [N, 2] float32
    trustworthiness: float  # in [0, 1]: how far neighbours in the map are neighbours in feature space


def map_layers(
    source: Run | Trunk,
    images: Pictures,
    layers: Iterable[str],
    *,
    neighbours: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, LayerMap]:
    """Map pictures by a frozen trunk's layers, each on its own.

    Args:
        source: a run or a trunk.
        images: the pictures.
        layers: names of taps.
        neighbours: as in `project`; trustworthiness is measured with as many.
        min_dist: as in `project`.
        seed: of the layouts.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: as `project`.
    """
    trunk, found = trunk_of(source, device), {}
    for layer in tqdm(list(layers), desc="maps", delay=2, disable=not progress, leave=False):
        vectors = features(trunk, images, layer, progress=False).cpu()
        points = project(vectors, neighbours=neighbours, min_dist=min_dist, seed=seed)
        found[layer] = LayerMap(points, trustworthiness(vectors, points, neighbours))
    return found


def project(features: Tensor, *, neighbours: int = 15, min_dist: float = 0.1, seed: int = 0) -> Tensor:
    """Return a UMAP of features by cosine similarity; the same seed gives the same map on the same machine.

    Args:
        features: [N, F] float.
        neighbours: how many pictures UMAP takes for a neighbourhood: small shows detail, large shows the whole.
        min_dist: how close points may lie, in the map's own unit.
        seed: of the layout.

    Returns:
        [N, 2] float32.

    Raises:
        CodialError: umap-learn is not installed, or there are too few pictures.
    """
    if len(features) <= neighbours:
        raise CodialError(f"There are {len(features)} features; a map with {neighbours} neighbours needs more.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ImportError as error:
        raise CodialError("Maps need umap-learn: pip install umap-learn.") from error
    # On unit vectors Euclidean order is cosine order.
    unit = normalize(features.float(), dim=1).cpu().numpy()
    with warnings.catch_warnings(), _threads_kept():
        warnings.simplefilter("ignore")  # it tells that a seed rules out threads
        mapped = UMAP(n_neighbors=neighbours, min_dist=min_dist, random_state=seed).fit_transform(unit)
    return torch.from_numpy(mapped).float()


@contextmanager
def _threads_kept() -> Iterator[None]:
    """Give torch its number of threads back: numba, on which UMAP runs, sets OpenMP's for the whole process.

    Training that goes on afterwards would add in another order and end in slightly other numbers.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trustworthiness(features: Tensor, mapped: Tensor, neighbours: int = 15) -> float:
    """Return how far neighbours in a map are neighbours in feature space, in [0, 1] (Venna and Kaski, 2001).

    Raises:
        CodialError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import trustworthiness as measure
    except ImportError as error:
        raise CodialError("Trustworthiness needs scikit-learn: pip install scikit-learn.") from error
    unit = normalize(features.float(), dim=1).cpu().numpy()
    return float(measure(unit, mapped.numpy(), n_neighbors=neighbours))


def agreement(points: Tensor, labels: Tensor, neighbours: int = 15) -> float:
    """Return how many of each point's nearest points share its label, in percent, the mean over labelled points.

    It is not a number (nan) when no more points are labelled than are to be looked at.

    Args:
        points: [N, F] float, such as a map's.
        labels: [N] int64, -1 where unknown; those points are left out.
        neighbours: points to look at.
    """
    points, labels = points[labels >= 0], labels[labels >= 0]
    if len(points) <= neighbours:
        return math.nan
    apart = torch.cdist(points, points).fill_diagonal_(torch.inf)  # [N, N]; no point is its own neighbour
    near = apart.topk(neighbours, largest=False).indices  # [N, neighbours]
    return 100 * float((labels[near] == labels.unsqueeze(1)).float().mean())
