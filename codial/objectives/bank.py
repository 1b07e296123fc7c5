"""A memory of every picture, and the contrast of a picture with others in it (Wu et al., CVPR 2018)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, softplus

from codial.ranks import Ranks


class Bank(nn.Module):
    """One vector for each of N pictures: the normalised running mean of those that its views were given.

    Args:
        pictures: N.
        dims: D of a vector.
        momentum: part of a vector that stays when its picture is seen again.
    """

    memory: Tensor
    constant: Tensor

    def __init__(self, pictures: int, dims: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        reach = (3 / dims) ** 0.5  # vectors of length 1 on average
        self.register_buffer("memory", torch.empty(pictures, dims).uniform_(-reach, reach))  # [N, D]
        self.register_buffer("constant", torch.zeros(()))  # Z, 0 until the first batch

    def scores(self, vectors: Tensor, places: Tensor, temperature: float) -> Tensor:
        """Return the products of each vector [B, D] with the memory's at `places` [B, K], over T; [B, K] float32."""
        with torch.autocast(vectors.device.type, enabled=False):
            # With all of the memory, and then the places: less to move than a copy of each place's vector.
            return (vectors.float() @ self.memory.T / temperature).gather(1, places)

    def nce(self, scores: Tensor, ranks: Ranks) -> Tensor:
        """Return the loss of telling each picture's own place, the first, from K drawn ones.

        A classifier of two kinds weighs P = exp(score) / Z against K / N, the rate at which places are drawn; so its
        logit is ln P - ln(K / N). The first batch fixes Z for good, as N times the mean of exp(score).

        Args:
            scores: [B, 1 + K] float32.
            ranks: the processes that share the batch.
        """
        with torch.no_grad():
            found = len(self.memory) * ranks.mean(scores.exp().mean())
            self.constant = torch.where(self.constant > 0, self.constant, found)
        logits = scores - self.constant.log() - math.log((scores.shape[1] - 1) / len(self.memory))
        return (softplus(-logits[:, 0]) + softplus(logits[:, 1:]).sum(1)).mean()

    @staticmethod
    def infonce(scores: Tensor) -> Tensor:
        """Return the cross-entropy of the first of the scores [B, 1 + K] under their softmax."""
        return cross_entropy(scores, scores.new_zeros(len(scores), dtype=torch.int64))

    @torch.no_grad()
    def remember(self, places: Tensor, vectors: Tensor, ranks: Ranks) -> None:
        """Move the memory at `places` [B] towards vectors [B, D], of all processes.

        It is a new tensor afterwards, for gradients still need the old one.
        """
        places, vectors = ranks.gather(places), ranks.gather(vectors.float())
        moved = normalize(self.momentum * self.memory[places] + (1 - self.momentum) * vectors)
        self.memory = self.memory.index_copy(0, places, moved)
