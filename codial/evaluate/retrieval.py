"""Nearest neighbours by cosine similarity, the paper's Figure 4."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate.features import features, trunk_of
from codial.models import Trunk
from codial.results import write_report
from codial.runs import Run


@dataclass(frozen=True)
class Found:
    """The neighbours of each query, nearest first."""

    indices: Tensor  # [Q, k] int64, places in the gallery
    similarity: Tensor  # [Q, k] float32, cosine
    related: Tensor  # [Q, k] bool: same label as the query; False where either has none
    labelled: Tensor  # [Q] bool: queries that can be judged, for their label is known and so is all of the gallery's

    def only(self, places: Sequence[int]) -> "Found":
        """Return what was found for some of the queries."""
        rows = list(places)
        return Found(self.indices[rows], self.similarity[rows], self.related[rows], self.labelled[rows])

    @property
    def precision(self) -> float:
        """Precision at k in percent: the part of judged queries' neighbours that are related; nan without any."""
        return 100 * float(self.related[self.labelled].float().mean())


def retrieve(
    source: Run | Trunk,
    gallery: Pictures,
    queries: Pictures,
    k: int = 7,
    layer: str = "fc7",
    *,
    progress: bool = True,
    device: str = "auto",
) -> Found:
    """Find each query's nearest pictures in a gallery; a run's precision is also written to its `evaluations` folder.

    Precision is judged only where all of the gallery has labels: no unlabelled split gets into a report.

    Args:
        source: a run or a trunk.
        gallery: where to look.
        queries: what to look for; pictures that are in the gallery too find themselves.
        k: neighbours, 1 or more.
        layer: the tap whose activations are compared; the paper takes fc7.
        progress: show a bar when it takes over two seconds.
        device: of a run's trunk; "auto" is a GPU when there is one.

    Raises:
        CodialError: k is not in [1, len(gallery)], or both sets have labels, of different classes.
    """
    if gallery.classes and queries.classes and gallery.classes != queries.classes:
        raise CodialError(
            f"The classes differ: {gallery.classes} in {gallery.name}, {queries.classes} in {queries.name}."
        )
    if not 1 <= k <= len(gallery):
        raise CodialError(f"k is {k}; expected 1 to {len(gallery)}, the size of the gallery.")
    trunk = trunk_of(source, device)
    kept, asked = (features(trunk, images, layer, progress=progress) for images in (gallery, queries))
    similarity, indices = nearest(kept, asked, k)
    wanted, got = queries.labels.unsqueeze(1), gallery.labels[indices]
    judged = (queries.labels >= 0) & gallery.labelled
    found = Found(indices, similarity, (wanted == got) & (wanted >= 0), judged)
    if isinstance(source, Run) and bool(found.labelled.any()):
        values = {"precision": found.precision, "k": k, "layer": layer}
        values |= {"gallery": gallery.describe(), "queries": queries.describe()}
        write_report(source, f"retrieval-{gallery.name}-{layer}", values)
    return found


def nearest(gallery: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the cosine similarity and the index of each query's k nearest vectors, exact, with FAISS where installed.

    Args:
        gallery: [N, F] float.
        queries: [Q, F] float.
        k: neighbours, at most N.

    Returns:
        Similarities [Q, k] float32 in descending order and indices [Q, k] int64, both on the CPU.
    """
    kept, asked = (normalize(x.float(), dim=1).cpu() for x in (gallery, queries))
    try:
        import faiss
    except ImportError:
        best = [(part @ kept.T).topk(k) for part in asked.split(1024)]
        return torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])
    # An index would copy the gallery first.
    similarity, indices = faiss.knn(asked.numpy(), kept.numpy(), k, metric=faiss.METRIC_INNER_PRODUCT)
    return torch.from_numpy(similarity), torch.from_numpy(indices)
