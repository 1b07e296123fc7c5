"""Nearest neighbours by cosine similarity against a plain matrix product, on the same vectors."""

import torch
from torch.nn.functional import normalize

from benchmarks.clock import Measured, rate
from codial.evaluate.retrieval import nearest

GALLERY, QUERIES, DIMENSIONS, NEIGHBOURS = 50_000, 1000, 1024, 7


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return queries a second."""
    generator = torch.Generator().manual_seed(0)
    gallery, queries = (torch.randn(n, DIMENSIONS, generator=generator) for n in (GALLERY, QUERIES))

    def ours() -> int:
        nearest(gallery, queries, NEIGHBOURS)
        return QUERIES

    def plain() -> int:
        product = normalize(queries, dim=1) @ normalize(gallery, dim=1).T
        product.topk(NEIGHBOURS)
        return QUERIES

    case = f"{QUERIES} queries among {GALLERY}, {DIMENSIONS} numbers each"
    return {case: {"codial": rate(ours), "matrix product": rate(plain)}}
