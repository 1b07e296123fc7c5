"""Layouts of features in the plane by UMAP."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor
from torch.nn.functional import normalize

from codial.errors import CodialError
from codial.evaluate.features import require_finite

MIN_IMAGES = 4  # of a map


def possible_neighbors(images: int, neighbors: int) -> int:
    """Return the number of neighbors that a map of some images can have: fewer, with a warning, if they are few.

    Raises:
        CodialError: there are fewer images than `MIN_IMAGES`.
    """
    if images < MIN_IMAGES:
        raise CodialError(f"A map needs at least {MIN_IMAGES} images; there {'is' if images == 1 else 'are'} {images}.")
    if images <= neighbors:
        message = f"There are {images} images: the map uses {images - 1} neighbors instead of {neighbors}."
        warnings.warn(message, stacklevel=3)
    return min(neighbors, images - 1)


def project(
    features: Tensor, *, neighbors: int = 15, min_dist: float = 0.1, seed: int = 0, start: Tensor | None = None
) -> Tensor:
    """Embed features in the plane by UMAP with cosine similarity; a seed gives the same map on the same machine.

    Args:
        features: [N, F] float.
        neighbors: UMAP's neighborhood size; small values keep local structure, large ones global structure. If there
            are not more images than that, all others are used, with a warning.
        min_dist: minimum distance between points of the map.
        seed: seed of the layout.
        start: [N, 2] initial positions, from which points move with a small learning rate; None is UMAP's own
            initialization.

    Returns:
        [N, 2] float32.

    Raises:
        CodialError: umap-learn is not installed, there are fewer images than `MIN_IMAGES`, or a feature is NaN or
            infinite.
    """
    require_finite(features, "map")
    neighbors = possible_neighbors(len(features), neighbors)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import umap
    except ImportError as error:
        raise CodialError("Maps need umap-learn: pip install umap-learn.") from error
    _keep_machine_code()
    # On unit vectors Euclidean order is cosine order.
    unit = normalize(features.float(), dim=1).cpu().numpy()
    initial = {} if start is None else {"init": start.numpy(), "n_epochs": 200, "learning_rate": 0.1}
    with warnings.catch_warnings(), _preserve_num_threads():
        warnings.simplefilter("ignore")  # UMAP warns that a seed disables its threads
        mapped = umap.UMAP(n_neighbors=neighbors, min_dist=min_dist, random_state=seed, **initial).fit_transform(unit)
    return torch.from_numpy(mapped).float()


def _keep_machine_code() -> None:
    """Let numba cache UMAP's machine code on disk, as it does ours; compiling it takes 10 s in every process."""
    from numba.core.dispatcher import Dispatcher
    from umap import layouts, umap_, utils

    for module in (layouts, umap_, utils):
        for function in vars(module).values():
            if isinstance(function, Dispatcher) and not function.signatures:
                with suppress(RuntimeError):  # neither the package's folder nor the user's cache is writable
                    function.enable_caching()


@contextmanager
def _preserve_num_threads() -> Iterator[None]:
    """Restore torch's number of threads: numba, on which UMAP runs, sets OpenMP's for the whole process.

    Another number of threads would change the order of sums, and so the results of later training.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
