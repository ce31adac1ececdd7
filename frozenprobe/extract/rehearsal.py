"""A few seconds of the pass, measured: real images through the real pipeline, and nothing is kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch

from frozenprobe.extract.compute.loader import Seconds
from frozenprobe.extract.views.cut import Job
from frozenprobe.extract.work import Setup, embed

WARM_SECONDS, TIMED_SECONDS = 1.5, 5.0
JOB_SECONDS = 2.0  # of slower networks only some views of an image are computed
MOST_JOBS = 20_000
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Speed:
    """What a rehearsal measured.

    Attributes:
        rate: views a second.
        views: that were timed.
        elapsed: seconds in which they were computed.
        starting: seconds that the pipeline needs once, to start its processes.
        seconds: where the time went, summed over workers, those before and after the timed ones included.
    """

    rate: float
    views: int
    elapsed: float
    starting: float
    seconds: Seconds


@dataclass(frozen=True)
class Memory:
    """Bytes of memory at the highest point so far; the rehearsal has had the network, batches and workers in it.

    Attributes:
        weights: of the network, in float32.
        process: this process; None where the system does not tell.
        workers: all processes that cut views, at most (they share some of it); None where there are none.
        device: on CUDA; None elsewhere.
    """

    weights: int
    process: int | None
    workers: int | None
    device: int | None


def rehearse(jobs: Sequence[Job], setup: Setup) -> Speed:
    """Time the pass on a sample of its jobs.

    The clock starts when the pipeline is full and stops while it still is, so that the rate is that of a long pass.

    Args:
        jobs: at least one.
        setup: what computes them.

    Raises:
        FrozenprobeError: as the pass would.
    """
    on_cpu, seconds = setup.embedder.device.type == "cpu", Seconds()
    sample = spread(jobs)
    if on_cpu:
        sample = shortened(sample, seconds_a_view(sample[0], setup))
    # Threads on a CPU take an image each: only when all have handed theirs in, as many are computed as are counted.
    rounds = set(np.cumsum([len(job.views) for job in sample])[max(1, setup.workers) - 1 :: max(1, setup.workers)])
    begun = start = perf_counter()
    full, filling = (begun, 0) if on_cpu else (None, 0)
    done = before = 0
    with closing(embed(sample, setup, seconds)) as batches:
        for batch in batches:
            now, done = perf_counter(), done + len(batch.rows)
            if full is None:  # worker processes have been started, and the first batch is back from the device
                full, filling = now, done
            if on_cpu and done not in rounds:
                continue
            if now - full <= WARM_SECONDS:
                start, before = now, done
            elif now - start >= TIMED_SECONDS:
                rate = (done - before) / (now - start)
                return Speed(rate, done - before, now - start, max(0.0, full - begun - filling / rate), seconds)
    elapsed = perf_counter() - begun  # there were so few that all are computed: this was the pass itself
    return Speed(done / elapsed, done, elapsed, 0.0, seconds)


def spread(jobs: Sequence[Job]) -> list[Job]:
    """Up to 20,000 jobs in an order of which any stretch is spread evenly over all (multiples of the golden ratio)."""
    order = np.argsort(np.arange(len(jobs)) * GOLDEN % 1.0)[:MOST_JOBS]
    return [jobs[index] for index in order.tolist()]


def seconds_a_view(job: Job, setup: Setup) -> float:
    """Of one view in one thread; the very first, which sets things up, counts only if the network is slow anyway."""
    seconds = []
    for _ in range(2):
        start = perf_counter()
        for _batch in embed([job._replace(views=job.views[-1:])], setup, Seconds()):
            pass
        seconds.append(perf_counter() - start)
        if seconds[0] > WARM_SECONDS:
            break
    return seconds[-1]


def shortened(jobs: Sequence[Job], seconds: float) -> list[Job]:
    """The jobs with some of their views, evenly chosen, so that none takes much longer than 2 s."""
    most = max(1, int(JOB_SECONDS / seconds))
    return [job._replace(views=job.views[:: -(-len(job.views) // most)]) for job in jobs]


def peak_memory(setup: Setup, *, weights: int) -> Memory:
    """The highest point so far, as the system tells it."""
    device, largest = setup.embedder.device, peak_bytes("RUSAGE_CHILDREN")
    has_workers = device.type != "cpu" and setup.workers > 0
    return Memory(
        weights=weights,
        process=peak_bytes("RUSAGE_SELF"),
        workers=setup.workers * largest if has_workers and largest is not None else None,
        device=torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None,
    )


def peak_bytes(whose: str) -> int | None:
    """The most memory that this process, or the largest of its ended children, has had; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(getattr(resource, whose)).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
