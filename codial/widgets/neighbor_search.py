"""Nearest neighbors of single images by several runs, with features computed on first use."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codial.data import Dataset
from codial.errors import CodialError
from codial.evaluate import RetrievalResult, features, nearest
from codial.models.collapse import feature_std
from codial.runs.run import Run, open_run


class Query(NamedTuple):
    """A query image: its source, "queries" or "gallery", and its number there."""

    source: str
    number: int


class Neighbors(NamedTuple):
    """The nearest neighbors of one image by one run, nearest first."""

    indices: Tensor  # [k] int64, indices into the gallery
    similarity: Tensor  # [k] float32, cosine similarities
    relevant: Tensor  # [k] bool, whether a neighbor has the query's label
    labeled: bool  # whether the query and all of the gallery have labels
    feature_std: float  # of the gallery, see `codial.models.collapse`

    @property
    def outcomes(self) -> list[str]:
        """The outcome of each neighbor: "right", "wrong", or "" if labels are missing."""
        return [("right" if each else "wrong") if self.labeled else "" for each in self.relevant.tolist()]


class NeighborSearch:
    """Neighbors by the cosine similarity of runs' features; the features of a layer are computed once.

    Args:
        runs: Runs by name.
        datasets: The "gallery" to search, and optionally "queries".
        log: Called with a message before a computation that takes a while.
    """

    def __init__(self, runs: Mapping[str, Run], datasets: Mapping[str, Dataset], log: Callable[[str], None]) -> None:
        self.runs = runs
        self.datasets = datasets
        self.log = log
        self._features: dict[tuple[str, str, str], Tensor] = {}
        self._std: dict[tuple[str, str], float] = {}

    def neighbors(self, name: str, query: Query, layer: str, k: int) -> Neighbors:
        """Return an image's k nearest neighbors by a layer of a run, "" for the last.

        An image of the gallery is not its own neighbor.

        Raises:
            CodialError: The run was deleted or has no checkpoint, or there is no such image.
        """
        images, gallery = self.datasets[query.source], self.datasets["gallery"]
        if not 0 <= query.number < len(images):
            raise CodialError(
                f"There is no image {query.number} in {images.name}/{images.split}; expected 0 to {len(images) - 1}."
            )
        gallery_features = self._layer_features(name, "gallery", layer)
        query_features = self._layer_features(name, query.source, layer)[query.number : query.number + 1]
        similarity, indices = nearest(gallery_features, query_features, min(k + 1, len(gallery)))
        self_index = query.number if query.source == "gallery" else -1
        others = (indices[0] != self_index).nonzero()[:k, 0]
        indices, similarity = indices[0, others], similarity[0, others]
        label = images.labels[query.number]
        labeled = bool(label >= 0) and gallery.labeled and images.classes == gallery.classes
        if (name, layer) not in self._std:
            self._std[name, layer] = feature_std(gallery_features)
        return Neighbors(indices, similarity, gallery.labels[indices] == label, labeled, self._std[name, layer])

    def _layer_features(self, name: str, source: str, layer: str) -> Tensor:
        key = (name, source, layer)
        if key not in self._features:
            self.log(f"Computing {layer or 'the last layer'} of {name} ...")
            run = open_run(self.runs[name].folder)  # raises if it was deleted
            self._features[key] = features(run, self.datasets[source], layer, progress=False).cpu()
        return self._features[key]


def stack_neighbors(neighbors: Sequence[Neighbors]) -> RetrievalResult:
    """Stack the neighbors of several queries; all are cut to the smallest number, as small galleries give fewer."""
    k = min(len(each.indices) for each in neighbors)
    indices = torch.stack([each.indices[:k] for each in neighbors])
    similarity = torch.stack([each.similarity[:k] for each in neighbors])
    relevant = torch.stack([each.relevant[:k] for each in neighbors])
    labeled = torch.tensor([each.labeled for each in neighbors])
    return RetrievalResult(indices, similarity, relevant, labeled, feature_std=neighbors[0].feature_std)
