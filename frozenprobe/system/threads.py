"""Threads of our own, with BLAS kept to one in each: its own spin while they wait, at many times the work's cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.cores import available_cores

One = TypeVar("One")
Other = TypeVar("Other")

VARIABLE = "OMP_NUM_THREADS"


@cache
def thread_count() -> int:
    """Threads that work here, counted when they are first needed.

    Raises:
        FrozenprobeError: the environment asks for none, or for no number.
    """
    return threads_asked(os.environ) or available_cores()


def threads_asked(environment: Mapping[str, str]) -> int | None:
    """Threads that OMP_NUM_THREADS asks for: of `4,2`, which has a number for each level, the first; None: for none.

    Raises:
        FrozenprobeError: no whole number above 0.
    """
    text = environment.get(VARIABLE, "").strip()
    first = text.split(",")[0].strip()
    if not text:
        return None
    if not (first.isascii() and first.isdecimal() and int(first)):
        raise FrozenprobeError(
            "A whole number of threads from 1 on",
            found=repr(text),
            where=f"the environment variable {VARIABLE}",
            remedy=f"set it to a number, or unset it: then there is a thread for each of {available_cores()} cores",
        )
    return int(first)


@cache
def pool() -> ThreadPoolExecutor:
    """The threads, made when they are first needed."""
    return ThreadPoolExecutor(thread_count())


def in_threads(work: Callable[[One], Other], items: Iterable[One]) -> list[Other]:
    """Call `work` for each item, side by side; `work` must not call this again."""
    return [*(map(work, items) if thread_count() == 1 else pool().map(work, items))]


def one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS works in the thread that calls it."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits
