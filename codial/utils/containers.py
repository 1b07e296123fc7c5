"""What a container, or another control group of Linux, allows its processes: memory and processors.

Files below /proc and /sys tell it, in the layouts of cgroup v1 and v2. The limits of a process's group and of all
groups above it count; a container does not see those above its own.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# Files of the limit and of the usage, and the name of the reclaimable part in memory.stat.
_Limit = tuple[str, str, str]
_MEMORY_V1: _Limit = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_MEMORY_V2: _Limit = ("memory.max", "memory.current", "inactive_file")


def free_container_memory(root: Path = _ROOT) -> int | None:
    """Return how many bytes may still be allocated; None without a limit.

    Files that the kernel keeps in memory as long as there is space, count as free.

    Args:
        root: folder with `proc` and `sys`.
    """
    limits = [(folder, _MEMORY_V1) for folder in _groups(root, "memory")]
    limits += [(folder, _MEMORY_V2) for folder in _groups(root, "")]
    free = [left for folder, names in limits if (left := _free(folder, *names)) is not None]
    return min(free, default=None)


def usable_processors(root: Path = _ROOT) -> int:
    """Return how many processors this process may use, at least 1.

    Args:
        root: folder with `proc` and `sys`.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    shares = [_words(folder / "cpu.max") for folder in _groups(root, "")]  # such as "150000 100000", or "max 100000"
    for folder in _groups(root, "cpu"):
        shares.append(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))
    for words in shares:
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            count = min(count, -(-int(words[0]) // int(words[1])))
    return max(1, count)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it; "" is the only hierarchy of v2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon and controller in controllers.split(","):
            group = Path(path.lstrip("/"))
            for top in dict.fromkeys((controllers, controller)):  # a folder such as cpu,cpuacct, or cpu
                yield from (root / "sys/fs/cgroup" / top / each for each in (group, *group.parents))


def _free(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    allowed, used = _words(folder / limit), _words(folder / usage)
    if not (allowed and used and allowed[0].isdecimal() and used[0].isdecimal()):
        return None
    statistics = dict(line.split(" ", 1) for line in _lines(folder / "memory.stat") if " " in line)
    return max(0, int(allowed[0]) - int(used[0]) + int(statistics.get(reclaimable, 0)))


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):  # another system, or a hierarchy that is not mounted
        return []
