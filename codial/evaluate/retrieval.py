"""Nearest-neighbor retrieval by cosine similarity, as in the paper's Figure 4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate.features import backbone_of, features
from codial.models import Backbone
from codial.runs.reports import write_report
from codial.runs.run import Run


@dataclass(frozen=True)
class RetrievalResult:
    """The nearest neighbors of each query, nearest first.

    Attributes:
        indices: [Q, k] int64, indices into the gallery.
        similarity: [Q, k] float32, cosine similarities.
        relevant: [Q, k] bool, whether a neighbor has the query's label; False where either is unlabeled.
        labeled: [Q] bool, queries that precision is computed over: those with a label, if the gallery is labeled.
        layer: layer whose activations were compared.
    """

    indices: Tensor
    similarity: Tensor
    relevant: Tensor
    labeled: Tensor
    layer: str = ""

    def subset(self, indices: Sequence[int]) -> "RetrievalResult":
        """Return the result of some of the queries."""
        rows = list(indices)
        relevant, labeled = self.relevant[rows], self.labeled[rows]
        return RetrievalResult(self.indices[rows], self.similarity[rows], relevant, labeled, self.layer)

    @property
    def precision(self) -> float:
        """Precision at k in percent: the share of labeled queries' neighbors that are relevant; NaN without any."""
        return 100 * float(self.relevant[self.labeled].float().mean())


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

    Precision is computed only if the gallery is completely labeled, so that no report is of an unlabeled split.

    Args:
        source: a run or a backbone.
        gallery: images to retrieve from.
        queries: query images; one that is also in the gallery retrieves itself.
        k: number of neighbors, at least 1.
        layer: layer whose activations are compared; the last by default, as in the paper.
        progress: show a progress bar after two seconds.
        device: device of a run's backbone; "auto" is a GPU if there is one.

    Raises:
        CodialError: k is not in [1, len(gallery)], or gallery and queries have different classes.
    """
    if gallery.classes and queries.classes and gallery.classes != queries.classes:
        raise CodialError(
            f"The classes differ: {gallery.classes} in {gallery.name}, {queries.classes} in {queries.name}."
        )
    if not 1 <= k <= len(gallery):
        raise CodialError(f"k is {k}; expected 1 to {len(gallery)}, the size of the gallery.")
    backbone = backbone_of(source, device)
    layer = layer or backbone.layers[-1]
    gallery_vectors = features(backbone, gallery, layer, progress=progress)
    query_vectors = features(backbone, queries, layer, progress=progress)
    similarity, indices = nearest(gallery_vectors, query_vectors, k)
    labels = queries.labels.unsqueeze(1)
    relevant = (labels == gallery.labels[indices]) & (labels >= 0)
    result = RetrievalResult(indices, similarity, relevant, (queries.labels >= 0) & gallery.labeled, layer)
    if isinstance(source, Run) and bool(result.labeled.any()):
        values = {"precision": result.precision, "k": k, "layer": layer}
        values |= {"gallery": gallery.describe(), "queries": queries.describe()}
        write_report(source, f"retrieval-{gallery.name}-{layer}", values)
    return result


def nearest(gallery: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return similarity and index of each query's k nearest vectors by cosine; exact search, by FAISS if installed.

    Args:
        gallery: [N, F] float.
        queries: [Q, F] float.
        k: number of neighbors, at most N.

    Returns:
        Similarities [Q, k] float32 in descending order and indices [Q, k] int64, both on the CPU.
    """
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
