"""Pictures a second from disk: a set of 100,000 JPEGs in random order, batch by batch, against its decoder alone.

The JPEGs are crops of the photographs' patches, enlarged, each file a little different from every other. They have
just been written, so what is measured is decoding, not the disk.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

import codial
from benchmarks.clock import Measured, Memory
from codial.config import TrainConfig
from codial.data.decode import WORKERS, decode

FILES, DISTINCT, CLASSES = 100_000, 2000, 20
SIDE, SIZE = 160, 96  # pixels: of a file, of what it is decoded to
BATCH = TrainConfig().batch
PART = 10_000  # pictures between two looks at the clock


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return the rates of one epoch through the set, and of a thread pool that decodes the same files, keeping none."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), FILES)
        os.sync()
        memory = Memory()
        images = codial.load_images(Path(folder), "all", size=SIZE, keep="files")
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        paths = [Path(folder, path) for path in images.paths]

        def ours(part: Tensor) -> None:
            for chosen in part.split(BATCH):
                images.batch(chosen)

        with ThreadPoolExecutor(WORKERS) as pool:

            def alone(part: Tensor) -> None:
                for _ in pool.map(partial(decode, size=SIZE), [paths[i] for i in part.tolist()]):
                    pass

            found = {"codial": Measured.of(_rates(ours, order), memory)}
            found[f"Pillow, {WORKERS} threads"] = Measured.of(_rates(alone, order), Memory())
    return {f"{FILES:,} JPEGs, {SIDE} to {SIZE} px, {BATCH} pictures a batch": found}


def write(folder: Path, count: int) -> None:
    """Write JPEGs into `CLASSES` sub-folders: `DISTINCT` pictures, over and over, no two files of the same bytes."""
    encoded = [_jpeg(picture) for picture in pictures(min(count, DISTINCT))]
    for number in range(CLASSES):
        (folder / f"{number:02}").mkdir()
    for number in range(count):
        content = encoded[number % len(encoded)] + f"{number}".encode()  # behind the picture's end, where none looks
        (folder / f"{number % CLASSES:02}" / f"{number:06}.jpg").write_bytes(content)


def pictures(count: int) -> Tensor:
    """Return random crops of the photographs' patches, enlarged: [count, 3, SIDE, SIDE] uint8."""
    patches, generator = codial.load_images("photos"), torch.Generator().manual_seed(0)
    chosen = patches.batch(torch.randint(len(patches), (count,), generator=generator)).float()
    corners = torch.randint(17, (count, 2), generator=generator).tolist()
    crops = torch.stack([p[:, y : y + 48, x : x + 48] for p, (y, x) in zip(chosen, corners, strict=True)])
    return interpolate(crops, (SIDE, SIDE), mode="bicubic").round().clamp(0, 255).to(torch.uint8)


def _jpeg(picture: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _rates(read: Callable[[Tensor], None], order: Tensor) -> Iterator[float]:
    for part in order.split(PART):
        started = time.perf_counter()
        read(part)
        yield len(part) / (time.perf_counter() - started)
