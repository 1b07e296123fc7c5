"""The benchmarks measure correctly, and torchvision and kornia make the same kind of views."""

import time

import pytest
import torch

import codial
from benchmarks import clock, streaming
from benchmarks.__main__ import _table
from benchmarks.clock import Measurement, Memory, calls_per_second, rate
from benchmarks.sampling import cases, images, kornia_views, torchvision_view


def test_a_rate_is_items_per_second(monkeypatch):
    monkeypatch.setattr(clock, "MIN_SECONDS", 0.1)

    def work():
        time.sleep(0.02)
        return 10

    measured = rate(work, repeats=3)
    assert measured.lowest <= measured.per_second <= measured.highest
    assert 100 < measured.per_second < 505
    assert 10 < calls_per_second(work, repeats=3).per_second < 50.5


def test_memory_is_the_peak_above_the_start():
    memory = Memory()
    allocated = torch.ones(50_000_000)  # 200 MB
    del allocated
    assert 150 < memory.highest < 400


def test_the_table_has_the_speed_up():
    rates = {"codial": Measurement(100, 90, 110, 5)._asdict(), "peer": Measurement(20, 19, 21, 7, "slow")._asdict()}
    lines = _table({"sampling": {"unit": "views a second", "cases": {"small": rates}}})
    assert lines[-2:] == [
        "| sampling: small | codial | 100 views a second | 1.00 | 5 |  |",
        "| sampling: small | peer | 20 views a second | 5.00 | 7 | slow |",
    ]


def test_streamed_files_differ_and_can_be_decoded(tmp_path):
    streaming.write(tmp_path, 60)
    dataset = codial.load_images(tmp_path, "all", size=32, storage="files", strict=True)
    assert dataset.labels.bincount().tolist() == [3] * 20
    assert len(dataset.batch(range(60)).flatten(1).unique(dim=0)) == 60
    assert len({path.read_bytes() for path in tmp_path.rglob("*.jpg")}) == 60
    assert len({path.stat().st_size for path in tmp_path.rglob("*.jpg")}) > 30


@pytest.mark.parametrize("case", cases()[:4], ids=lambda case: case.name)
def test_torchvision_views(case):
    torch.manual_seed(0)
    make, batch = torchvision_view(case.config), images(case.image, 8)
    views = torch.stack([make(image, k) for image in batch for k in range(len(case.config.primary))])
    assert views.shape[1:] == (3, case.config.size, case.config.size)
    assert views.dtype == torch.float32
    assert 0 <= views.min() < views.max() <= 1 + 1e-5


@pytest.mark.parametrize("case", cases()[:4], ids=lambda case: case.name)
def test_kornia_views(case):
    pytest.importorskip("kornia", reason="only `make bench` installs it")
    views = kornia_views(case.config)(images(case.image, 4))
    assert views.shape == (4, len(case.config.primary), 3, case.config.size, case.config.size)
    assert -1e-4 <= views.min() < views.max() <= 1 + 1e-4
