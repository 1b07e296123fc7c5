"""Nearest neighbors by cosine similarity against a plain matrix product, on the same vectors."""

import torch
from torch.nn.functional import normalize

from benchmarks.clock import Measurement, rate
from codial.evaluate.retrieval import nearest

GALLERY, QUERIES, DIMENSIONS, NEIGHBORS = 50_000, 1000, 1024, 7


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return queries per second."""
    generator = torch.Generator().manual_seed(0)
    gallery, queries = (torch.randn(n, DIMENSIONS, generator=generator) for n in (GALLERY, QUERIES))

    def faiss() -> int:
        nearest(gallery, queries, NEIGHBORS)
        return QUERIES

    def matrix_product() -> int:
        product = normalize(queries, dim=1) @ normalize(gallery, dim=1).T
        product.topk(NEIGHBORS)
        return QUERIES

    case = f"{QUERIES} queries among {GALLERY}, {DIMENSIONS} numbers each"
    return {case: {"codial": rate(faiss), "matrix product": rate(matrix_product)}}
