"""Memory as this process may use it: the machine's, on each kind of system, and the limits of control groups."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from frozenprobe.system.memory import MemoryStatus, shared_memory_free, total_memory
from tests.system.test_cores import write

MACHINE = 4096 * 1000


@pytest.fixture
def sysconf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 4 MB."""
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", lambda name: sizes[name], raising=False)


V1 = {"proc/self/cgroup": "4:memory:/a/b\n2:cpu:/c"}
V2 = {"proc/self/cgroup": "0::/a/b"}


@pytest.mark.usefixtures("sysconf")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MACHINE),
        (V2 | {"sys/fs/cgroup/a/b/memory.max": "max"}, MACHINE),
        (V2 | {"sys/fs/cgroup/a/b/memory.max": "1000000"}, 1_000_000),
        (V2 | {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "2000000"}, 2_000_000),
        (V2 | {"sys/fs/cgroup/a/b/memory.max": "99999999999"}, MACHINE),
        (V1 | {"sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "1000000"}, 1_000_000),
        (V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000"}, 3_000_000),
        (V1 | {"sys/fs/cgroup/cpu/c/memory.limit_in_bytes": "3000000"}, MACHINE),
    ],
)
def test_memory_is_the_machines_or_the_least_of_the_groups(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    assert total_memory(write(tmp_path, files)) == expected


def test_where_nothing_tells_there_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And version 1's number for no limit is none."""
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert total_memory(tmp_path) is None
    unlimited = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}
    assert total_memory(write(tmp_path, V1 | unlimited)) is None
    assert total_memory(write(tmp_path, {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000"})) == 1000


@pytest.mark.parametrize(("answer", "expected"), [(1, 17_179_869_184), (0, None)])
def test_windows_is_asked_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int, expected: int | None
) -> None:
    def tell(pointer: object) -> int:
        status = pointer._obj  # type: ignore[attr-defined]
        assert status.length == ctypes.sizeof(MemoryStatus) == 64  # else Windows refuses to answer
        status.physical = 17_179_869_184
        return answer

    kernel = SimpleNamespace(GlobalMemoryStatusEx=tell)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=kernel), raising=False)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert total_memory(tmp_path) == expected


def test_shared_memory_is_what_is_free_in_its_folder_and_without_one_has_no_limit(tmp_path: Path) -> None:
    assert shared_memory_free(tmp_path) is None
    (tmp_path / "dev" / "shm").mkdir(parents=True)
    free = shared_memory_free(tmp_path)
    assert free is not None
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
