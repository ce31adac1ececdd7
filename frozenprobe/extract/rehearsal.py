"""A few seconds of the pass, timed: real images through the real pipeline, and nothing is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from frozenprobe.extract.loader import Job, Seconds
from frozenprobe.extract.run import Setup, embed

WARM_SECONDS, TIMED_SECONDS = 1.5, 5.0
JOB_SECONDS = 2.0  # of slower networks only some views of an image are computed
MOST_JOBS = 5000
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Speed:
    """What a rehearsal measured.

    Attributes:
        rate: views a second.
        views: that were timed.
        elapsed: seconds in which they were computed.
        starting: seconds until the pipeline was full, beyond those that its first views took.
        seconds: where the time went, summed over workers, those before and after the timed ones included.
    """

    rate: float
    views: int
    elapsed: float
    starting: float = 0.0
    seconds: Seconds = field(default_factory=Seconds)


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
    done, first = 0, None
    begun = perf_counter()
    start, before, since = begun, 0, begun
    with closing(embed(sample, setup, seconds)) as batches:
        for batch in batches:
            now, done = perf_counter(), done + len(batch.rows)
            if first is None and not on_cpu:  # worker processes have been started, the first batch is back
                first, since = done, now
            if on_cpu and done not in rounds:
                continue
            if now - since <= WARM_SECONDS:
                start, before = now, done
            elif now - start >= TIMED_SECONDS:
                break
        else:  # there were so few that all are computed: this was the pass itself
            return Speed(done / (perf_counter() - begun), done, perf_counter() - begun, seconds=seconds)
    rate = (done - before) / (now - start)
    starting = max(0.0, since - begun - (first or 0) / rate)
    return Speed(rate, done - before, now - start, starting, seconds)


def spread(jobs: Sequence[Job]) -> list[Job]:
    """Up to 5000 jobs in an order of which any stretch is spread evenly over all (multiples of the golden ratio)."""
    order = np.argsort(np.arange(len(jobs)) * GOLDEN % 1.0)[:MOST_JOBS]
    return [jobs[index] for index in order.tolist()]


def seconds_a_view(job: Job, setup: Setup) -> float:
    """Of one view in one thread; the very first, which sets things up, is not counted."""
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
