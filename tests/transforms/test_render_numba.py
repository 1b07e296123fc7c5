"""The compiled rendering against the tensor operations of other devices; threads, forks and its cache."""

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
from codial.transforms import numba_kernels, render, render_numba, render_torch, sample_params

CASES = {
    "as the paper": ViewsConfig(blur=0.5),
    "paper's smallest": ViewsConfig(size=16, blur=1.0, blur_sigma=(2.0, 9.0), blur_kernel=0.5),
    "complete images": ViewsConfig(size=48, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0)),
    "thin crops": ViewsConfig(size=40, crop_area=(0.001, 0.05), crop_aspect=(0.1, 10.0)),
    "strong warps": ViewsConfig(size=33, warp_offset=0.5),
    "warps beyond the crop": ViewsConfig(size=33, warp_offset=0.5, warp_border="image", crop_area=(0.1, 0.3)),
    "random points": ViewsConfig(size=32, warp_placement="random"),
    "no colors": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0),
    "one color": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0.5),
    "some gray": ViewsConfig(size=32, grayscale=0.5),
    "all gray": ViewsConfig(size=32, brightness=0, contrast=0, saturation=0, hue=0, grayscale=1.0),
    "backwards": ViewsConfig(size=32, primary=PRIMARY[::-1], flip=1.0),
    "warp only": ViewsConfig(size=32, primary=("warp",)),
    "repeated": ViewsConfig(size=32, primary=("rot0", "warp", "rot0", "rot90", "warp"), blur=0.5),
}


@pytest.mark.parametrize("shape", [(64, 64), (20, 20), (150, 101), (37, 301), (1, 9)])
@pytest.mark.parametrize("case", CASES)
def test_rendering_equals_the_tensor_operations_up_to_rounding(case, shape, photos, generator):
    config = CASES[case]
    images = interpolate(photos["train"].batch(range(5)).float(), shape, mode="bilinear").round().to(torch.uint8)
    params = sample_params(5, shape, config, generator)
    strided = (images.double() / 255).transpose(0, 1).contiguous().transpose(0, 1)
    for batch in (images, images.float() / 255, strided):
        got, expected = render_numba.render(batch, params, config), render_torch.render(batch, params, config)
        # Coordinates are rounded by up to 1e-5 of an image's side; neighboring pixels differ by up to 1.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-5 * max(shape))


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_constant_images_stay_constant_under_every_color_change(level, generator):
    config = ViewsConfig(size=32, blur=1.0)
    images = torch.full((8, 3, 48, 48), level, dtype=torch.uint8)
    views = sample_views(images, config, generator).images
    assert float(views.flatten(3).std(-1).max()) < 1e-6
    assert 0 <= float(views.min()) <= float(views.max()) <= 1 + 1e-6  # the weights of the blur sum to 1 up to rounding


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_the_number_of_threads_changes_no_bit(threads, photos, generator):
    images, config = photos["train"].batch(range(37)), ViewsConfig(blur=0.5)
    params = sample_params(37, (64, 64), config, generator)
    expected = render(images, params, config).images
    try:
        torch.set_num_threads(threads)
        assert torch.equal(render(images, params, config).images, expected)
    finally:
        torch.set_num_threads(1)


class RenderedInWorker(Dataset):
    """One item, rendered in the process that requests it."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return 1

    def __getitem__(self, _):
        return sample_views(self.images, ViewsConfig(size=32), torch.Generator().manual_seed(3)).images


def test_a_forked_process_renders(photos):
    """It must not wait for threads that exist in its parent only."""
    images = RenderedInWorker(photos["train"].batch(range(16)))
    try:
        torch.set_num_threads(2)
        expected = images[0]
        loader = DataLoader(images, num_workers=1, multiprocessing_context="fork", timeout=60)
        assert torch.equal(next(iter(loader))[0], expected)
    finally:
        torch.set_num_threads(1)


def test_an_error_in_a_thread_is_raised(photos, generator, monkeypatch):
    def broken(*_):
        raise ValueError("from a thread")

    monkeypatch.setattr(render_numba, "_render", broken)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="from a thread"):
            sample_views(photos["train"].batch(range(16)), ViewsConfig(), generator)
    finally:
        torch.set_num_threads(1)


def test_without_a_folder_for_its_cache_code_is_compiled_all_the_same(monkeypatch):
    compiled, njit = [], numba_kernels.njit

    def without_cache(cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: compiled.append(function) or njit(**options)(function)

    monkeypatch.setattr(numba_kernels, "njit", without_cache)
    assert numba_kernels._compiled(lambda x: x + 1)(1) == 2
    assert len(compiled) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": torch.zeros(4, 5, 4)}, r"params.box is \[4, 5, 4\]; expected \[8, 5, 4\] for this batch"),
        ({"offsets": torch.zeros(8, 15, 2)}, r"params.offsets is \[8, 15, 2\]; expected \[8, 16, 2\]"),
        ({"sigma": torch.full((8, 5), torch.nan)}, "params.sigma contains NaN or infinite values"),
        ({"box": torch.full((8, 5, 4), torch.inf)}, "params.box contains NaN or infinite values"),
    ],
)
def test_parameters_that_do_not_fit_the_batch_are_refused(change, message, photos, generator):
    params = sample_params(8, (64, 64), ViewsConfig(), generator)._replace(**change)
    with pytest.raises(CodialError, match=message):
        render(photos["train"].batch(range(8)), params, ViewsConfig())


def test_images_without_pixels_are_refused(generator):
    with pytest.raises(CodialError, match=r"Images are \[2, 3, 0, 8\]"):
        sample_views(torch.zeros(2, 3, 0, 8, dtype=torch.uint8), ViewsConfig(), generator)


def test_machine_code_is_cached_between_processes(photos, generator):
    """Compiling takes seconds."""
    sample_views(photos["train"].batch(range(8)), ViewsConfig(), generator)
    source = """
import torch, codial
from codial.config import ViewsConfig
from codial.transforms import numba_kernels
codial.sample_views(torch.zeros(8, 3, 64, 64, dtype=torch.uint8), ViewsConfig(), torch.Generator())
print(len(numba_kernels.render.stats.cache_hits), len(numba_kernels.render.stats.cache_misses))
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120)
    assert done.stdout == "1 0\n", done.stderr


@pytest.mark.slow
def test_compiled_and_cached_code_render_the_same_bits(tmp_path):
    """A run may start in a process that compiles and resume in one that loads the machine code from disk."""
    source = """
import hashlib, torch, codial
from codial.config import ViewsConfig
from codial.transforms import numba_kernels
torch.set_num_threads(1)
images = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
config = ViewsConfig(size=48, blur=0.5)
for batch in (images, (255 * images).byte()):
    views = codial.sample_views(batch, config, torch.Generator().manual_seed(0)).images
    print(hashlib.sha256(views.numpy().tobytes()).hexdigest())
print("compiled" if numba_kernels.render.stats.cache_misses else "cached")
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=300, env=environment)
        for _ in range(2)
    )
    assert first.stdout.endswith("compiled\n"), first.stderr
    assert second.stdout.endswith("cached\n"), second.stderr
    assert first.stdout.split()[:2] == second.stdout.split()[:2]
