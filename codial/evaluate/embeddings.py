"""Maps of a network's layers: two-dimensional UMAP embeddings of their features, and how far to trust them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import backbone_of, features, layer_features
from codial.evaluate.retrieval import nearest_others
from codial.evaluate.umap_layout import possible_neighbors, project
from codial.models import Backbone
from codial.models.collapse import collapse_text, feature_std
from codial.runs.run import Run
from codial.utils.progress import progress_bar


@dataclass(frozen=True)
class LayerMap:
    """A layer's features embedded in the plane.

    Attributes:
        points: [N, 2] float32.
        trustworthiness: in [0, 1], how far neighbors in the map are neighbors in feature space.
        nearest: [N, k] int64, each image's nearest neighbors in feature space by cosine, without itself.
        similarity: [N, k] float32, their cosine similarities.
        feature_std: `codial.models.collapse.feature_std` of the features; NaN if it was not computed.
    """

    points: Tensor
    trustworthiness: float
    nearest: Tensor
    similarity: Tensor
    feature_std: float = math.nan

    @property
    def collapse(self) -> str:
        """What to call a layer with nearly the same features for all images, with the criterion; otherwise ""."""
        return collapse_text(self.feature_std)


MAX_EXACT = 10_000  # images up to which trustworthiness uses all; its time and memory grow with their square
_CHUNK = 1024  # points whose distances to all others are kept in memory at once
_SKETCH_DIMS = 64  # random projections of a layer in the shared layout; they keep its cosines to about 0.1


def map_layers(
    source: Run | Backbone,
    images: Dataset,
    layers: Iterable[str],
    *,
    neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, LayerMap]:
    """Map images by each of a frozen backbone's layers, independently.

    Args:
        source: a run or a backbone.
        images: the images.
        layers: names of layers.
        neighbors: as in `project`; also the number of neighbors that trustworthiness considers.
        min_dist: as in `project`.
        seed: seed of the layouts.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: as `project`.
    """
    backbone = backbone_of(source, device)
    maps = {}
    for layer in progress_bar(list(layers), desc="maps", show=progress):
        vectors = features(backbone, images, layer, progress=False).cpu()
        maps[layer] = map_features(vectors, neighbors=neighbors, min_dist=min_dist, seed=seed)
    return maps


def map_aligned(
    sources: Mapping[str, Run | Backbone],
    images: Dataset,
    layers: Iterable[str],
    *,
    neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    progress: bool = True,
    device: str = "auto",
) -> dict[str, dict[str, LayerMap]]:
    """Map images by several backbones' layers so that an image has a similar position in all maps.

    All maps start from one shared layout, a UMAP of all features together. Each map is then optimized for its own
    features with a small learning rate, and rotated onto the shared layout. Independent maps would also differ by
    rotation, reflection and initialization. (AlignedUMAP only ties consecutive maps, and is slow to compile.) Maps
    are centered at (0, 0) and scaled to a root mean square distance of 1 from it.

    Args:
        sources: runs or backbones by name, such as the epochs of a run.
        images: the images; the features of all sources and layers are kept in memory at once.
        layers: names of layers.
        neighbors: as in `project`.
        min_dist: as in `project`.
        seed: seed of the layouts.
        progress: show a progress bar after two seconds.
        device: device of runs' backbones; "auto" is a GPU if there is one.

    Returns:
        The maps by source, then by layer.

    Raises:
        CodialError: as `project`, or there are no sources or layers.
    """
    names = list(layers)
    vectors = {name: _vectors(source, images, names, device) for name, source in sources.items()}
    all_vectors = [x for by_layer in vectors.values() for x in by_layer.values()]
    if not all_vectors:
        raise CodialError(f"sources are {list(sources)}, layers are {names}; expected at least one of each.")
    layout = project(_sketch(all_vectors, seed), neighbors=neighbors, min_dist=min_dist, seed=seed)
    layout = _to_principal_axes(_standardize(layout))
    bar = progress_bar(total=len(all_vectors), desc="maps", show=progress)
    maps: dict[str, dict[str, LayerMap]] = {name: {} for name in vectors}
    with bar:
        for name, layer in product(vectors, names):
            maps[name][layer] = map_features(
                vectors[name][layer], neighbors=neighbors, min_dist=min_dist, seed=seed, start=layout
            )
            bar.update()
    return maps


def _vectors(source: Run | Backbone, images: Dataset, layers: list[str], device: str) -> dict[str, Tensor]:
    activations = layer_features(source, images, layers, progress=False, device=device)
    return {layer: x.flatten(1).cpu() for layer, x in activations.items()}


def _sketch(vectors: Iterable[Tensor], seed: int) -> Tensor:
    """Concatenate random projections of all layers, whose cosines approximate the mean of the layers' cosines.

    By the lemma of Johnson and Lindenstrauss; all layers have the same weight.
    """
    generator = torch.Generator().manual_seed(seed)
    projected = (normalize(x, dim=1) @ torch.randn(x.shape[1], _SKETCH_DIMS, generator=generator) for x in vectors)
    return torch.cat(list(projected), dim=1)


def _standardize(points: Tensor) -> Tensor:
    """Center points at 0, and scale them to a root mean square distance of 1 from it."""
    points = points - points.mean(0)
    return points / points.square().sum(1).mean().sqrt().clamp_min(1e-12)


def _to_principal_axes(points: Tensor) -> Tensor:
    """Rotate centered points so that their variance is largest along the first axis."""
    return points @ torch.linalg.svd(points, full_matrices=False).Vh.T


def _procrustes(points: Tensor, onto: Tensor) -> Tensor:
    """Rotate and reflect points onto others, least squares (orthogonal Procrustes problem, Schönemann 1966)."""
    left, _, right = torch.linalg.svd(points.T @ onto)
    return points @ (left @ right)


def map_features(
    features: Tensor, *, neighbors: int = 15, min_dist: float = 0.1, seed: int = 0, start: Tensor | None = None
) -> LayerMap:
    """Map features, compute the map's trustworthiness, and find each image's neighbors in feature space.

    Arguments and errors are those of `project`. With a `start`, the map is centered, scaled and rotated onto it.
    """
    neighbors = possible_neighbors(len(features), neighbors)
    points = project(features, neighbors=neighbors, min_dist=min_dist, seed=seed, start=start)
    if start is not None:
        points = _procrustes(_standardize(points), start)
    similarity, indices = nearest_others(features, neighbors)
    trusted = trustworthiness(features, points, neighbors)
    return LayerMap(points, trusted, indices, similarity, feature_std(features))


def trustworthiness(features: Tensor, mapped: Tensor, neighbors: int = 15) -> float:
    """Return the trustworthiness of a map, in [0, 1] (Venna and Kaski, 2001).

    It is defined for fewer neighbors than half of the images; more are reduced to that. Of more than `MAX_EXACT`
    images, it is that of a fixed random sample of so many, whose neighbors are those within the sample.

    Args:
        features: [N, F] float, N at least 3.
        mapped: [N, 2] float, the map.
        neighbors: number of neighbors in the map that are compared.

    Raises:
        CodialError: scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import trustworthiness as measure
    except ImportError as error:
        raise CodialError("Trustworthiness needs scikit-learn: pip install scikit-learn.") from error
    if len(features) > MAX_EXACT:
        sample = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:MAX_EXACT]
        features, mapped = features[sample], mapped[sample]
    unit = normalize(features.float(), dim=1).cpu().numpy()
    return float(measure(unit, mapped.numpy(), n_neighbors=min(neighbors, (len(unit) - 1) // 2)))


def agreement(points: Tensor, labels: Tensor, neighbors: int = 15) -> float:
    """Return the percentage of nearest neighbors with a point's label, averaged over points.

    Args:
        points: [N, F] float, such as the points of a map.
        labels: [N] int64; points with label -1 (unknown) are left out.
        neighbors: number of neighbors of each point.

    Returns:
        Percent in [0, 100]; NaN if no more than `neighbors` points are labeled.
    """
    labeled = labels >= 0
    points = points[labeled]
    labels = labels[labeled]
    if len(points) <= neighbors:
        return math.nan
    near = torch.cat([_nearest_points(points, rows, neighbors) for rows in torch.arange(len(points)).split(_CHUNK)])
    return 100 * float((labels[near] == labels.unsqueeze(1)).float().mean())


def _nearest_points(points: Tensor, rows: Tensor, count: int) -> Tensor:
    """Return the indices of the nearest other points of some, [len(rows), count] int64."""
    distances = torch.cdist(points[rows], points)  # [n, N]
    distances[torch.arange(len(rows)), rows] = torch.inf  # no point is its own neighbor
    return distances.topk(count, largest=False).indices
