"""Object proposals by selective search (Uijlings et al., IJCV 2013), OpenCV's fast mode, cached on disk."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from codial.data.checks import check_int
from codial.data.datasets import voc
from codial.data.datasets.voc import AnnotatedImage
from codial.data.io.decode import WORKERS
from codial.errors import CodialError
from codial.evaluate.metrics.box_ops import box_iou
from codial.utils.atomic_io import make_folder, write_atomic
from codial.utils.progress import progress_bar


@dataclass(frozen=True)
class ProposalConfig:
    """Settings of proposals."""

    limit: int = 2000  # boxes per image, as in Fast R-CNN
    min_side: int = 20  # pixels; smaller boxes are dropped, as in Fast R-CNN

    def __post_init__(self) -> None:
        for name in ("limit", "min_side"):
            check_int(name, getattr(self, name), 1)

    def describe(self) -> str:
        """Return a description of the settings."""
        return f"selective search, fast mode, at most {self.limit:,} boxes of at least {self.min_side} pixels per side"


def propose(
    items: Sequence[AnnotatedImage],
    folder: Path | None = None,
    config: ProposalConfig | None = None,
    *,
    progress: bool = True,
) -> list[Tensor]:
    """Return proposals for each image, computed in parallel (about a second per image and thread).

    Args:
        items: the images; their annotations are not used.
        folder: cache folder, with one file per image named after its content and the settings; missing and damaged
            files are computed again. None caches nothing.
        config: settings of proposals.
        progress: show a progress bar after two seconds.

    Returns:
        For each image [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.

    Raises:
        CodialError: OpenCV's contrib modules are not installed, or an image does not decode.
    """
    settings = config or ProposalConfig()
    cv2 = _opencv()
    if folder:
        make_folder(folder)
    with _one_thread(cv2), ThreadPoolExecutor(WORKERS) as pool:
        boxes = pool.map(lambda item: _cached(item.path, folder, settings), items)
        return list(progress_bar(boxes, "proposals", len(items), unit=" images", show=progress))


def selective_search(image: Tensor, config: ProposalConfig | None = None) -> Tensor:
    """Return the proposals of one image, deterministically.

    OpenCV ranks its boxes by C's random numbers. This order is discarded: boxes are sorted, and if they exceed the
    limit, a random subset with a fixed seed is returned.

    Args:
        image: [3, H, W] uint8.
        config: settings of proposals.

    Returns:
        [n, 4] float32, as `propose`.

    Raises:
        CodialError: OpenCV's contrib modules are not installed.
    """
    config = config or ProposalConfig()
    search = _opencv().ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(image.permute(1, 2, 0).flip(-1).numpy()))  # BGR
    search.switchToSelectiveSearchFast()
    corner, sides = torch.from_numpy(np.asarray(search.process(), np.int64).reshape(-1, 4)).split(2, dim=1)
    boxes = torch.cat((corner, corner + sides), 1)[(sides >= config.min_side).all(1)].unique(dim=0)
    sampled = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(0))[: config.limit]
    return boxes[sampled.sort().values].float()


def recall(items: Sequence[AnnotatedImage], proposals: Sequence[Tensor], overlap: float = 0.5) -> float:
    """Return the percentage of objects, without difficult ones, of which a proposal has at least this IoU."""
    best = [_best_iou(item.boxes[~item.difficult], boxes) for item, boxes in zip(items, proposals, strict=True)]
    return 100 * float((torch.cat(best) >= overlap).float().mean())


def _best_iou(objects: Tensor, boxes: Tensor) -> Tensor:
    return box_iou(objects, boxes).amax(1) if len(boxes) else objects.new_zeros(len(objects))


def _cached(path: Path, folder: Path | None, config: ProposalConfig) -> Tensor:
    """Read an image's boxes from the cache, or compute them and write them there."""
    if folder is None:
        return selective_search(voc.read_pixels(path), config)
    file = folder / f"{_key(path, config)}.safetensors"
    if file.exists() and (boxes := _read(file)) is not None:
        return boxes
    boxes = selective_search(voc.read_pixels(path), config)
    write_atomic(file, save({"boxes": boxes}))
    return boxes


def _read(file: Path) -> Tensor | None:
    """Return cached boxes; None, with a warning, if the file is damaged."""
    try:
        boxes = load(file.read_bytes())["boxes"]
    except (OSError, SafetensorError, KeyError) as error:
        reason = str(error)
    else:
        if boxes.ndim == 2 and boxes.shape[1] == 4:
            return boxes
        reason = f"boxes are {list(boxes.shape)}"
    warnings.warn(f"{file} is damaged ({reason}); its boxes are computed again.", stacklevel=2)
    return None


def _key(path: Path, config: ProposalConfig) -> str:
    digest = hashlib.sha256(path.read_bytes())
    digest.update(repr((config, _opencv().__version__)).encode())
    return digest.hexdigest()[:32]


def _opencv() -> ModuleType:
    try:
        import cv2

        _ = cv2.ximgproc.segmentation
    except (ImportError, AttributeError) as error:
        raise CodialError(
            "Proposals need OpenCV's contrib modules: pip install opencv-contrib-python-headless (and uninstall other"
            " opencv packages, which would hide them)."
        ) from error
    return cv2


@contextmanager
def _one_thread(cv2: ModuleType) -> Iterator[None]:
    """Limit OpenCV to one thread: images are processed in parallel instead."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
