"""The CPU's compiled way against the tensor maths of other devices, and what only it could get wrong."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

from codial import sample_views
from codial.config import PRIMARY, ViewsConfig
from codial.errors import CodialError
from codial.views import batched, draw, fused, kernels, render

CASES = {
    "as the paper": ViewsConfig(blur=0.5),
    "paper's smallest": ViewsConfig(size=16, blur=1.0, blur_sigma=(2.0, 9.0), blur_kernel=0.5),
    "whole pictures": ViewsConfig(size=48, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0)),
    "slivers": ViewsConfig(size=40, crop_area=(0.001, 0.05), crop_aspect=(0.1, 10.0)),
    "far warps": ViewsConfig(size=33, warp_offset=0.5),
    "looking around": ViewsConfig(size=33, warp_offset=0.5, warp_border="picture", crop_area=(0.1, 0.3)),
    "random points": ViewsConfig(size=32, warp_placement="random"),
    "no colours": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0),
    "one colour": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0.5),
    "some grey": ViewsConfig(size=32, grey=0.5),
    "all grey": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0, grey=1.0),
    "backwards": ViewsConfig(size=32, primary=PRIMARY[::-1], flip=1.0),
    "warp only": ViewsConfig(size=32, primary=("warp",)),
}


@pytest.mark.parametrize("shape", [(64, 64), (20, 20), (150, 101), (37, 301), (1, 9)])
@pytest.mark.parametrize("case", CASES)
def test_is_the_tensor_maths_to_rounding(case, shape, photos, generator):
    config = CASES[case]
    pictures = interpolate(photos["train"].batch(range(5)).float(), shape, mode="bilinear").round().to(torch.uint8)
    drawn = draw(5, shape, config, generator)
    strided = (pictures.double() / 255).transpose(0, 1).contiguous().transpose(0, 1)
    for given in (pictures, pictures.float() / 255, strided):
        got, expected = fused.render(given, drawn, config), batched.render(given, drawn, config)
        # Places are rounded on the way: 1e-5 of a picture's side at most, between pixels up to 1 apart.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(shape))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_flat_pictures_stay_flat_through_every_colour_change(level, generator):
    config = ViewsConfig(size=32, blur=1.0)
    pictures = torch.full((8, 3, 48, 48), level, dtype=torch.uint8)
    views = sample_views(pictures, config, generator).images
    assert float(views.flatten(3).std(-1).max()) < 1e-6
    assert 0 <= float(views.min()) <= float(views.max()) <= 1 + 1e-6  # a kernel's weights sum to 1, rounded


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads, photos, generator):
    pictures, config = photos["train"].batch(range(37)), ViewsConfig(blur=0.5)
    drawn = draw(37, (64, 64), config, generator)
    alone = render(pictures, drawn, config).images
    try:
        torch.set_num_threads(threads)
        assert torch.equal(render(pictures, drawn, config).images, alone)
    finally:
        torch.set_num_threads(1)


class Fork(Dataset):
    """Renders in whatever process asks for its one item."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return 1

    def __getitem__(self, _):
        return sample_views(self.pictures, ViewsConfig(size=32), torch.Generator().manual_seed(3)).images


def test_a_fork_renders_too(photos):
    """It must not wait for threads that only its parent has."""
    pictures = Fork(photos["train"].batch(range(16)))
    try:
        torch.set_num_threads(2)
        here = pictures[0]
        loader = DataLoader(pictures, num_workers=1, multiprocessing_context="fork", timeout=60)
        assert torch.equal(next(iter(loader))[0], here)
    finally:
        torch.set_num_threads(1)


def test_an_error_in_a_thread_comes_to_light(photos, generator, monkeypatch):
    def broken(*_):
        raise ValueError("from a thread")

    monkeypatch.setattr(fused, "_render", broken)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="from a thread"):
            sample_views(photos["train"].batch(range(16)), ViewsConfig(), generator)
    finally:
        torch.set_num_threads(1)


def test_no_place_for_compiled_code_is_no_error(monkeypatch):
    compiled, njit = [], kernels.njit

    def without_a_place(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: compiled.append(function) or njit(**options)(function)

    monkeypatch.setattr(kernels, "njit", without_a_place)
    assert kernels._compiled(lambda x: x + 1)(1) == 2
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"box": torch.zeros(4, 5, 4)}, r"drawn.box is \[4, 5, 4\]; for these pictures and views, \[8, 5, 4\]"),
        ({"offsets": torch.zeros(8, 15, 2)}, r"drawn.offsets is \[8, 15, 2\]"),
        ({"sigma": torch.full((8, 5), torch.nan)}, "drawn.sigma holds values that are infinite or not a number"),
        ({"box": torch.full((8, 5, 4), torch.inf)}, "drawn.box holds values"),
    ],
)
def test_what_would_be_read_past_its_end_is_refused(change, reason, photos, generator):
    drawn = draw(8, (64, 64), ViewsConfig(), generator)._replace(**change)
    with pytest.raises(CodialError, match=reason):
        render(photos["train"].batch(range(8)), drawn, ViewsConfig())


def test_pictures_without_pixels_are_refused(generator):
    with pytest.raises(CodialError, match=r"Pictures are \[2, 3, 0, 8\]"):
        sample_views(torch.zeros(2, 3, 0, 8, dtype=torch.uint8), ViewsConfig(), generator)


def test_machine_code_is_kept_between_processes(photos, generator):
    """Compiling takes seconds, which nobody should wait for twice."""
    sample_views(photos["train"].batch(range(8)), ViewsConfig(), generator)
    source = """
import torch, codial
from codial.config import ViewsConfig
from codial.views import kernels
codial.sample_views(torch.zeros(8, 3, 64, 64, dtype=torch.uint8), ViewsConfig(), torch.Generator())
print(len(kernels.render.stats.cache_hits), len(kernels.render.stats.cache_misses))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1 0\n", done.stderr


@pytest.mark.slow
def test_who_compiles_sees_what_later_processes_see(tmp_path):
    """Bit for bit: a run begun in a fresh installation may go on in a process that reads the machine code from disk."""
    source = """
import hashlib, torch, codial
from codial.config import ViewsConfig
from codial.views import kernels
torch.set_num_threads(1)
pictures = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
config = ViewsConfig(size=48, blur=0.5)
for given in (pictures, (255 * pictures).byte()):
    views = codial.sample_views(given, config, torch.Generator().manual_seed(0)).images
    print(hashlib.sha256(views.numpy().tobytes()).hexdigest())
print("compiled" if kernels.render.stats.cache_misses else "read")
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300, env=environment)
        for _ in range(2)
    )
    assert first.stdout.endswith("compiled\n"), first.stderr
    assert second.stdout.endswith("read\n"), second.stderr
    assert first.stdout.split()[:2] == second.stdout.split()[:2]
