"""Views per second: codial's sampler, torchvision's transforms per image in workers, and kornia's on batches.

All three sample the same transforms from the same distributions: for each of K views a crop, a horizontal flip, a
rotation by 90 degrees or a warp, four color changes in random order, and optionally a blur. There are two differences,
which do not affect speed: torchvision and kornia flip each view independently, and kornia uses one order of the color
changes for a whole batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

import codial
from benchmarks.clock import Measurement, rate
from codial.config import PRIMARY, ViewsConfig
from codial.transforms import sample_views
from codial.transforms.blur import kernel_size
from codial.transforms.warp import pixel_centers, warp_flow

WORKERS = 2
BATCH = 64  # images


class Case(NamedTuple):
    """One size and one set of transforms.

    Attributes:
        image: side of the images in pixels.
        config: of the views.
    """

    image: int
    config: ViewsConfig

    @property
    def name(self) -> str:
        """Sizes and transforms in words."""
        extras = "crop, flip, color" + ", warp, blur" * (self.config.blur > 0)
        return f"{self.image} to {self.config.size} px, {extras}"


def cases() -> list[Case]:
    """Return three sizes, each with and without warp and blur, with the paper's parameters."""
    plain = ViewsConfig(primary=PRIMARY[:4])
    full = ViewsConfig(primary=PRIMARY, blur=0.5)
    sizes = ((32, 32), (96, 64), (256, 224))
    return [Case(image, replace(config, size=size)) for image, size in sizes for config in (plain, full)]


def images(side: int, count: int = BATCH) -> Tensor:
    """Return real images, [count, 3, side, side] uint8."""
    patches = codial.load_images("photos", limit=max(count, 8)).images[:count]
    return interpolate(patches.float(), (side, side), mode="bilinear", antialias=True).round().to(torch.uint8)


def measure(device: torch.device) -> dict[str, dict[str, Measurement]]:
    """Return the rates by case and implementation; torchvision's on a CPU only."""
    measurements = {}
    for case in cases():
        measurements[case.name] = {"codial": _codial(case, device), "kornia": _kornia(case, device)}
        if device.type == "cpu":
            measurements[case.name]["torchvision, 2 workers, PIL"] = _torchvision(case, as_pil=True)
            measurements[case.name]["torchvision, 2 workers, tensors"] = _torchvision(case, as_pil=False)
    return measurements


def _codial(case: Case, device: torch.device) -> Measurement:
    batch, generator = images(case.image).to(device), torch.Generator().manual_seed(0)
    return rate(lambda: _count(sample_views(batch, case.config, generator).images), device)


def _count(views: Tensor) -> int:
    return views.shape[0] * views.shape[1]


# torchvision


class PerImage(Dataset):
    """An endless data set that returns the K views of one image, [K, 3, S, S] float.

    Args:
        images: [N, 3, H, W] uint8.
        config: of the views.
        as_pil: transform Pillow images instead of tensors.
    """

    def __init__(self, images: Tensor, config: ViewsConfig, as_pil: bool) -> None:
        from torchvision.transforms.v2 import functional

        self.images = [functional.to_pil_image(p) for p in images] if as_pil else list(images)
        self.make = torchvision_view(config)
        self.views = len(config.primary)

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index % len(self.images)]
        return torch.stack([self.make(image, k) for k in range(self.views)])


def torchvision_view(config: ViewsConfig) -> Callable[[Any, int], Tensor]:
    """Return a function that maps an image (Pillow or tensor) and k to its view k, float [3, S, S]."""
    from torchvision.transforms import v2

    jitter = (config.brightness, config.contrast, config.saturation, config.hue)
    before = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, config.crop_area, config.crop_aspect, antialias=True),
            v2.RandomHorizontalFlip(config.flip),
            v2.ColorJitter(*jitter),
        ]
    )
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    side = kernel_size(config.size, config.blur_kernel)
    blur = v2.RandomApply([v2.GaussianBlur(side, config.blur_sigma)], config.blur)
    size, grid = config.size, (pixel_centers(config.size).float() + 0.5) * 2 / config.size - 1

    def make(image: Any, k: int) -> Tensor:
        view = to_float(before(image))
        if config.blur:
            view = blur(view)
        if config.primary[k] != "warp":
            return torch.rot90(view, k, (-2, -1))
        offsets = (2 * torch.rand(1, 16, 2) - 1) * config.warp_offset * size
        positions = grid.view(1, size, size, 2) + warp_flow(offsets, size) * (2 / size)
        return torch.nn.functional.grid_sample(view[None], positions, padding_mode="border", align_corners=False)[0]

    return make


def _torchvision(case: Case, as_pil: bool) -> Measurement:
    loader = DataLoader(PerImage(images(case.image), case.config, as_pil), batch_size=8, num_workers=WORKERS,
                        prefetch_factor=2, worker_init_fn=_one_thread)  # fmt: skip
    batches: Iterator[Tensor] = iter(loader)
    for _ in range(4 * WORKERS):  # prefetched batches are not measured
        next(batches)
    return rate(lambda: _count(next(batches)))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


# kornia


def _kornia(case: Case, device: torch.device) -> Measurement:
    batch, make = images(case.image).to(device), kornia_views(case.config)
    return rate(lambda: _count(make(batch)), device)


def kornia_views(config: ViewsConfig) -> Callable[[Tensor], Tensor]:
    """Return a function that makes all views of a batch with kornia, [B, K, 3, S, S]."""
    from kornia import augmentation as K

    side = kernel_size(config.size, config.blur_kernel)
    crop = K.RandomResizedCrop((config.size, config.size), config.crop_area, config.crop_aspect)
    flip = K.RandomHorizontalFlip(config.flip)
    jitter = K.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    blur = K.RandomGaussianBlur((side, side), config.blur_sigma, p=config.blur)
    warp = K.RandomThinPlateSpline(config.warp_offset, p=1.0)

    @torch.no_grad()
    def make(images: Tensor) -> Tensor:
        result = []
        for k, name in enumerate(config.primary):
            views = jitter(flip(crop(images.float() / 255)))
            if config.blur:
                views = blur(views)
            result.append(warp(views) if name == "warp" else torch.rot90(views, k, (-2, -1)))
        return torch.stack(result, 1)

    return make
