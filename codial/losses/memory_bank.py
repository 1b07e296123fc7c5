"""Instance discrimination with a memory bank (Wu et al., CVPR 2018, arXiv 1805.01978)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, softplus

from codial.utils.distributed import ProcessGroup


class MemoryBank(nn.Module):
    """One vector for each of N images: the normalized running mean of the embeddings of its views.

    Args:
        images: N, number of images.
        dims: D, dimensions of a vector.
        momentum: weight of the old vector in an update, in [0, 1).

    Attributes:
        memory: vectors, [N, D] float32, uniform at first with length 1 on average.
        constant: Z, normalizing constant of `nce`, scalar float32; 0 until the first batch.

    Example:
        >>> import torch
        >>> from torch.nn.functional import normalize
        >>> from codial.losses import MemoryBank
        >>> from codial.utils.distributed import ProcessGroup
        >>> bank = MemoryBank(images=100, dims=16, momentum=0.5)
        >>> embeddings, indices = normalize(torch.randn(8, 16)), torch.arange(8)
        >>> negatives = torch.randint(100, (8, 32))
        >>> scores = bank.scores(embeddings, torch.cat((indices[:, None], negatives), 1), temperature=0.2)
        >>> scores.shape
        torch.Size([8, 33])
        >>> loss = bank.nce(scores, ProcessGroup())  # or bank.infonce(scores)
        >>> bank.update(indices, embeddings, ProcessGroup())
    """

    memory: Tensor
    constant: Tensor

    def __init__(self, images: int, dims: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        limit = (3 / dims) ** 0.5  # vectors of length 1 on average
        self.register_buffer("memory", torch.empty(images, dims).uniform_(-limit, limit))
        self.register_buffer("constant", torch.zeros(()))

    def scores(self, vectors: Tensor, indices: Tensor, temperature: float) -> Tensor:
        """Compute the similarities of embeddings to vectors of the bank.

        Args:
            vectors: embeddings, [B, D] float, of length 1.
            indices: images to compare each embedding with, [B, M] int64.
            temperature: T, divides the dot products.

        Returns:
            [B, M] float32.
        """
        with torch.autocast(vectors.device.type, enabled=False):
            # One product with the complete bank, then gather: moves less memory than a copy of every indexed vector.
            return (vectors.float() @ self.memory.T / temperature).gather(1, indices)

    def nce(self, scores: Tensor, processes: ProcessGroup) -> Tensor:
        """Compute the noise-contrastive loss of each image against K uniformly sampled negatives (equations 5 to 8).

        A binary classifier compares P = exp(score) / Z with the rate of the negatives, K / N: its logit is
        ln P - ln(K / N). The first batch sets Z, once and for all, to N times the mean of exp(score).

        Args:
            scores: [B, 1 + K] float32, the positive first.
            processes: the processes that share the batch.

        Returns:
            Scalar, nats; summed over positive and negatives, averaged over images.
        """
        with torch.no_grad():
            estimate = len(self.memory) * processes.mean(scores.exp().mean())
            self.constant = torch.where(self.constant > 0, self.constant, estimate)
        logits = scores - self.constant.log() - math.log((scores.shape[1] - 1) / len(self.memory))
        return (softplus(-logits[:, 0]) + softplus(logits[:, 1:]).sum(1)).mean()

    @staticmethod
    def infonce(scores: Tensor) -> Tensor:
        """Compute the InfoNCE loss: cross-entropy of the positive, the first of the scores [B, 1 + K]; nats."""
        return cross_entropy(scores, scores.new_zeros(len(scores), dtype=torch.int64))

    @torch.no_grad()
    def update(self, indices: Tensor, vectors: Tensor, processes: ProcessGroup) -> None:
        """Move vectors of the bank towards new embeddings, those of all processes.

        `memory` becomes a new tensor, because gradients still need the old one.

        Args:
            indices: images, [B] int64.
            vectors: their embeddings, [B, D] float.
            processes: the processes that share the batch.
        """
        indices = processes.gather(indices)
        vectors = processes.gather(vectors.float())
        updated = normalize(self.momentum * self.memory[indices] + (1 - self.momentum) * vectors)
        self.memory = self.memory.index_copy(0, indices, updated)
