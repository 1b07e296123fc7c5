"""What several runs find for one picture, computed when it is first asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codial.data import Pictures
from codial.errors import CodialError
from codial.evaluate import Found, features, nearest
from codial.runs import Run, open_run


class Place(NamedTuple):
    """Where a picture is: in which set, "queries" or "gallery", and its number there."""

    where: str
    number: int


class Neighbours(NamedTuple):
    """What one run finds for one picture, nearest first."""

    indices: Tensor  # [k] int64, places in the gallery
    similarity: Tensor  # [k] float32, cosine
    related: Tensor  # [k] bool: same label as the query
    judged: bool  # whether the query and all of the gallery have labels

    @property
    def verdicts(self) -> list[str]:
        """For each neighbour "right" or "wrong"; "" where labels are missing."""
        return [("right" if each else "wrong") if self.judged else "" for each in self.related.tolist()]


class Search:
    """Neighbours by cosine of the runs' own features, of any layer; a layer's features are computed once and kept.

    Args:
        runs: by name.
        sets: "gallery", where to look, and perhaps "queries".
        say: told what takes a while.
    """

    def __init__(self, runs: Mapping[str, Run], sets: Mapping[str, Pictures], say: Callable[[str], None]) -> None:
        self.runs, self.sets, self.say = runs, sets, say
        self._features: dict[tuple[str, str, str], Tensor] = {}

    def neighbours(self, name: str, place: Place, layer: str, k: int) -> Neighbours:
        """Return what a run finds for a picture.

        Raises:
            CodialError: the run is gone or has no checkpoint, or there is no such picture.
        """
        pictures, gallery = self.sets[place.where], self.sets["gallery"]
        if not 0 <= place.number < len(pictures):
            raise CodialError(
                f"There is no picture {place.number} in {pictures.name}/{pictures.split}: it has {len(pictures)}."
            )
        kept, asked = self._vectors(name, "gallery", layer), self._vectors(name, place.where, layer)
        itself = place.number if place.where == "gallery" else -1
        similarity, indices = nearest(kept, asked[place.number : place.number + 1], min(k + 1, len(gallery)))
        others = (indices[0] != itself).nonzero()[:k, 0]
        indices, similarity = indices[0, others], similarity[0, others]
        label = pictures.labels[place.number]
        judged = bool(label >= 0) and gallery.labelled and pictures.classes == gallery.classes
        return Neighbours(indices, similarity, gallery.labels[indices] == label, judged)

    def _vectors(self, name: str, where: str, layer: str) -> Tensor:
        key = (name, where, layer)
        if key not in self._features:
            self.say(f"Computing {layer} of {name} ...")
            run = open_run(self.runs[name].folder)  # it may be gone by now
            self._features[key] = features(run, self.sets[where], layer, progress=False).cpu()
        return self._features[key]


def stacked(found: Sequence[Neighbours]) -> Found:
    """Return several queries' neighbours as one; a query out of a small gallery may have one less."""
    k = min(len(each.indices) for each in found)
    indices = torch.stack([each.indices[:k] for each in found])
    similarity = torch.stack([each.similarity[:k] for each in found])
    related = torch.stack([each.related[:k] for each in found])
    return Found(indices, similarity, related, torch.tensor([each.judged for each in found]))
