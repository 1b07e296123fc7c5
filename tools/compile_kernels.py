"""Compile what numba compiles, once for an environment: the rendering of views, and UMAP.

    python -m tools.compile_kernels

The machine code is cached on disk, so that the first notebook does not wait for it. Nothing depends on this: what is
not cached is compiled on first use.
"""

import torch

import codial

IMAGES = 40


def main() -> None:
    """Render some views and map some features."""
    images = codial.load_images("photos", "test", limit=IMAGES).batch(range(IMAGES))
    codial.sample_views(images, codial.preset("codial/photos").views, torch.Generator().manual_seed(0))
    codial.project(images.flatten(1).float())


if __name__ == "__main__":
    main()
