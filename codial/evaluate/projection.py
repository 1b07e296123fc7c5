"""Maps of features in the plane."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.features import features, taps, trunk_of
from codial.evaluate.retrieval import nearest
from codial.models import Trunk
from codial.runs import Run


@dataclass(frozen=True)
class LayerMap:
    """A layer's features in the plane."""

    points: Tensor  # [N, 2] float32
    trustworthiness: float  # in [0, 1]: how far neighbours in the map are neighbours in feature space
    nearest: Tensor  # [N, k] int64: each picture's neighbours in feature space by cosine, nearest first, without itself
    similarity: Tensor  # [N, k] float32: their cosines


_SKETCH = 64  # numbers that stand for a layer in the common layout; their cosines are the layer's, give or take 0.1


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
        found[layer] = map_features(vectors, neighbours=neighbours, min_dist=min_dist, seed=seed)
    return found


def map_aligned(
    sources: Mapping[str, Run | Trunk],
    images: Pictures,
    layers: Iterable[str],
    *,
    neighbours: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, dict[str, LayerMap]]:
    """Map pictures by several trunks' layers so that a picture keeps its place as far as the features let it.

    All maps start from one layout, a UMAP of all the features together; each is then settled by its own neighbourhoods
    with small steps, and turned onto the layout. So what moves from map to map was moved by the features: maps made
    each on its own differ by a turn, a mirror and the draw, too. (AlignedUMAP ties points of maps that stand next
    to each other only, and is slow to compile.) Distances are in units of a map's own spread: the root
    mean square of the points' distances from the middle, (0, 0), is 1.

    Args:
        sources: runs or trunks by name, such as those of a run's epochs.
        images: the pictures; every layer's features of them are held at once.
        layers: names of taps.
        neighbours: as in `project`.
        min_dist: as in `project`.
        seed: of the layouts.
        progress: show a bar when it takes over two seconds.
        device: of runs' trunks; "auto" is a GPU when there is one.

    Returns:
        The maps by source, then by layer.

    Raises:
        CodialError: as `project`, or there is nothing to map.
    """
    names = list(layers)
    vectors = {name: _vectors(source, images, names, device) for name, source in sources.items()}
    every = [each for of_source in vectors.values() for each in of_source.values()]
    if not every:
        raise CodialError(f"There is nothing to map: sources are {list(sources)}, layers are {names}.")
    common = _lying(_settled(project(_sketch(every, seed), neighbours=neighbours, min_dist=min_dist, seed=seed)))
    bar = tqdm(total=len(every), desc="maps", delay=2, disable=not progress, leave=False)
    found: dict[str, dict[str, LayerMap]] = {name: {} for name in vectors}
    with bar:
        for name, layer in product(vectors, names):
            found[name][layer] = map_features(
                vectors[name][layer], neighbours=neighbours, min_dist=min_dist, seed=seed, start=common
            )
            bar.update()
    return found


def _vectors(source: Run | Trunk, images: Pictures, layers: list[str], device: str) -> dict[str, Tensor]:
    found = taps(source, images, layers, progress=False, device=device)
    return {layer: each.flatten(1).cpu() for layer, each in found.items()}


def _sketch(vectors: Iterable[Tensor], seed: int) -> Tensor:
    """Return few numbers a picture whose cosines are about the mean of all layers': random projections, side by side.

    By the lemma of Johnson and Lindenstrauss; every layer has the same weight.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = (normalize(x, dim=1) @ torch.randn(x.shape[1], _SKETCH, generator=generator) for x in vectors)
    return torch.cat(list(drawn), dim=1)


def _settled(points: Tensor) -> Tensor:
    """Move points so that their middle is 0, and scale them so that their mean square is 1."""
    points = points - points.mean(0)
    return points / points.square().sum(1).mean().sqrt().clamp_min(1e-12)


def _lying(points: Tensor) -> Tensor:
    """Turn points whose middle is 0 so that they spread across more than up."""
    return points @ torch.linalg.svd(points, full_matrices=False).Vh.T


def _turned(points: Tensor, onto: Tensor) -> Tensor:
    """Turn and mirror points so that they come nearest to others in the sum of squares (Schönemann, 1966)."""
    left, _, right = torch.linalg.svd(points.T @ onto)
    return points @ (left @ right)


def map_features(
    features: Tensor, *, neighbours: int = 15, min_dist: float = 0.1, seed: int = 0, start: Tensor | None = None
) -> LayerMap:
    """Map features, measure the map, and find each picture's neighbours; arguments and errors are those of `project`.

    With a `start`, the map is settled as there and turned onto it.
    """
    points = project(features, neighbours=neighbours, min_dist=min_dist, seed=seed, start=start)
    if start is not None:
        points = _turned(_settled(points), start)
    return LayerMap(points, trustworthiness(features, points, neighbours), *_others(features, neighbours))


def _others(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return indices and cosines, [N, k] each, of the nearest vectors to each, itself left out."""
    similarity, indices = nearest(features, features, k + 1)
    itself = indices == torch.arange(len(features)).unsqueeze(1)
    kept = itself.int().argsort(dim=1, stable=True)[:, :k]  # of more than k equal ones, it may not be among them
    return indices.gather(1, kept), similarity.gather(1, kept)


def project(
    features: Tensor, *, neighbours: int = 15, min_dist: float = 0.1, seed: int = 0, start: Tensor | None = None
) -> Tensor:
    """Return a UMAP of features by cosine similarity; the same seed gives the same map on the same machine.

    Args:
        features: [N, F] float.
        neighbours: how many pictures UMAP takes for a neighbourhood: small shows detail, large shows the whole.
        min_dist: how close points may lie, in the map's own unit.
        seed: of the layout.
        start: [N, 2] where the points begin; they then take small steps, and stay near as far as the features let them.
            None leaves the beginning to UMAP.

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
    begun = {} if start is None else {"init": start.numpy(), "n_epochs": 200, "learning_rate": 0.1}
    with warnings.catch_warnings(), _threads_kept():
        warnings.simplefilter("ignore")  # it tells that a seed rules out threads
        mapped = UMAP(n_neighbors=neighbours, min_dist=min_dist, random_state=seed, **begun).fit_transform(unit)
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
