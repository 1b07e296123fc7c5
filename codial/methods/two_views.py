"""What methods that embed two upright views of an image have in common: views, projectors and embeddings."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from codial.config import Config, Recipe
from codial.config.validation import require
from codial.utils.distributed import ProcessGroup

TWO_VIEWS = ("rot0", "rot0")


def with_two_views(recipe: Recipe, primary: tuple[str, ...] = TWO_VIEWS) -> Recipe:
    """Return a recipe with upright views whose colors vary enough for methods that match views.

    Crops of an image have nearly the same histogram of colors, which alone would match them (SimCLR, arXiv 2002.05709,
    section 3.1). A fifth of the views is therefore gray, as in all five papers, but not of `photos`, whose classes
    differ in color. Under the paper's recipe, crops and jitter are SimCLR's for CIFAR-10 (appendix B.9); the others
    keep the recipe's, which differ little from these.
    """
    recipe = recipe.with_primary(primary)
    # On photos, SimCLR's kNN accuracy after 5 epochs was 85 % without gray views and 80 % with them (one run each).
    views = replace(recipe.views, grayscale=0.0 if recipe.name == "photos" else 0.2)
    if recipe.name == "paper":
        views = replace(views, crop_area=(0.08, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    return replace(recipe, views=views)


def require_views(config: Config, primary: tuple[str, ...] = TWO_VIEWS) -> None:
    """Check that the views of an image are the given ones.

    Raises:
        CodialError: `views.primary` has other transforms.
    """
    given, name = config.views.primary, config.method.name
    require(given == primary, "views.primary", given, f"{','.join(primary)}: {name} uses {len(primary)} upright views")


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Return a perceptron with batch norm and ReLU after every layer but the last.

    Args:
        widths: number of inputs, of the units of each hidden layer, and of outputs.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths[:-1]):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def embed_pairs(network: nn.Module, images: Tensor, processes: ProcessGroup) -> tuple[Tensor, Tensor]:
    """Return the embeddings of both views of the images of all processes, [B, D] float32 each.

    Args:
        network: maps images [N, 3, S, S] to embeddings [N, D].
        images: two views of each image of this process, [b, 2, 3, S, S].
        processes: the processes that share the batch.
    """
    embeddings = network(images.flatten(0, 1)).float().view(*images.shape[:2], -1)  # [b, 2, D]
    first, second = processes.gather(embeddings).unbind(1)
    return first, second
