"""What a system is shown of a picture: its views, and what it makes of them before its trunk looks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codial import objectives
from codial.checkpoints import load_exactly, read_tensors
from codial.config import Config
from codial.data import Pictures
from codial.objectives import Batch, Draws, Objective
from codial.runs import Run
from codial.views import plain_view, sample_views


@torch.no_grad()
def looks(source: Run | Config, images: Pictures, places: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """Return what a system is shown of some pictures, by name: the plain pictures first.

    Args:
        source: a run, whose own networks then inpaint or repair, or settings, with fresh networks.
        images: a set.
        places: of the pictures in the set.
        seed: of all draws.

    Returns:
        [len(places), 3, S, S] float in [0, 1] each.
    """
    config = source.config if isinstance(source, Run) else source
    pictures = images.batch(places)
    views = sample_views(pictures, config.views, torch.Generator().manual_seed(seed))
    unknown, draws = torch.full((len(places),), -1), Draws(torch.Generator().manual_seed(seed), len(places))
    batch = Batch(views, unknown, 0.0, draws, torch.as_tensor(list(places)))
    made = _system(source, images, seed).shown(batch)
    if not made:
        made = dict(zip(config.views.primary, views.images.unbind(1), strict=True))
    return {"picture": plain_view(pictures, config.views.size)} | made


def _system(source: Run | Config, images: Pictures, seed: int) -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not isinstance(source, Run):
            return objectives.build(source, len(images.classes), len(images)).eval()
        known = source.provenance["pictures"]
        system = objectives.build(source.config, len(images.classes), known.get("count", len(images)))
    return with_weights(system, source)


def with_weights(system: Objective, run: Run) -> Objective:
    """Return a system with what a run has learnt so far, in evaluation mode.

    Raises:
        CodialError: the run has no checkpoint, it is damaged, or it does not fit the system.
    """
    path = run.checkpoint()
    weights = {name.removeprefix("model."): value for name, value in read_tensors(path, "model.").items()}
    load_exactly(system, weights, path)
    return system.eval()
