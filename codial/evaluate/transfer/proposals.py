"""Where objects may be: boxes by selective search (Uijlings et al., IJCV 2013), in OpenCV's fast mode, kept on disk."""

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
from tqdm import tqdm

from codial.data import voc
from codial.data.decode import WORKERS
from codial.data.pictures import check_whole
from codial.data.voc import Annotated
from codial.errors import CodialError
from codial.evaluate.transfer.boxes import overlaps
from codial.writing import make_folder, write_safely


@dataclass(frozen=True)
class ProposalConfig:
    """Which boxes are proposed."""

    limit: int = 2000  # a picture at most, as Fast R-CNN
    least: int = 20  # pixels; boxes of a smaller side are left out, as Fast R-CNN does

    def __post_init__(self) -> None:
        for name in ("limit", "least"):
            check_whole(name, getattr(self, name), 1)

    def describe(self) -> str:
        """Return the choice in a few words."""
        return f"selective search, fast mode, at most {self.limit:,} boxes of {self.least} pixels a side or more"


def propose(
    items: Sequence[Annotated],
    folder: Path | None = None,
    config: ProposalConfig | None = None,
    *,
    progress: bool = True,
) -> list[Tensor]:
    """Return boxes for each picture, several at a time (about a second each for one thread).

    Args:
        items: the pictures; of their boxes nothing is looked at.
        folder: where boxes are kept, one file a picture, named after its content and the settings; a file that is
            missing or damaged is made again. None keeps nothing.
        config: which boxes.
        progress: show a bar when it takes over two seconds.

    Returns:
        For each picture [n, 4] float32: xmin, ymin, xmax, ymax in pixels from 0, the latter two exclusive.

    Raises:
        CodialError: OpenCV's contributed modules are not installed, or a picture does not decode.
    """
    chosen, cv2 = config or ProposalConfig(), _opencv()
    if folder:
        make_folder(folder)
    with _one_thread(cv2), ThreadPoolExecutor(WORKERS) as pool:
        work = pool.map(lambda item: _kept(item.path, folder, chosen), items)
        return list(tqdm(work, "proposals", len(items), unit=" pictures", delay=2, disable=not progress, leave=False))


def selective_search(picture: Tensor, config: ProposalConfig | None = None) -> Tensor:
    """Return the boxes of one picture; the same picture gives the same boxes, in the same order.

    OpenCV ranks its boxes by C's own random numbers, so their order is dropped: they are sorted, and where they exceed
    the limit, those that stay are drawn with a fixed seed.

    Args:
        picture: [3, H, W] uint8.
        config: which boxes.

    Returns:
        [n, 4] float32, as `propose`.

    Raises:
        CodialError: OpenCV's contributed modules are not installed.
    """
    config = config or ProposalConfig()
    search = _opencv().ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(picture.permute(1, 2, 0).flip(-1).numpy()))  # blue first
    search.switchToSelectiveSearchFast()
    corner, sides = torch.from_numpy(np.asarray(search.process(), np.int64).reshape(-1, 4)).split(2, dim=1)
    boxes = torch.cat((corner, corner + sides), 1)[(sides >= config.least).all(1)].unique(dim=0)
    drawn = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(0))[: config.limit]
    return boxes[drawn.sort().values].float()


def recall(items: Sequence[Annotated], proposals: Sequence[Tensor], overlap: float = 0.5) -> float:
    """Return the percentage of objects, difficult ones left out, that some proposal overlaps by this much or more."""
    best = [_best(item.boxes[~item.difficult], boxes) for item, boxes in zip(items, proposals, strict=True)]
    return 100 * float((torch.cat(best) >= overlap).float().mean())


def _best(objects: Tensor, boxes: Tensor) -> Tensor:
    return overlaps(objects, boxes).amax(1) if len(boxes) else objects.new_zeros(len(objects))


def _kept(path: Path, folder: Path | None, config: ProposalConfig) -> Tensor:
    """Read a picture's boxes from the folder, or make them and write them there."""
    if folder is None:
        return selective_search(voc.pixels(path), config)
    file = folder / f"{_key(path, config)}.safetensors"
    if file.exists() and (kept := _read(file)) is not None:
        return kept
    boxes = selective_search(voc.pixels(path), config)
    write_safely(file, save({"boxes": boxes}))
    return boxes


def _read(file: Path) -> Tensor | None:
    """Return kept boxes; None, with a warning, where the file is damaged."""
    try:
        boxes = load(file.read_bytes())["boxes"]
    except (OSError, SafetensorError, KeyError) as error:
        why = str(error)
    else:
        if boxes.ndim == 2 and boxes.shape[1] == 4:
            return boxes
        why = f"boxes are {list(boxes.shape)}"
    warnings.warn(f"{file} is damaged ({why}); its boxes are searched for again.", stacklevel=2)
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
            "Proposals need OpenCV with its contributed modules: pip install opencv-contrib-python-headless (and"
            " uninstall any other opencv package, which would hide them)."
        ) from error
    return cv2


@contextmanager
def _one_thread(cv2: ModuleType) -> Iterator[None]:
    """Keep OpenCV to one thread a picture: pictures are what is spread over threads."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
