"""How many cores a process may use, in containers above all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from restante.cores import usable_cores


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


def machine(root: Path, cgroup: str, **files: str) -> Path:
    """A root whose process is in these control groups; files by path, `__` for `/`."""
    for name, text in {"proc__self__cgroup": cgroup, **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = "sys__fs__cgroup__"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)],
)
def test_a_containers_quota_rounded_up(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(machine(tmp_path, "0::/\n", **{f"{V2}cpu.max": f"{quota}\n"})) == cores


def test_the_narrowest_of_the_groups_above_counts(tmp_path: Path) -> None:
    limits = {
        f"{V2}pod__cpu.max": "400000 100000\n",
        f"{V2}pod__app__cpu.max": "max 100000\n",
        f"{V2}pod__app__mail__cpu.max": "800000 100000\n",
    }
    assert usable_cores(machine(tmp_path, "0::/pod/app/mail\n", **limits)) == 4


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("seen", ["docker__4f1c__", ""], ids=["the host's view", "a container's"])
def test_control_groups_of_the_first_version(tmp_path: Path, mount: str, seen: str) -> None:
    groups = "12:devices:/docker/4f1c\n4:cpu,cpuacct:/docker/4f1c\n0::/\n"
    limits = {
        f"{V2}{mount}__{seen}cpu.cfs_quota_us": "300000\n",
        f"{V2}{mount}__{seen}cpu.cfs_period_us": "100000\n",
    }
    assert usable_cores(machine(tmp_path, groups, **limits)) == 3


def test_without_a_quota_affinity_counts(tmp_path: Path) -> None:
    groups = {
        f"{V2}cpu__cpu.cfs_quota_us": "-1\n",
        f"{V2}cpu__cpu.cfs_period_us": "100000\n",
        f"{V2}cpu.max": "nonsense\n",
    }
    assert usable_cores(machine(tmp_path, "4:cpu:/\n0::/\nnonsense\n", **groups)) == 16
    assert usable_cores(tmp_path / "not Linux") == 16


def test_where_python_can_not_ask_for_affinity_linux_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    status = "Name:\tpypy3\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,5,8-9\n"
    assert usable_cores(machine(tmp_path, "0::/\n", proc__self__status=status)) == 6


def test_where_affinity_is_not_known_all_cores_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores(tmp_path) == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1
