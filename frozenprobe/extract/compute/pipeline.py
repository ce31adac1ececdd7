"""Jobs -> embedded views: decoding, cutting and the network side by side, so that neither waits for the other.

On a CPU every thread does all of it, an image at a time: with a thread a core and small batches the activations of the
network stay in the core's cache, no thread waits for another inside a layer, and decoding needs no share of its own
(EfficientNet-Lite0 on 2 cores: 120 views/s in torch, against 46 in batches of 32 with two threads in every layer).
On a device, worker processes decode and cut, and the device computes a batch while the next one is copied.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute.embedder import Embedder, Vectors
from frozenprobe.extract.compute.loader import PREFETCH, Seconds, dead_workers_named, load_batches
from frozenprobe.extract.views.cut import Job, Row, ViewSettings, cut_all
from frozenprobe.extract.views.recipes import View

NO_PIXELS = View(torch.empty(0, dtype=torch.uint8), None)
AHEAD = 2  # images a thread that wait to be written, batches a device computes ahead


@dataclass(frozen=True)
class Embedded:
    """Views and their vectors, `(n, D)` float32."""

    rows: list[Row]
    vectors: Vectors


def embed_jobs(
    jobs: Sequence[Job],
    settings: ViewSettings,
    embedder: Embedder,
    *,
    workers: int,
    seconds: Seconds,
    prefetch: int = PREFETCH,
) -> Iterator[Embedded]:
    """Cut and embed all views of all jobs, in their order.

    Args:
        jobs: what to cut.
        settings: how.
        embedder: the backbone on its device, with its batch size.
        workers: threads on a CPU, at least one is taken; on a device processes that decode and cut, 0 does it here.
        seconds: where the time goes is added here, summed over threads and processes.
        prefetch: images that each process may be ahead.

    Raises:
        ImageError: a file that cannot be decoded; what was computed before has been handed out.
        FrozenprobeError: a process has died; likewise.
    """
    if embedder.device.type == "cpu":
        return embed_on_cores(jobs, settings, embedder, threads=max(1, workers), seconds=seconds)
    return embed_on_device(jobs, settings, embedder, workers=workers, seconds=seconds, prefetch=prefetch)


def embed_on_cores(
    jobs: Sequence[Job], settings: ViewSettings, embedder: Embedder, *, threads: int, seconds: Seconds
) -> Iterator[Embedded]:
    """As `embed_jobs`: every thread takes an image, cuts it and runs the network on its views."""
    stopped, lock = threading.Event(), threading.Lock()

    def embed(job: Job) -> list[Embedded]:
        cut = cut_all(job, settings)
        start, batches, rows, size = perf_counter(), [], cut.rows, embedder.batch_size
        for batch in (rows[first : first + size] for first in range(0, len(rows), size)):
            if stopped.is_set():
                break
            batches.append(Embedded(without_pixels(batch), embed_rows(batch, embedder)()))
        with lock:
            seconds.count(cut)
            seconds.backbone += perf_counter() - start
        return batches

    waiting: deque[Future[list[Embedded]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(embed, job))
                if len(waiting) > AHEAD * threads:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            stopped.set()
            for future in waiting:
                future.cancel()


def embed_on_device(
    jobs: Sequence[Job],
    settings: ViewSettings,
    embedder: Embedder,
    *,
    workers: int,
    seconds: Seconds,
    prefetch: int = PREFETCH,
) -> Iterator[Embedded]:
    """As `embed_jobs`: workers cut, the device computes; a few batches are on their way at any time."""
    waiting: deque[tuple[list[Row], Callable[[], Vectors]]] = deque()
    size = embedder.batch_size
    batches = load_batches(jobs, settings, batch_size=size, workers=workers, seconds=seconds, prefetch=prefetch)
    bad: FrozenprobeError | None = None
    try:
        with dead_workers_named():
            for batch in batches:
                start = perf_counter()
                waiting.append((without_pixels(batch), embed_rows(batch, embedder)))
                seconds.backbone += perf_counter() - start
                if len(waiting) > AHEAD:
                    yield fetched(*waiting.popleft(), seconds)
    except FrozenprobeError as error:  # costs what comes after it, not what the device has already computed
        bad = error
    while waiting:
        yield fetched(*waiting.popleft(), seconds)
    if bad is not None:
        raise bad


def fetched(rows: list[Row], finish: Callable[[], Vectors], seconds: Seconds) -> Embedded:
    """Wait for a batch."""
    start = perf_counter()
    vectors = finish()
    seconds.backbone += perf_counter() - start
    return Embedded(rows, vectors)


def embed_rows(rows: Sequence[Row], embedder: Embedder) -> Callable[[], Vectors]:
    """Begin to embed views."""
    views = [row.view for row in rows]
    return embedder.start([view.pixels for view in views], [view.erased for view in views])


def without_pixels(rows: Sequence[Row]) -> list[Row]:
    """The rows as they wait to be written: pixels would hold memory, and between processes a file descriptor."""
    return [row._replace(view=NO_PIXELS) for row in rows]


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Within, one operation of torch on a CPU uses this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
