"""Threads of our own, with BLAS kept to one in each: its own spin while they wait, at many times the work's cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeVar

One = TypeVar("One")
Other = TypeVar("Other")

CORES = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)  # not on macOS, Windows
THREADS = int(os.environ.get("OMP_NUM_THREADS") or CORES)
POOL: list[ThreadPoolExecutor] = []


def in_threads(work: Callable[[One], Other], items: Iterable[One]) -> list[Other]:
    """Call `work` for each item, in threads made when they are first needed; `work` must not call this again."""
    if THREADS == 1:
        return [*map(work, items)]
    if not POOL:
        POOL.append(ThreadPoolExecutor(THREADS))
    return [*POOL[0].map(work, items)]


def one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS works in the thread that calls it."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits
