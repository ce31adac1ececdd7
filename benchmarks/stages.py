"""Extraction taken apart: the whole call, the cutting of views alone, the network alone; and the tables of results."""

from __future__ import annotations

import hashlib
import multiprocessing
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.engines import Engine
from frozenprobe.extract.compute.pipeline import torch_threads
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.ranks.rank import own_cores
from frozenprobe.extract.run import ExtractReport, extract_features
from frozenprobe.extract.views.cut import Job, ViewSettings, augmented_name, cut_all

RAMP = 0.1  # of the views: until then workers start and queues fill


@dataclass(frozen=True)
class Extraction:
    """One call of `extract_features`: views a second of all of it, and once it is under way."""

    whole: float
    steady: float
    report: ExtractReport


def time_extraction(request: ExtractRequest) -> Extraction:
    """Extract into a new file.

    `whole` counts everything: checking images, loading the backbone, setting up the engine, writing, publishing.
    """
    marks: list[tuple[float, int]] = []

    def note(stage: str, done: int, total: int) -> None:
        if stage == "embedding views" and (done >= RAMP * total or not marks):
            marks.append((time.perf_counter(), done))

    start = time.perf_counter()
    report = extract_features(request, note)
    whole = time.perf_counter() - start
    (first, before), (last, after) = marks[min(1, len(marks) - 2)], marks[-1]  # marks[0]: before any view
    return Extraction(report.computed / whole, (after - before) / (last - first), report)


def jobs_of(paths: Sequence[Path], views: int) -> list[Job]:
    """The clean view and `views` augmented ones of each image."""
    names = ("clean", *(augmented_name(view + 1) for view in range(views)))
    return [Job(path, hashlib.sha256(path.read_bytes()).hexdigest(), names) for path in paths]


def time_cutting(jobs: Sequence[Job], settings: ViewSettings) -> tuple[float, float]:
    """Seconds to decode an image, and to cut a view, with all cores at it and nothing beside it.

    In processes, as nothing can be faster in Python: what our threads lose to its lock is not hidden in here.
    """
    cores = own_cores()
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("fork")) as pool:
        parts = pool.map(cut_jobs, [(jobs[core::cores], settings) for core in range(cores)])
        decoding, cutting = (sum(seconds) for seconds in zip(*parts, strict=True))
    return decoding / cores / len(jobs), cutting / cores / sum(len(job.views) for job in jobs)


def cut_jobs(given: tuple[Sequence[Job], ViewSettings]) -> tuple[float, float]:
    """Seconds of decoding and cutting in one process."""
    jobs, settings = given
    cuts = [cut_all(job, settings)[-2:] for job in jobs]
    return sum(decoding for decoding, _ in cuts), sum(cutting for _, cutting in cuts)


@dataclass(frozen=True)
class Way:
    """How to call a network on a CPU: `threads` in each call, `calls` side by side, `batch` views a call."""

    engine: str
    batch: int
    threads: int
    calls: int

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"{self.engine}, {self.calls} x {self.threads} threads, batch {self.batch}"


def time_forward_on_cores(embedder: Embedder, way: Way, side: int, *, seconds: float) -> float:
    """Views a second of the network alone, on tensors that are there already."""
    layout = (
        torch.contiguous_format if way.engine == "onnxruntime" else torch.channels_last
    )  # what each one computes on
    images = torch.randn(way.batch, 3, side, side).to(memory_format=layout)
    with torch_threads(way.threads), ThreadPoolExecutor(way.calls) as pool:
        list(pool.map(embedder.forward, [images] * way.calls))  # sets things up
        stop = time.perf_counter() + seconds

        def work(_: int) -> tuple[int, float]:
            calls, start = 0, time.perf_counter()
            while time.perf_counter() < stop or not calls:
                embedder.forward(images)
                calls += 1
            return calls, time.perf_counter() - start

        done = list(pool.map(work, range(way.calls)))
    return sum(calls * way.batch / spent for calls, spent in done)


def time_forward_on_device(forward: Engine, images: torch.Tensor, *, seconds: float) -> float:
    """Views a second of the network alone, on a batch that is on the device already."""
    spent = time_calls(lambda: forward(images), images.device, seconds=seconds)
    return len(images) / spent


def time_calls(call: Callable[[], Any], device: torch.device, *, seconds: float) -> float:
    """Seconds a call, of as many as fit into the time, queued one behind the other."""
    for _ in range(2):
        call()
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    calls = max(1, int(seconds / (time.perf_counter() - start)))
    start = time.perf_counter()
    for _ in range(calls):
        call()
    synchronise(device)
    return (time.perf_counter() - start) / calls


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as Markdown."""
    print(f"\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def describe_machine(device: torch.device) -> str:
    """Processor, device, torch and date, for the line above a table."""
    model = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        names = [line.partition(":")[2].strip() for line in about.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    parts = [f"{own_cores()} cores of {model}"]
    if device.type == "cuda":
        about_device = torch.cuda.get_device_properties(device)
        parts.append(f"{about_device.name}, {about_device.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    return "; ".join([*parts, f"torch {torch.__version__}", date.today().isoformat()])
