"""Nearest-neighbor retrieval by cosine similarity, as in the paper's Figure 4."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codial.data import Dataset
from codial.data.base import stratified_indices
from codial.errors import CodialError
from codial.evaluate.copies import copies_text
from codial.evaluate.features import backbone_of, features, require_finite
from codial.models import Backbone
from codial.models.collapse import collapse_text, feature_std
from codial.runs.reports import write_report
from codial.runs.run import Run

MIN_CONTRAST = 25  # standard deviation of an image's gray levels, of 0 to 255, from which on a figure shows it
_CANDIDATES = 16  # images that are looked at for each one that is shown


@dataclass(frozen=True)
class RetrievalResult:
    """The nearest neighbors of each query, nearest first.

    Attributes:
        indices: [Q, k] int64, indices into the gallery.
        similarity: [Q, k] float32, cosine similarities.
        relevant: [Q, k] bool, whether a neighbor has the query's label; False where either is unlabeled.
        labeled: [Q] bool, queries that precision is computed over: those with a label, if the gallery is labeled.
        layer: layer whose activations were compared.
        feature_std: `codial.models.collapse.feature_std` of the gallery; NaN if it was not computed.
    """

    indices: Tensor
    similarity: Tensor
    relevant: Tensor
    labeled: Tensor
    layer: str = ""
    feature_std: float = math.nan

    def subset(self, indices: Sequence[int]) -> "RetrievalResult":
        """Return the result of some of the queries."""
        rows = list(indices)
        parts = {name: getattr(self, name)[rows] for name in ("indices", "similarity", "relevant", "labeled")}
        return replace(self, **parts)

    @property
    def precision(self) -> float:
        """Precision at k in percent: the share of labeled queries' neighbors that are relevant; NaN without any."""
        return 100 * float(self.relevant[self.labeled].float().mean())

    @property
    def collapse(self) -> str:
        """What to call a layer with nearly the same features for all images, with the criterion; otherwise ""."""
        return collapse_text(self.feature_std)


def retrieve(
    source: Run | Backbone,
    gallery: Dataset,
    queries: Dataset,
    k: int = 7,
    layer: str = "",
    *,
    progress: bool = True,
    device: str = "auto",
) -> RetrievalResult:
    """Retrieve each query's nearest images from a gallery; a run's precision is also saved in its `evaluations` folder.

    If queries and gallery are the same images, each query is left out of its own neighbors. Precision is computed only
    if the gallery is completely labeled, so that no report is of an unlabeled split.

    Args:
        source: a run or a backbone.
        gallery: images to retrieve from.
        queries: query images.
        k: number of neighbors, from 1 to `max_k(gallery, queries)`.
        layer: layer whose activations are compared; the last by default, as in the paper.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: k is out of range, or gallery and queries have different classes.
    """
    if gallery.classes and queries.classes and gallery.classes != queries.classes:
        raise CodialError(
            f"The classes differ: {gallery.classes} in {gallery.name}, {queries.classes} in {queries.name}."
        )
    most = max_k(gallery, queries)
    if not 1 <= k <= most:
        without = "" if most == len(gallery) else " without the query"
        raise CodialError(f"k is {k}; expected 1 to {most}, the size of the gallery{without}.")
    backbone = backbone_of(source, device)
    layer = layer or backbone.layers[-1]
    vectors = features(backbone, gallery, layer, progress=progress)
    if are_same(gallery, queries):
        similarity, indices = nearest_others(vectors, k)
    else:
        if text := copies_text(queries, gallery):
            warnings.warn(f"{text}: each of them can find itself.", stacklevel=2)
        similarity, indices = nearest(vectors, features(backbone, queries, layer, progress=progress), k)
    labels = queries.labels.unsqueeze(1)
    relevant = (labels == gallery.labels[indices]) & (labels >= 0)
    labeled = (queries.labels >= 0) & gallery.labeled
    result = RetrievalResult(indices, similarity, relevant, labeled, layer, feature_std(vectors))
    if bool(labeled.any()) and len(torch.cat((gallery.labels, queries.labels[labeled])).unique()) == 1:
        warnings.warn("All images are of one class: the precision is 100 % for any features.", stacklevel=2)
    if isinstance(source, Run) and bool(result.labeled.any()):
        values = {"precision": result.precision, "k": k, "layer": layer}
        values |= {"gallery": gallery.describe(), "queries": queries.describe()}
        write_report(source, f"retrieval-{gallery.name}-{layer}", values)
    return result


def max_k(gallery: Dataset, queries: Dataset) -> int:
    """Return the largest number of neighbors of a query: the gallery's images, without the query if it is one."""
    return len(gallery) - are_same(gallery, queries)


def are_same(gallery: Dataset, queries: Dataset) -> bool:
    """Return whether gallery and queries are the same images with the same labels, in the same order."""
    return gallery is queries or (len(gallery) == len(queries) and gallery.fingerprint == queries.fingerprint)


def queries_to_show(queries: Dataset, count: int, seed: int = 0) -> list[int]:
    """Return indices of queries for a figure: a random sample, stratified by class, of images that show something.

    An image of plain sky or black space, whose gray levels have a standard deviation below `MIN_CONTRAST`, is replaced
    by one of its class with more contrast, if there is one among some candidates. Precision is that of all queries.

    Args:
        queries: the images.
        count: number of indices, at least 1.
        seed: seed of the sample, at least 0.

    Returns:
        min(count, len(queries)) indices, ascending.

    Raises:
        CodialError: count or seed is out of range.
    """
    labels = queries.labels
    candidates = stratified_indices(labels, _CANDIDATES * count, seed)
    contrast = queries.batch(candidates).float().mean(1).flatten(1).std(1)  # [n]
    clear = candidates[contrast >= MIN_CONTRAST].tolist()
    shown = stratified_indices(labels, count, seed).tolist()  # all among the candidates
    for position, index in enumerate(shown):
        if index not in clear:
            shown[position] = next((i for i in clear if labels[i] == labels[index] and i not in shown), index)
    return sorted(shown)


def nearest(gallery: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return similarity and index of each query's k nearest vectors by cosine; exact search, by FAISS if installed.

    Args:
        gallery: [N, F] float.
        queries: [Q, F] float.
        k: number of neighbors, at most N.

    Returns:
        Similarities [Q, k] float32 in descending order and indices [Q, k] int64, both on the CPU.

    Raises:
        CodialError: k is out of range, or a value is NaN or infinite.
    """
    if not 1 <= k <= len(gallery):
        raise CodialError(f"k is {k}; expected 1 to {len(gallery)}, the size of the gallery.")
    require_finite(gallery, "gallery")
    require_finite(queries, "queries")
    gallery = normalize(gallery.float(), dim=1).cpu()
    queries = normalize(queries.float(), dim=1).cpu()
    try:
        import faiss
    except ImportError:
        best = [(part @ gallery.T).topk(k) for part in queries.split(1024)]
        return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])
    # `knn` needs no index, which would copy the gallery.
    similarity, indices = faiss.knn(queries.numpy(), gallery.numpy(), k, metric=faiss.METRIC_INNER_PRODUCT)
    return torch.from_numpy(similarity), torch.from_numpy(indices)


def nearest_others(vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return similarity and index of each vector's k nearest others by cosine.

    Args:
        vectors: [N, F] float.
        k: number of neighbors, at most N - 1.

    Returns:
        As `nearest`.
    """
    similarity, indices = nearest(vectors, vectors, k + 1)
    itself = indices == torch.arange(len(vectors)).unsqueeze(1)
    kept = itself.int().argsort(dim=1, stable=True)[:, :k]  # a vector with more than k duplicates may be absent
    return similarity.gather(1, kept), indices.gather(1, kept)
