"""Retrieval of an image's view by another view of it, which needs no labels."""

from dataclasses import replace

import torch
from torch import Tensor

from codial.config import ViewsConfig
from codial.data import Dataset
from codial.evaluate.features import BATCH, backbone_of, features
from codial.evaluate.retrieval import RetrievalResult, nearest
from codial.models import Backbone
from codial.runs.run import Run
from codial.transforms.sampler import sample_views


def retrieve_views(
    source: Run | Backbone,
    images: Dataset,
    views: ViewsConfig,
    *,
    limit: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> RetrievalResult:
    """Retrieve one upright view of each image by another one, among one view of every image.

    The result's `precision` is the percentage of images whose other view is the nearest; chance is 100 / N. It says
    whether features are specific to an image and invariant to crop and color, not whether they tell what it shows.

    Args:
        source: a run or a backbone.
        images: the images; labels are ignored.
        views: distributions of crop, flip, color and blur.
        limit: maximum number of images.
        seed: seed of the sample of images and of the views.
        device: device of a run's backbone; "auto" is a GPU if there is one.
    """
    images = images.subset(limit, seed)
    generator = torch.Generator().manual_seed(seed)
    upright = replace(views, primary=("rot0", "rot0"))
    batches = (images.batch(indices) for indices in torch.arange(len(images)).split(BATCH))
    pairs = torch.cat([_as_uint8(sample_views(batch, upright, generator).images) for batch in batches])
    backbone = backbone_of(source, device)
    gallery, queries = (features(backbone, pairs[:, k], progress=False) for k in range(2))
    similarity, indices = nearest(gallery, queries, 1)
    itself = indices == torch.arange(len(images)).unsqueeze(1)
    return RetrievalResult(indices, similarity, itself, torch.ones(len(images), dtype=torch.bool), backbone.layers[-1])


def _as_uint8(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)
