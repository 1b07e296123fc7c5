"""The images that a method's networks get: the views, or what the method makes of them (patches, inpainted images)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codial import methods
from codial.config import Config
from codial.data import Dataset
from codial.methods import Batch, Method
from codial.runs.checkpoints import load_strict, read_tensors
from codial.runs.run import Run
from codial.transforms import plain_view, sample_views
from codial.utils.batch_generator import BatchGenerator


@torch.no_grad()
def method_inputs(source: Run | Config, images: Dataset, indices: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """Return the input images of a method by name, the untransformed images first as "image".

    Args:
        source: a run, whose trained networks inpaint or repair, or a config, for untrained networks.
        images: a dataset.
        indices: indices of the images.
        seed: seed of views, weights of untrained networks and all other randomness.

    Returns:
        [len(indices), 3, S, S] float in [0, 1] each.
    """
    config = source.config if isinstance(source, Run) else source
    originals = images.batch(indices)
    views = sample_views(originals, config.views, torch.Generator().manual_seed(seed))
    labels = torch.full((len(indices),), -1)
    rng = BatchGenerator(torch.Generator().manual_seed(seed), len(indices))
    batch = Batch(views, labels, 0.0, rng, torch.as_tensor(list(indices)))
    inputs = _build_method(source, images, seed).inputs(batch)
    if not inputs:
        inputs = dict(zip(config.views.view_names, views.images.unbind(1), strict=True))
    return {"image": plain_view(originals, config.views.size)} | inputs


def _build_method(source: Run | Config, images: Dataset, seed: int) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not isinstance(source, Run):
            return methods.build(source, len(images), len(images.classes)).eval()
        count = source.provenance["images"].get("count", len(images))
        method = methods.build(source.config, count, len(images.classes))
    return load_weights(method, source)


def load_weights(method: Method, run: Run) -> Method:
    """Load a run's latest weights into a method, and return it in evaluation mode.

    Raises:
        CodialError: the run has no checkpoint, the checkpoint is damaged, or it is of another method.
    """
    path = run.checkpoint()
    weights = {name.removeprefix("model."): value for name, value in read_tensors(path, "model.").items()}
    load_strict(method, weights, path)
    return method.eval()
