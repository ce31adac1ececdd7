"""Images -> batches of views: worker processes cut them, this process puts them together."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from frozenprobe.errors import FrozenprobeError, ImageError
from frozenprobe.extract.views.cut import Cut, Job, Row, ViewSettings, cut_all
from frozenprobe.system.quantities import megabytes

log = logging.getLogger("frozenprobe")

PREFETCH = 2  # images that a worker has cut, or is cutting, before they are asked for
SPARE = 1 << 20  # bytes of shared memory: the queues between processes have some, too
DEAD = re.compile(r"DataLoader worker \(.*?\) (?:is (killed by signal: [\w ]+)|(exited unexpectedly[\w ]*))")


@dataclass
class Seconds:
    """Where the time went; decoding and cutting are summed over workers."""

    decoding: float = 0.0
    views: float = 0.0
    backbone: float = 0.0
    writing: float = 0.0

    def count(self, cut: Cut) -> None:
        """Add what decoding and cutting an image took."""
        self.decoding += cut.decoding
        self.views += cut.cutting


class ViewDataset(Dataset[Any]):
    """One item a job: its views, or the parts of an error.

    An error is returned, not raised: torch re-raises a worker's error as another type with a traceback for a message.
    """

    def __init__(self, jobs: Sequence[Job], settings: ViewSettings) -> None:
        self.jobs = list(jobs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        try:
            cut = cut_all(self.jobs[index], self.settings)
        except ImageError as error:
            return error.wanted, error.found, error.where, error.remedy
        return cut if get_worker_info() is None else shared(cut)


def shared(cut: Cut) -> Cut:
    """Pixels moved to shared memory; where it is full by now they go through a pipe, as an array: slower, but they go.

    A queue would move them by itself, in a thread that prints an error and goes on: the image would be waited for
    for ever.
    """
    try:
        pixels: Any = cut.pixels.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError:
        pixels = cut.pixels.numpy()
    return cut._replace(pixels=pixels)


def settle_workers(jobs: Sequence[Job], settings: ViewSettings, wanted: int, free: int | None) -> tuple[int, int]:
    """How many processes cut, and how many images ahead each may be; says so if the shared memory makes that fewer.

    Args:
        jobs: what to cut.
        settings: how.
        wanted: processes.
        free: bytes of shared memory; None: no limit.
    """
    image = max((len(job.views) for job in jobs), default=1) * settings.preprocessing.size**2 * 3
    workers, prefetch = fit_workers(wanted, image, free)
    if free is not None and (workers, prefetch) != (wanted, PREFETCH):
        need = in_flight(wanted, PREFETCH) * image + SPARE
        log.warning(
            "%d processes that cut views share up to %s, of which %s are free (/dev/shm): going on with %s; "
            "for all of them in Docker: docker run --shm-size=%dg ... (or --ipc=host)",
            wanted, megabytes(need), megabytes(free),
            f"{workers}, each one image ahead" if workers else "none, this process cuts", need // 2**30 + 2,
        )  # fmt: skip
    return workers, prefetch


def fit_workers(wanted: int, image: int, free: int | None) -> tuple[int, int]:
    """How many processes may cut, and how many images ahead each may be, so that all of them fit.

    All of them two ahead where there is room, else one ahead, else fewer of them, at last none.

    Args:
        wanted: processes.
        image: bytes of the views of one.
        free: bytes of shared memory; None: no limit.
    """
    room = in_flight(wanted, PREFETCH) if free is None else max(0, free - SPARE) // image
    if not wanted or room >= in_flight(wanted, PREFETCH):
        return wanted, PREFETCH
    return max(0, min(wanted, room - in_flight(0, 1))), 1


def in_flight(workers: int, prefetch: int) -> int:
    """Images in shared memory at most: those that workers are ahead, and one that this process is taking."""
    return workers * prefetch + 1


def load_batches(
    jobs: Sequence[Job],
    settings: ViewSettings,
    *,
    batch_size: int,
    workers: int,
    seconds: Seconds,
    prefetch: int = PREFETCH,
) -> Iterator[list[Row]]:
    """Batches of `batch_size` views in the order of the jobs; the last one may be smaller.

    Args:
        jobs: what to cut.
        settings: how.
        batch_size: B, in views.
        workers: processes that decode and cut; 0 does it in this one.
        seconds: decoding and cutting times are added here.
        prefetch: images that each of them may be ahead.

    Raises:
        ImageError: a file that cannot be decoded.
    """
    dataset, ahead = ViewDataset(jobs, settings), prefetch if workers else None
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=ahead, collate_fn=keep)
    waiting: list[Row] = []
    for cut in map(taken, loader):
        seconds.count(cut)
        waiting += cut.rows
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            del waiting[:batch_size]
    if waiting:
        yield waiting


def taken(item: Any) -> Cut:
    """What a worker has handed over; copied (0.08 ms a view of 512 px), so that a batch holds no shared memory.

    Raises:
        ImageError: that is an error.
    """
    if not isinstance(item, Cut):
        wanted, found, where, remedy = item
        raise ImageError(wanted, found=found, where=where, remedy=remedy)
    pixels = torch.as_tensor(item.pixels)
    is_shared: bool = pixels.is_shared()  # type: ignore[no-untyped-call]
    return item._replace(pixels=pixels.clone() if is_shared else pixels)


@contextmanager
def dead_workers_named() -> Iterator[None]:
    """Within, the death of a worker process is an error that says what to do: torch raises one from a signal handler.

    Raises:
        FrozenprobeError: the system has killed one, for want of memory or of shared memory.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        dead = DEAD.search(f"{error.__cause__} {error}")  # the handler's, which knows the signal, may be the cause
        if dead is None and isinstance(error, RuntimeError):
            raise
        found = f"one is gone ({type(error).__name__})"  # it died while it was asked for what it had cut
        if dead is not None:
            found = f"one was {dead[1]}" if dead[1] else f"one {dead[2]}"
        raise FrozenprobeError(
            "Processes that cut views until all are cut",
            found=found,
            where="the processes of --workers",
            remedy="run the same command again, it goes on with the rows it has: with fewer --workers if it was Killed "
            "(no memory left), in Docker with --shm-size=2g (or --ipc=host) if it was a Bus error",
        ) from error


def keep(item: Any) -> Any:
    """Collate nothing (a named function, so that spawn can send it)."""
    return item
