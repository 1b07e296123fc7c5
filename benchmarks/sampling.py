"""Views a second: our sampler, torchvision's transforms picture by picture in workers, kornia's on batches.

All three draw the same things from the same distributions: for each of K views a crop, a mirror, a quarter turn or a
warp, four colour changes in random order, and a blur where it is on. What differs: torchvision and kornia mirror each
view by itself, and kornia draws one order of the colour changes for a whole batch. Neither helps their speed or ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

import codial
from benchmarks.clock import Measured, rate
from codial.config import PRIMARY, ViewsConfig
from codial.views import sample_views
from codial.views.blur import kernel_side
from codial.views.warp import pixel_centres, warp_flow

WORKERS = 2
BATCH = 64  # pictures


class Case(NamedTuple):
    """One size and one set of transforms."""

    picture: int  # side in pixels
    config: ViewsConfig

    @property
    def name(self) -> str:
        """Say sizes and transforms."""
        extras = "crop, flip, colour" + ", warp, blur" * (self.config.blur > 0)
        return f"{self.picture} to {self.config.size} px, {extras}"


def cases() -> list[Case]:
    """Return three sizes, each with and without warp and blur, at the paper's strengths."""
    plain = ViewsConfig(primary=PRIMARY[:4])
    full = ViewsConfig(primary=PRIMARY, blur=0.5)
    sizes = ((32, 32), (96, 64), (256, 224))
    return [Case(picture, replace(config, size=size)) for picture, size in sizes for config in (plain, full)]


def pictures(side: int, count: int = BATCH) -> Tensor:
    """Return real pictures, [count, 3, side, side] uint8."""
    patches = codial.load_images("photos", limit=max(count, 8)).images[:count]
    return interpolate(patches.float(), (side, side), mode="bilinear", antialias=True).round().to(torch.uint8)


def measure(device: torch.device) -> dict[str, dict[str, Measured]]:
    """Return the rates by case and by who makes the views; torchvision's only beside a CPU."""
    found = {}
    for case in cases():
        found[case.name] = {"codial": _ours(case, device), "kornia": _kornia(case, device)}
        if device.type == "cpu":
            found[case.name]["torchvision, 2 workers, PIL"] = _torchvision(case, as_pil=True)
            found[case.name]["torchvision, 2 workers, tensors"] = _torchvision(case, as_pil=False)
    return found


def _ours(case: Case, device: torch.device) -> Measured:
    batch, generator = pictures(case.picture).to(device), torch.Generator().manual_seed(0)
    return rate(lambda: _count(sample_views(batch, case.config, generator).images), device)


def _count(views: Tensor) -> int:
    return views.shape[0] * views.shape[1]


# torchvision


class PerPicture(Dataset):
    """Pictures without end, each as its K views, [K, 3, S, S] float; made one by one, in a worker.

    Args:
        pictures: [N, 3, H, W] uint8.
        config: of the views.
        as_pil: keep them as Pillow's pictures, or as tensors.
    """

    def __init__(self, pictures: Tensor, config: ViewsConfig, as_pil: bool) -> None:
        from torchvision.transforms.v2 import functional

        self.pictures = [functional.to_pil_image(p) for p in pictures] if as_pil else list(pictures)
        self.make, self.views = torchvision_view(config), len(config.primary)

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: int) -> Tensor:
        picture = self.pictures[index % len(self.pictures)]
        return torch.stack([self.make(picture, k) for k in range(self.views)])


def torchvision_view(config: ViewsConfig) -> Callable[[Any, int], Tensor]:
    """Return a function that makes view k of a picture, Pillow's or a tensor, as the plain recipe: float [3, S, S]."""
    from torchvision.transforms import v2

    reach = (config.brightness, config.contrast, config.saturation, config.hue)
    before = v2.Compose(
        [
            v2.RandomResizedCrop(config.size, config.crop_area, config.crop_aspect, antialias=True),
            v2.RandomHorizontalFlip(config.flip),
            v2.ColorJitter(*reach),
        ]
    )
    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    side = kernel_side(config.size, config.blur_kernel)
    blur = v2.RandomApply([v2.GaussianBlur(side, config.blur_sigma)], config.blur)
    size, grid = config.size, (pixel_centres(config.size).float() + 0.5) * 2 / config.size - 1

    def make(picture: Any, k: int) -> Tensor:
        view = to_float(before(picture))
        if config.blur:
            view = blur(view)
        if config.primary[k] != "warp":
            return torch.rot90(view, k, (-2, -1))
        offsets = (2 * torch.rand(1, 16, 2) - 1) * config.warp_offset * size
        look = grid.view(1, size, size, 2) + warp_flow(offsets, size) * (2 / size)
        return torch.nn.functional.grid_sample(view[None], look, padding_mode="border", align_corners=False)[0]

    return make


def _torchvision(case: Case, as_pil: bool) -> Measured:
    loader = DataLoader(PerPicture(pictures(case.picture), case.config, as_pil), batch_size=8, num_workers=WORKERS,
                        prefetch_factor=2, worker_init_fn=_one_thread)  # fmt: skip
    batches: Iterator[Tensor] = iter(loader)
    for _ in range(4 * WORKERS):  # what the workers had ready is not measured
        next(batches)
    return rate(lambda: _count(next(batches)))


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)


# kornia


def _kornia(case: Case, device: torch.device) -> Measured:
    batch, make = pictures(case.picture).to(device), kornia_views(case.config)
    return rate(lambda: _count(make(batch)), device)


def kornia_views(config: ViewsConfig) -> Callable[[Tensor], Tensor]:
    """Return a function that makes all views of a batch, [B, K, 3, S, S], with kornia."""
    from kornia import augmentation as K

    side = kernel_side(config.size, config.blur_kernel)
    crop = K.RandomResizedCrop((config.size, config.size), config.crop_area, config.crop_aspect)
    flip = K.RandomHorizontalFlip(config.flip)
    jitter = K.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    blur = K.RandomGaussianBlur((side, side), config.blur_sigma, p=config.blur)
    warp = K.RandomThinPlateSpline(config.warp_offset, p=1.0)

    @torch.no_grad()
    def make(pictures: Tensor) -> Tensor:
        found = []
        for k, name in enumerate(config.primary):
            views = jitter(flip(crop(pictures.float() / 255)))
            if config.blur:
                views = blur(views)
            found.append(warp(views) if name == "warp" else torch.rot90(views, k, (-2, -1)))
        return torch.stack(found, 1)

    return make
