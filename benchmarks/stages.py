"""Extraction taken apart: the whole call, the cutting of views alone, the network alone; and the tables of results."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from frozenprobe.extract import work
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.engines import Engine
from frozenprobe.extract.compute.pipeline import torch_threads
from frozenprobe.extract.compute.tuning import make_embedder
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.ranks.rank import own_cores
from frozenprobe.extract.run import ExtractReport, extract_features
from frozenprobe.extract.views.cut import Job, ViewSettings, augmented_name, cut_all

ROOT = Path(__file__).resolve().parent.parent
RAMP = 0.1  # of the views: until then workers start and queues fill


@dataclass(frozen=True)
class Extraction:
    """One call of `extract_features`.

    Attributes:
        whole: views a second of all of it: checking images, loading the backbone, setting up the engine, publishing.
        steady: views a second once it is under way.
        begun: seconds until the first view was begun.
        report: its own.
    """

    whole: float
    steady: float
    begun: float
    report: ExtractReport


def time_extraction(request: ExtractRequest) -> Extraction:
    """Extract into a new file."""
    marks: list[tuple[float, int]] = []

    def note(stage: str, done: int, total: int) -> None:
        if stage == "embedding views" and (done >= RAMP * total or not marks):
            marks.append((time.perf_counter(), done))

    start = time.perf_counter()
    report = extract_features(request, note)
    whole = time.perf_counter() - start
    (first, before), (last, after) = marks[min(1, len(marks) - 2)], marks[-1]  # marks[0]: before any view
    return Extraction(report.computed / whole, (after - before) / (last - first), marks[0][0] - start, report)


@contextmanager
def keep_embedders() -> Iterator[list[Embedder]]:
    """Within, extractions leave their embedders in this list: in these very ones the network alone is measured."""
    made: list[Embedder] = []

    def make_and_keep(*given: Any, **options: Any) -> Embedder:
        made.append(make_embedder(*given, **options))
        return made[-1]

    work.make_embedder = make_and_keep
    try:
        yield made
    finally:
        work.make_embedder = make_embedder


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
    torch.set_num_threads(1)  # a forked process has none of the threads that OpenMP would wait for
    cuts = [cut_all(job, settings)[-2:] for job in jobs]
    return sum(decoding for decoding, _ in cuts), sum(cutting for _, cutting in cuts)


@dataclass(frozen=True)
class Way:
    """How to call a network on a CPU: `threads` in each call, `calls` side by side, `batch` views a call."""

    engine: str
    dtype: str
    batch: int
    threads: int
    calls: int

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"{self.engine}, {self.dtype}, {self.calls} x {self.threads} threads, batch {self.batch}"


def time_forward_on_cores(embedder: Embedder, way: Way, side: int, *, seconds: float) -> float:
    """Views a second of the network alone, on tensors that are there already."""
    of_torch = way.engine in ("torch", "compile")  # what each one computes on
    layout = torch.channels_last if of_torch else torch.contiguous_format
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


def middle(rounds: Sequence[Any]) -> Any:
    """The median of numbers, name by name; of all else the last one."""
    last = rounds[-1]
    if isinstance(last, dict):
        return {key: middle([each[key] for each in rounds if key in each]) for key in last}
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in rounds)
    return median(rounds) if numbers else last


def release(device: torch.device) -> None:
    """Give the memory of the last measurement back."""
    gc.collect()
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.empty_cache()


def run_commands(
    lines: Sequence[Sequence[object]], environments: Sequence[dict[str, str]], *, folder: Path, limit: float, log: Path
) -> tuple[float, list[str]]:
    """Seconds that frozenprobe's commands take side by side, and what they say.

    Args:
        lines: of each command.
        environments: of each, beside this process's.
        folder: where they run.
        limit: seconds, after which they are stopped.
        log: a file at whose end all that they say is kept.

    Raises:
        RuntimeError: one failed.
        TimeoutExpired: they took longer.
    """
    start, told = time.perf_counter(), os.environ | {"PYTHONPATH": str(ROOT)}
    how: dict[str, Any] = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = [
        subprocess.Popen([sys.executable, "-m", "frozenprobe", *map(str, line)], env=told | environment, **how)
        for line, environment in zip(lines, environments, strict=True)
    ]
    try:
        said = [each.communicate(timeout=limit)[0] for each in started]
    finally:
        for each in started:
            each.kill()
    seconds = time.perf_counter() - start
    with log.open("a") as file:
        for line, text in zip(lines, said, strict=True):
            file.write(f"\n##### {' '.join(map(str, line))}\n{text}\n")
    if any(each.returncode for each in started):
        raise RuntimeError(" / ".join(text[-400:] for text in said))
    return seconds, said


def words_in(text: str) -> list[str]:
    """Words with commas between them."""
    return [word.strip() for word in text.split(",") if word.strip()]


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows as Markdown."""
    print(f"\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |")


def print_found(what: str, rows: dict[str, dict[str, Any]]) -> None:
    """A table with a column for every number that any row has; none of nothing."""
    if not any(rows.values()):
        return
    columns = list(dict.fromkeys(key for numbers in rows.values() for key in numbers))
    cells = [[name, *(show(key, numbers.get(key)) for key in columns)] for name, numbers in rows.items()]
    print_table([what, *columns], cells)


def show(name: str, value: Any) -> str:
    """A cell: cosines need more digits."""
    if value is None or isinstance(value, str | bool):
        return "" if value is None else str(value)
    if name.startswith("of the "):
        return f"{value:.1%}"
    return f"{value:.7f}" if "cosine" in name else f"{value:.4g}"


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
