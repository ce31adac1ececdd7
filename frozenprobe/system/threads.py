"""Threads of our own, with BLAS kept to one in each: its own spin while they wait, at many times the work's cost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from threading import Lock, local
from typing import TypeVar

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.cores import available_cores

One = TypeVar("One")
Other = TypeVar("Other")

VARIABLE = "OMP_NUM_THREADS"
INSIDE = local()  # `pool` is true in our threads: one that waited there for others would leave them too few


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
    return ThreadPoolExecutor(thread_count(), initializer=lambda: setattr(INSIDE, "pool", True))


def in_threads(work: Callable[[One], Other], items: Iterable[One]) -> list[Other]:
    """Call `work` for each item, side by side, BLAS in one thread each; one after the other inside such a call."""
    every = [*items]
    with one_blas_thread():
        if len(every) < 2 or thread_count() == 1 or getattr(INSIDE, "pool", False):
            return [*map(work, every)]
        return [*pool().map(work, every)]


@dataclass
class Held:
    """What keeps BLAS to one thread.

    Attributes:
        depth: how many ask for it now, in any thread.
        modules: that were loaded when libraries were last looked for: a later one may bring a BLAS of its own.
        undo: gives the libraries back what they had.
        lock: for all of these.
    """

    depth: int = 0
    modules: int = 0
    undo: ExitStack = field(default_factory=ExitStack)
    lock: Lock = field(default_factory=Lock)


HELD = Held()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS works in the thread that calls it, in every thread, until the last one that asked for it is done.

    It may be asked for again inside: that costs nothing, and takes in the libraries that were loaded since.
    """
    with HELD.lock:
        HELD.depth += 1
        if HELD.depth == 1 or len(sys.modules) != HELD.modules:
            hold_libraries()
    try:
        yield
    finally:
        with HELD.lock:
            HELD.depth -= 1
            if not HELD.depth:
                HELD.undo.close()


def hold_libraries() -> None:
    """Keep the BLAS libraries that are loaded and have more threads to one."""
    from threadpoolctl import ThreadpoolController

    HELD.modules = len(sys.modules)
    libraries = ThreadpoolController().select(user_api="blas")
    if any(library.num_threads != 1 for library in libraries.lib_controllers):
        HELD.undo.enter_context(libraries.limit(limits=1))
