"""Limits of control groups, told by files in the layouts of cgroup v1 and v2."""

import psutil
import pytest
import torch

from codial.utils import containers, devices
from codial.utils.containers import free_container_memory, usable_processors

GIB = 2**30
UNLIMITED_V1 = 9223372036854771712


def write(root, files):
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


def v2(folder, limit, used, cached=0):
    group = f"sys/fs/cgroup/{folder}".rstrip("/")
    statistics = f"anon {used - cached}\ninactive_file {cached}\nactive_file 0"
    return {f"{group}/memory.max": limit, f"{group}/memory.current": used, f"{group}/memory.stat": statistics}


def v1(folder, limit, used, cached=0):
    group = f"sys/fs/cgroup/memory/{folder}".rstrip("/")
    return {
        f"{group}/memory.limit_in_bytes": limit,
        f"{group}/memory.usage_in_bytes": used,
        f"{group}/memory.stat": f"inactive_file 0\ntotal_inactive_file {cached}",
    }


CGROUP_V1 = "12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n1:name=systemd:/docker/abc"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("0::/", v2("", 4 * GIB, 3 * GIB), GIB, id="v2, container"),
        pytest.param("0::/", v2("", 4 * GIB, 3 * GIB, cached=2 * GIB), 3 * GIB, id="v2, files in memory are free"),
        pytest.param("0::/job/step", v2("job/step", "max", GIB) | v2("job", 2 * GIB, GIB), GIB, id="v2, above"),
        pytest.param(
            "0::/job/step", v2("job/step", 4 * GIB, GIB) | v2("job", 9 * GIB, 8 * GIB), GIB, id="v2, smallest"
        ),
        pytest.param("0::/", v2("", GIB, GIB + 4096), 0, id="v2, exceeded"),
        pytest.param("0::/", v2("", "max", GIB), None, id="v2, no limit"),
        pytest.param(CGROUP_V1, v1("", 2 * GIB, GIB), GIB, id="v1, container, whose root is its group"),
        pytest.param(CGROUP_V1, v1("docker/abc", 2 * GIB, GIB, cached=GIB // 2), 3 * GIB // 2, id="v1, whole tree"),
        pytest.param(CGROUP_V1, v1("", UNLIMITED_V1, 0), UNLIMITED_V1, id="v1, its largest number"),
        pytest.param(f"{CGROUP_V1}\n0::/", v1("", 2 * GIB, GIB), GIB, id="both, memory in v1"),
        pytest.param("0::/", {}, None, id="not mounted"),
        pytest.param("0::/", v2("", "", GIB), None, id="empty file"),
        pytest.param("nonsense", v2("", GIB, 0), None, id="unknown layout"),
        pytest.param("0::/a:b", v2("a:b", 2 * GIB, GIB), GIB, id="colon in a name"),
    ],
)
def test_free_memory_is_within_all_limits(own, files, expected, tmp_path):
    root = write(tmp_path, {"proc/self/cgroup": own} | files)
    assert free_container_memory(root) == expected


def test_another_system_has_no_limits(tmp_path):
    assert free_container_memory(tmp_path) is None
    assert usable_processors(tmp_path) >= 1


@pytest.mark.parametrize("limit", [GIB, 2**50])
def test_free_memory_of_the_cpu_is_the_smaller_number(limit, tmp_path, monkeypatch):
    root = write(tmp_path, {"proc/self/cgroup": "0::/"} | v2("", limit, GIB // 2))
    monkeypatch.setattr(devices, "free_container_memory", lambda: free_container_memory(root))
    free = devices.free_memory(torch.device("cpu"))
    assert free == limit - GIB // 2 if limit == GIB else free <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ("0::/", {"sys/fs/cgroup/cpu.max": "max 100000"}, 16),
        ("0::/job", {"sys/fs/cgroup/job/cpu.max": "20000 100000"}, 1),
        (
            "4:cpu,cpuacct:/",
            {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            "4:cpu:/",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
            16,
        ),
    ],
)
def test_processors_are_within_the_quota(own, files, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(containers.os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert usable_processors(write(tmp_path, {"proc/self/cgroup": own} | files)) == expected
