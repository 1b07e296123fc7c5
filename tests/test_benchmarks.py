"""That the benchmarks count and divide rightly, and that the peers make the same kind of views."""

import time

import pytest
import torch

import codial
from benchmarks import streaming
from benchmarks.__main__ import _table
from benchmarks.clock import Measured, Memory, rate, times
from benchmarks.sampling import cases, kornia_views, pictures, torchvision_view


def test_a_rate_is_things_done_by_seconds():
    def work():
        time.sleep(0.02)
        return 10

    measured = rate(work, repeats=3)
    assert measured.lowest <= measured.per_second <= measured.highest
    assert 250 < measured.per_second < 505
    assert 20 < times(work, repeats=3).per_second < 50.5


def test_memory_is_what_was_added_at_the_highest():
    memory = Memory()
    taken = torch.ones(50_000_000)  # 200 MB
    del taken
    assert 150 < memory.highest < 400


def test_the_table_says_how_many_times_as_fast_ours_is():
    rates = {"codial": Measured(100, 90, 110, 5)._asdict(), "peer": Measured(20, 19, 21, 7, "slow")._asdict()}
    lines = _table({"sampling": {"unit": "views a second", "cases": {"small": rates}}})
    assert lines[-2:] == [
        "| sampling: small | codial | 100 views a second | 1.00 | 5 |  |",
        "| sampling: small | peer | 20 views a second | 5.00 | 7 | slow |",
    ]


def test_files_to_stream_differ_and_decode(tmp_path):
    streaming.write(tmp_path, 60)
    images = codial.load_images(tmp_path, "all", size=32, keep="files", strict=True)
    assert images.labels.bincount().tolist() == [3] * 20
    assert len(images.batch(range(60)).flatten(1).unique(dim=0)) == 60
    assert len({path.read_bytes() for path in tmp_path.rglob("*.jpg")}) == 60
    assert len({path.stat().st_size for path in tmp_path.rglob("*.jpg")}) > 30


@pytest.mark.parametrize("case", cases()[:4], ids=lambda case: case.name)
def test_torchvisions_views_are_like_ours(case):
    torch.manual_seed(0)
    make, batch = torchvision_view(case.config), pictures(case.picture, 8)
    views = torch.stack([make(picture, k) for picture in batch for k in range(len(case.config.primary))])
    assert views.shape[1:] == (3, case.config.size, case.config.size)
    assert views.dtype == torch.float32
    assert 0 <= views.min() < views.max() <= 1 + 1e-5


@pytest.mark.parametrize("case", cases()[:4], ids=lambda case: case.name)
def test_kornias_views_are_like_ours(case):
    pytest.importorskip("kornia", reason="a peer that only `make bench` installs")
    views = kornia_views(case.config)(pictures(case.picture, 4))
    assert views.shape == (4, len(case.config.primary), 3, case.config.size, case.config.size)
    assert -1e-4 <= views.min() < views.max() <= 1 + 1e-4
