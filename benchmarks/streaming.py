"""Images per second from disk: batches of 100,000 JPEGs in random order, against the decoder alone.

The JPEGs are enlarged crops of the bundled photographs. They have just been written and are in the page cache, so
decoding is measured, not the disk.
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
from benchmarks.clock import Measurement, Memory
from codial.config import TrainConfig
from codial.data.io.decode import WORKERS, decode

FILES, DISTINCT, CLASSES = 100_000, 2000, 20
SIDE, SIZE = 160, 96  # pixels, of a file and of the decoded image
BATCH = TrainConfig().batch
PART = 10_000  # images per timed interval


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return the rates of one epoch through the data set, and of a thread pool that only decodes the same files."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), FILES)
        os.sync()
        memory = Memory()
        dataset = codial.load_images(Path(folder), "all", size=SIZE, storage="files")
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
        paths = [Path(folder, path) for path in dataset.paths]

        def read(part: Tensor) -> None:
            for indices in part.split(BATCH):
                dataset.batch(indices)

        with ThreadPoolExecutor(WORKERS) as pool:

            def decode_only(part: Tensor) -> None:
                for _ in pool.map(partial(decode, size=SIZE), [paths[i] for i in part.tolist()]):
                    pass

            measurements = {"codial": Measurement.of(_rates(read, order), memory)}
            measurements[f"Pillow, {WORKERS} threads"] = Measurement.of(_rates(decode_only, order), Memory())
    return {f"{FILES:,} JPEGs, {SIDE} to {SIZE} px, {BATCH} images a batch": measurements}


def write(folder: Path, count: int) -> None:
    """Write JPEGs to `CLASSES` subfolders: at most `DISTINCT` images, but no two files with the same bytes."""
    encoded = [_jpeg(image) for image in images(min(count, DISTINCT))]
    for number in range(CLASSES):
        (folder / f"{number:02}").mkdir()
    for number in range(count):
        content = (
            encoded[number % len(encoded)] + f"{number}".encode()
        )  # after the end of the image, ignored by decoders
        (folder / f"{number % CLASSES:02}" / f"{number:06}.jpg").write_bytes(content)


def images(count: int) -> Tensor:
    """Return enlarged random crops of the bundled photographs, [count, 3, SIDE, SIDE] uint8."""
    patches = codial.load_images("photos")
    generator = torch.Generator().manual_seed(0)
    selected = patches.batch(torch.randint(len(patches), (count,), generator=generator)).float()
    corners = torch.randint(17, (count, 2), generator=generator).tolist()
    crops = torch.stack([p[:, y : y + 48, x : x + 48] for p, (y, x) in zip(selected, corners, strict=True)])
    return interpolate(crops, (SIDE, SIDE), mode="bicubic").round().clamp(0, 255).to(torch.uint8)


def _jpeg(image: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _rates(read: Callable[[Tensor], None], order: Tensor) -> Iterator[float]:
    for part in order.split(PART):
        start = time.perf_counter()
        read(part)
        yield len(part) / (time.perf_counter() - start)
