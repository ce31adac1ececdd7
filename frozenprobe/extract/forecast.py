"""What an extraction will take, before it is paid for: everything the pass does, but for writing, on a sample."""

from __future__ import annotations

import math
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from frozenprobe.cache.growth import ROOM, finished_bytes, megabytes, row_bytes
from frozenprobe.cache.lock import writer_of
from frozenprobe.devices import choose_device
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute import Fidelity
from frozenprobe.extract.inspection import Progress, inspect
from frozenprobe.extract.network import Backbone
from frozenprobe.extract.rehearsal import Speed, rehearse
from frozenprobe.extract.run import Setup, announce, describe_compute, ignore_progress, log, set_up, survey
from frozenprobe.extract.settings import ExtractRequest
from frozenprobe.extract.target import open_target

REPORT_EPOCHS, REPORT_FOLDS = 9, 5  # of the study that paid 69 dollars
WRITING = 100e6  # bytes/s on a disk, checksums and fsync included: assumed, not measured


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk.

    Attributes:
        file: the finished feature file, about.
        pieces: rows that wait beside it meanwhile.
        free: where it will lie.
        enough: whether they fit.
    """

    file: int
    pieces: int
    free: int

    @property
    def enough(self) -> bool:
        """Whether there is room for both at once."""
        return self.free >= int((self.file + self.pieces) * ROOM)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory at the highest point of the rehearsal.

    Attributes:
        network: the weights alone, in float32.
        process: this process, with network, engine, images and batches; None where the system does not tell.
        workers: all processes that cut views, at most (they share some of it); None where there are none.
        device: on a CUDA device; None elsewhere.
    """

    network: int
    process: int | None
    workers: int | None
    device: int | None


@dataclass(frozen=True)
class Fixed:
    """Seconds that were measured just now and that the extraction will spend again.

    Attributes:
        images: listing, hashing and checking them.
        backbone: opening the file, loading the backbone and digesting its weights.
        engine: making it, finding a batch size, checking it and the rows that are there already.
    """

    images: float
    backbone: float
    engine: float


@dataclass(frozen=True)
class Pass:
    """Forwards, and what they take at the measured rate.

    Attributes:
        forwards: views through the backbone.
        seconds: None where no rate was measured.
        cost: in the currency of the price; None without a price.
    """

    forwards: int
    seconds: float | None = None
    cost: float | None = None


@dataclass
class Forecast:
    """What an extraction will take.

    Attributes:
        path: the feature file.
        train, test, classes: images in it, and classes.
        reused: views that are there already.
        left: the pass over those that are missing, with all that comes before and after.
        skipped: bad images, as id and reason.
        writer: who is writing this file now; empty if nobody is.
        disk, memory: see there; None where nothing is missing.
        compute: engine, device, dtype, batch size and workers, for a person; and each by itself.
        fidelity: how far the features are from float32 in eager torch; None where that is what they are.
        fixed: see there.
        speed: of the pipeline on a sample; None where nothing is missing.
        price_per_hour: as given.
        study: every view the file will hold, those that are there included.
        report_study: a forward for each image, epoch and fold, and one for each test image, at the same rate.
        elapsed: seconds that finding this out took.
    """

    path: Path
    train: int
    test: int
    classes: int
    reused: int
    left: Pass
    study: Pass
    report_study: Pass
    skipped: list[str] = field(default_factory=list)
    writer: str = ""
    disk: Disk | None = None
    memory: Memory | None = None
    compute: str = ""
    engine: str = ""
    device: str = ""
    dtype: str = ""
    batch_size: int | None = None
    workers: int | None = None
    fidelity: Fidelity | None = None
    fixed: Fixed | None = None
    speed: Speed | None = None
    price_per_hour: float | None = None
    elapsed: float = 0.0


def forecast(
    request: ExtractRequest, progress: Progress = ignore_progress, *, price_per_hour: float | None = None
) -> Forecast:
    """Find out what `extract_features` will take; nothing is written, and no lock is taken.

    Args:
        request: as for `extract_features`; `break_lock` has no effect.
        progress: called with (stage, done, total).
        price_per_hour: of the machine.

    Raises:
        FrozenprobeError: all that `extract_features` would refuse, but too little disk space, which is told.
    """
    if price_per_hour is not None and not 0 <= price_per_hour < math.inf:
        raise FrozenprobeError(
            "A price per hour from 0 on",
            found=str(price_per_hour),
            where="--price-per-hour",
            remedy="give what an hour of the machine costs",
        )
    start = perf_counter()
    target = open_target(request, choose_device(request.device))
    folder = existing_folder(target.out)
    log.info(announce(target))
    opened = perf_counter()
    images = inspect(request, target, progress)
    checked = perf_counter()
    work = survey(target, request, images)
    tested = int(images.test.usable.sum()) if images.test is not None else 0
    plan = Forecast(
        path=target.out,
        train=len(images.train),
        test=len(images.test or ()),
        classes=len(images.class_names),
        reused=work.rows.total - work.missing,
        left=Pass(work.missing),
        study=Pass(work.rows.total),
        report_study=Pass(REPORT_EPOCHS * REPORT_FOLDS * len(images.train) + tested),
        skipped=images.skipped,
        writer=writer_of(target.out),
        price_per_hour=price_per_hour,
    )
    if work.jobs:
        target.load()
        loaded = perf_counter()
        setup = set_up(work, target, request, progress)
        plan.fixed = Fixed(checked - opened, opened - start + loaded - checked, perf_counter() - loaded)
        note(plan, setup)
        pieces = work.missing * row_bytes(setup.contents)
        plan.disk = Disk(finished_bytes(setup.contents), pieces, shutil.disk_usage(folder).free)
        plan.speed = rehearse(work.jobs, setup)
        plan.memory = measured_memory(target.load(), setup)
        predict(plan, plan.fixed, plan.speed, plan.disk)
    work.rows.close()
    plan.elapsed = perf_counter() - start
    return plan


def note(plan: Forecast, setup: Setup) -> None:
    """Put down what will compute."""
    embedder = setup.embedder
    plan.compute, plan.fidelity = describe_compute(embedder, setup.workers), setup.fidelity
    plan.engine, plan.device, plan.dtype = embedder.engine, str(embedder.device), embedder.compute_dtype
    plan.batch_size, plan.workers = embedder.batch_size, setup.workers


def predict(plan: Forecast, fixed: Fixed, speed: Speed, disk: Disk) -> None:
    """From the measured rate and fixed costs to seconds and money."""
    besides = fixed.images + fixed.backbone + fixed.engine + speed.starting + disk.file / WRITING

    def taking(forwards: int, besides: float) -> Pass:
        seconds = besides + forwards / speed.rate
        return Pass(forwards, seconds, None if plan.price_per_hour is None else seconds / 3600 * plan.price_per_hour)

    plan.left = taking(plan.left.forwards, besides)
    plan.study = taking(plan.study.forwards, besides)
    plan.report_study = taking(plan.report_study.forwards, 0.0)


def measured_memory(backbone: Backbone, setup: Setup) -> Memory:
    """The highest point so far; the rehearsal has just been there."""
    device, workers = setup.embedder.device, 0 if setup.embedder.device.type == "cpu" else setup.workers
    largest = peak_bytes("RUSAGE_CHILDREN")
    return Memory(
        network=sum(tensor.numel() * 4 for tensor in backbone.network.state_dict().values()),
        process=peak_bytes("RUSAGE_SELF"),
        workers=workers * largest if workers and largest is not None else None,
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


def existing_folder(out: Path) -> Path:
    """The folder of a file, or what is there of the way to it.

    Raises:
        FrozenprobeError: nothing can be written there.
    """
    folder = out.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise FrozenprobeError(
            "A folder to write the feature file to",
            found="a file" if not folder.is_dir() else "no permission to write",
            where=folder,
            remedy="name a file in a writable folder with --out FILE",
        )
    return folder


def render_forecast(plan: Forecast) -> str:
    """What an extraction will take, for a person."""
    lines = [
        f"plan for {plan.path} (nothing has been written)",
        f"images    {plan.train:,} training in {plan.classes:,} classes, {plan.test:,} test",
        f"forwards  {plan.left.forwards:,} views to compute, {plan.reused:,} there already",
    ]
    if plan.skipped:
        lines.append(f"bad images, which will be skipped: {len(plan.skipped)}")
        lines += [f"  {text}" for text in plan.skipped]
    if plan.writer:
        lines.append(f"WARNING: the file is being written by {plan.writer}")
    if plan.left.forwards:
        lines += render_disk(plan.disk) + render_memory(plan.memory) + render_speed(plan)
    else:
        lines.append("nothing left to compute: all rows are there")
    ours, reports = plan.study, plan.report_study
    return "\n".join(
        [
            *lines,
            f"the report's way, a forward every epoch ({REPORT_EPOCHS} epochs x {REPORT_FOLDS} folds): {say(reports)}",
            f"here, {'all of it' if plan.reused else 'once'}: {say(ours)}; for any head, folds or C tried afterwards: "
            "0 forwards",
        ]
    )


def render_disk(disk: Disk | None) -> list[str]:
    """One line."""
    if disk is None:
        return []
    free = f"{megabytes(disk.free)} free" + ("" if disk.enough else ": NOT ENOUGH, extract will refuse")
    return [f"disk      {megabytes(disk.file)} the finished file, {megabytes(disk.pieces)} pieces meanwhile; {free}"]


def render_memory(memory: Memory | None) -> list[str]:
    """One line."""
    if memory is None:
        return []
    parts = [("this process", memory.process), ("all workers, at most", memory.workers), ("the device", memory.device)]
    peaks = [f"{megabytes(size)} {what}" for what, size in parts if size is not None]
    return [f"memory    {', '.join([*peaks, f'of which {megabytes(memory.network)} weights'])} (peak so far, measured)"]


def render_speed(plan: Forecast) -> list[str]:
    """What was measured, and what follows from it."""
    speed, fixed = plan.speed, plan.fixed
    if speed is None or fixed is None or plan.left.seconds is None:
        return []
    spent = {"decoding": speed.seconds.decoding, "views": speed.seconds.views, "backbone": speed.seconds.backbone}
    total = sum(spent.values()) or 1.0
    return [
        f"compute   {plan.compute}",
        f"measured  {fixed.images:.1f} s checking images, {fixed.backbone:.1f} s loading the backbone, "
        f"{fixed.engine:.1f} s making the engine",
        f"measured  {speed.rate:.3g} views/s, on {speed.views:,} real ones in {speed.elapsed:.1f} s ("
        + ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in spent.items())
        + ")",
        f"predicted {plan.left.seconds:,.0f} s for what is left: {say(plan.left)}",
    ]


def say(work: Pass) -> str:
    """Forwards, hours and money."""
    hours = "" if work.seconds is None else f", {work.seconds / 3600:,.3g} hours"
    return f"{work.forwards:,} forwards{hours}" + ("" if work.cost is None else f", {work.cost:,.2f} to pay")
