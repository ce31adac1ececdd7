"""Ranks: processes that share one extraction, told apart by RANK and WORLD_SIZE in the environment and nothing else.

There is no process group: ranks meet on the file system only. A collective would hang when a rank dies, and torchrun
stops all ranks then anyway; what each has computed is on disk, and any number of ranks goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.cores import available_cores
from frozenprobe.system.memory import shared_memory_free


@dataclass(frozen=True)
class Rank:
    """One of the processes of an extraction.

    Attributes:
        number: from 0 on.
        world: how many there are; 1: a process that is alone.
        neighbours: ranks on this machine, this one included: they share its cores.
    """

    number: int = 0
    world: int = 1
    neighbours: int = 1

    def __str__(self) -> str:
        return f"rank {self.number} of {self.world}"

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.world == 1

    def is_idle(self, images: int) -> bool:
        """Whether none of so many images is this rank's: they are dealt out in turn, beginning with rank 0."""
        return self.number >= images

    def device(self, name: str, devices: int) -> str:
        """The device that is meant by `name` on a machine with this many CUDA devices: ranks take them in turn."""
        return f"cuda:{self.number % devices}" if name in ("auto", "cuda") and devices and not self.is_alone else name


ALONE = Rank()


def read_rank(environment: Mapping[str, str] = os.environ) -> Rank:
    """Which rank this process is; without WORLD_SIZE, or with 1, it is alone.

    LOCAL_WORLD_SIZE, which torchrun sets too, is a hint on how to share cores: no result depends on it.

    Raises:
        FrozenprobeError: no whole numbers, or a rank that is none of them.
    """
    if not environment.get("WORLD_SIZE"):
        return ALONE
    world = read_number(environment, "WORLD_SIZE", least=1)
    number = read_number(environment, "RANK", least=0)
    if number >= world:
        raise bad_number("RANK", f"A number below WORLD_SIZE={world}", str(number))
    neighbours = read_number(environment, "LOCAL_WORLD_SIZE", least=1) if environment.get("LOCAL_WORLD_SIZE") else 1
    return Rank(number, world, neighbours)


def own_cores(environment: Mapping[str, str] = os.environ) -> int:
    """This rank's share of the cores that it and its neighbours may use."""
    return max(1, available_cores() // read_rank(environment).neighbours)


def own_shared_memory(environment: Mapping[str, str] = os.environ) -> int | None:
    """This rank's share of the shared memory that is free, in bytes; None where nothing limits it."""
    free = shared_memory_free()
    return None if free is None else free // read_rank(environment).neighbours


def threads_a_call(workers: int) -> int:
    """Threads of one call on a CPU, so that all workers together use each core once."""
    return max(1, own_cores() // max(1, workers))


def read_number(environment: Mapping[str, str], name: str, *, least: int) -> int:
    """A whole number from the environment.

    Raises:
        FrozenprobeError: it is none, or too small.
    """
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise bad_number(name, f"A whole number from {least} on", text)
    return int(text)


def bad_number(name: str, wanted: str, found: str) -> FrozenprobeError:
    """The error for an environment that torchrun would not make."""
    return FrozenprobeError(
        wanted,
        found=repr(found) if found else "nothing",
        where=f"the environment variable {name}",
        remedy="start ranks with `torchrun --nproc-per-node 8 -m frozenprobe extract ...`, or set RANK and WORLD_SIZE; "
        "without WORLD_SIZE one process does everything",
    )
