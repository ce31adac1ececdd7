"""The rate that a rehearsal finds is that of a long pass: on pipelines whose clocks are known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.extract import rehearsal
from frozenprobe.extract.compute.loader import Seconds
from frozenprobe.extract.rehearsal import peak_bytes, peak_memory, rehearse, shortened, spread
from frozenprobe.extract.views.cut import Job


class Pipeline:
    """Stands in for `embed` with a clock of its own: so many threads, or a device with a burst of batches at first."""

    def __init__(self, each: float, *, threads: int = 2, starting: float = 0.0, burst: int = 0, batch: int = 0) -> None:
        self.each, self.threads, self.starting, self.burst, self.batch = each, threads, starting, burst, batch
        self.now, self.closed = 100.0, False

    @property
    def setup(self) -> Any:
        device = torch.device("meta" if self.batch else "cpu")
        return SimpleNamespace(workers=self.threads, embedder=SimpleNamespace(device=device))

    def embed(self, jobs: list[Job], setup: Any, seconds: Seconds) -> Iterator[Any]:
        try:
            yield from self.on_device(jobs) if self.batch else self.on_cores(jobs)
        finally:
            self.closed = True

    def on_cores(self, jobs: list[Job]) -> Iterator[Any]:
        """Every thread takes the next image when it is free; images are handed out in order, a batch a view."""
        free = [self.now] * self.threads
        for job in jobs:
            thread = int(np.argmin(free))
            free[thread] += len(job.views) * self.each * self.threads
            self.now = max(self.now, free[thread])
            yield from [SimpleNamespace(rows=[0])] * len(job.views)

    def on_device(self, jobs: list[Job]) -> Iterator[Any]:
        """Processes start; what they have cut by then goes through ten times as fast."""
        self.now += self.starting
        for number in range(sum(len(job.views) for job in jobs) // self.batch):
            self.now += self.batch * self.each / (10 if number < self.burst else 1)
            yield SimpleNamespace(rows=[0] * self.batch)


@pytest.fixture
def rehearse_on(monkeypatch: pytest.MonkeyPatch) -> Any:
    def on(pipeline: Pipeline, *, jobs: int = 3000, views: int = 10) -> Any:
        monkeypatch.setattr(rehearsal, "embed", pipeline.embed)
        monkeypatch.setattr(rehearsal, "perf_counter", lambda: pipeline.now)
        names = ("clean", *(f"aug{view}" for view in range(1, views)))
        return rehearse([Job(Path(f"{index}"), f"{index}", names) for index in range(jobs)], pipeline.setup)

    return on


@pytest.mark.parametrize("threads", [1, 2, 7, 64])
@pytest.mark.parametrize("each", [1e-3, 0.01, 0.3])
def test_on_cores_the_rate_is_that_of_all_threads(rehearse_on: Any, each: float, threads: int) -> None:
    pipeline = Pipeline(each, threads=threads)
    speed = rehearse_on(pipeline)
    assert speed.rate == pytest.approx(1 / each, rel=0.02)
    assert speed.starting == pytest.approx(0)
    assert pipeline.closed


def test_a_slow_network_is_not_asked_for_all_views_of_an_image(rehearse_on: Any) -> None:
    """A view of ViT-L/16 at 512 px takes 6.5 s on two cores: 13 s in one of two threads."""
    pipeline = Pipeline(6.5, threads=2)
    speed = rehearse_on(pipeline)
    assert speed.rate == pytest.approx(1 / 6.5)
    assert pipeline.now - 100 < 30


def test_start_of_processes_and_what_was_cut_in_advance_are_no_part_of_the_rate(rehearse_on: Any) -> None:
    pipeline = Pipeline(1 / 400, threads=16, starting=3.0, burst=10, batch=32)
    speed = rehearse_on(pipeline)
    assert speed.rate == pytest.approx(400)
    assert speed.starting == pytest.approx(3.0, abs=0.1)
    assert speed.views / speed.elapsed == pytest.approx(speed.rate)


@pytest.mark.parametrize("batch", [0, 8])
def test_few_views_are_all_computed(rehearse_on: Any, batch: int) -> None:
    speed = rehearse_on(Pipeline(0.01, starting=0.5 if batch else 0.0, batch=batch), jobs=4)
    assert (speed.views, speed.starting) == (40, 0.0)
    assert speed.rate == speed.views / speed.elapsed


@given(st.integers(1, 400), st.data())
def test_any_stretch_of_the_sample_is_spread_over_all_jobs(number: int, data: st.DataObject) -> None:
    """Training images come first and have more views than test images: a stretch has to have both, in proportion."""
    jobs = [Job(Path(), str(index), ("clean",)) for index in range(number)]
    order = [int(job.content_hash) for job in spread(jobs)]
    assert sorted(order) == list(range(number))
    start = data.draw(st.integers(0, number - 1))
    stretch = order[start : start + data.draw(st.integers(1, number))]
    training = data.draw(st.integers(0, number))
    assert abs(sum(index < training for index in stretch) - len(stretch) * training / number) < 5


@pytest.mark.parametrize(("seconds", "views"), [(0.1, 10), (0.3, 5), (0.9, 2), (5.0, 1)])
def test_shortened_jobs_keep_views_of_all_kinds(seconds: float, views: int) -> None:
    names = ("clean", "hflip", *(f"aug{view}" for view in range(1, 9)))
    (job,) = shortened([Job(Path(), "", names)], seconds)
    assert len(job.views) == views
    assert job.views == names[:: len(names) // views]


def test_memory_is_what_the_system_says() -> None:
    resource = pytest.importorskip("resource")
    peak = peak_bytes("RUSAGE_SELF")

    assert peak is not None
    assert 50e6 < peak < 100e9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    on_cpu: Any = SimpleNamespace(workers=8, embedder=SimpleNamespace(device=torch.device("cpu")))
    memory = peak_memory(on_cpu, weights=7)
    assert (memory.weights, memory.workers, memory.device) == (7, None, None)
