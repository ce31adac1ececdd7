"""Cores as this process may use them: affinity, and the quotas of both versions of control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frozenprobe.system.cores import available_cores


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose affinity lets this process on 16 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16), raising=False)


def write(root: Path, files: dict[str, str]) -> Path:
    """Files of the system below another root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = {"proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/a/b\n0::/"}
V2 = {"proc/self/cgroup": "0::/a/b"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        (V2, 16),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 16),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "400000 100000"}, 4),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 2),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "1000 100000"}, 1),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "9900000 100000"}, 16),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "nonsense"}, 16),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3),
        (V2 | {"sys/fs/cgroup/a/b/cpu.max": "200000 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 50000"}, 4),  # a container of its own
        ({"proc/self/cgroup": "0::/host/path", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),  # that is told the host's
        ({"proc/self/cgroup": "0::/../../c", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            V1 | {"sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000"},
            16,
        ),
        (
            V1
            | {"sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us": "250000", "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us": "100000"},
            3,
        ),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 1),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000"}, 16),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_every_group_above(
    tmp_path: Path, files: dict[str, str], cores: int
) -> None:
    assert available_cores(write(tmp_path, files)) == cores


def test_a_system_without_affinity_tells_all_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("process_cpu_count", "sched_getaffinity"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores(tmp_path) == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores(tmp_path) == 1
