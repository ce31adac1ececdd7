"""How much memory this process may use: what the machine has, or less in a container; and what processes may share."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path
from typing import Any

from frozenprobe.system.cgroups import ROOT, own_groups
from frozenprobe.system.files import system_text

NO_LIMIT = 1 << 60  # bytes; where version 1 sets none, it tells the largest number it can


class MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX, in which Windows tells what memory there is."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("physical", ctypes.c_uint64),
        ("rest", ctypes.c_uint64 * 6),
    )


def total_memory(root: Path = ROOT) -> int | None:
    """Bytes of memory that the machine has, or that the control groups of this process allow; None: nothing tells.

    Args:
        root: where `proc` and `sys` lie.
    """
    files = [group / name for group in own_groups("memory", root) for name in ("memory.max", "memory.limit_in_bytes")]
    limits = [int(text) for text in map(system_text, files) if text.isdecimal() and int(text) < NO_LIMIT]
    physical = physical_memory()
    return min(limits if physical is None else [physical, *limits], default=None)


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; None where the system does not tell."""
    windows: Any = getattr(ctypes, "windll", None)
    if windows is not None:
        status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
        return int(status.physical) if windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def shared_memory_free(root: Path = ROOT) -> int | None:
    """Bytes that are free where processes share memory; None where nothing limits them: only Linux has such a folder.

    Docker gives a container 64 MB of it.

    Args:
        root: where `dev` lies.
    """
    try:
        return shutil.disk_usage(root / "dev/shm").free
    except OSError:
        return None
