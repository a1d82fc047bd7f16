"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1.

    Those of its affinity, and no more than a container's quota of processor time allows
    (`--cpus`; control groups of Linux, version 2 and 1), rounded up. root: where `proc`
    and `sys` are.
    """
    cores = _by_affinity(root) or os.cpu_count() or 1
    return max(1, math.ceil(min([cores, *_quotas(root)])))


def _by_affinity(root: Path) -> int:
    """0 where it isn't known."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    count = 0
    with suppress(OSError, ValueError, StopIteration):  # Linux, but PyPy, which can't ask
        lines = (root / "proc/self/status").read_text().splitlines()
        listed = next(line for line in lines if line.startswith("Cpus_allowed_list:"))
        for part in listed.partition(":")[2].split(","):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    return count


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of this process's control groups and of those above them, in cores."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _quotas_of(root / "sys/fs/cgroup", path, "cpu.max")
            elif "cpu" in controllers.split(","):
                for name in ("cpu", controllers):
                    mount = root / "sys/fs/cgroup" / name
                    yield from _quotas_of(mount, path, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quotas_of(mount: Path, path: str, *files: str) -> Iterator[float]:
    """The quotas of a group and those above it. A container may see only the topmost."""
    group = Path(path.lstrip("/"))
    for each in (group, *group.parents):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = " ".join((mount / each / file).read_text() for file in files).split()
            if quota not in ("max", "-1"):
                yield int(quota) / int(period)
