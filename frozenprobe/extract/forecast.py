"""What an extraction will take, before it is paid for: all that it does but writing, for a few seconds, timed."""

from __future__ import annotations

import logging
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from frozenprobe.cache.growing.finish import ROOM, finished_bytes, row_bytes
from frozenprobe.cache.growing.lock import writer_of
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute.embedder import Fidelity
from frozenprobe.extract.inspect import inspect
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.rehearsal import Memory, Speed, peak_memory, rehearse
from frozenprobe.extract.target import open_target
from frozenprobe.extract.views.cut import Job
from frozenprobe.extract.work import Setup, announce, describe_compute, set_up, survey
from frozenprobe.system.devices import choose_device, computing_on
from frozenprobe.system.progress import Progress, ignore_progress
from frozenprobe.system.quantities import megabytes

log = logging.getLogger("frozenprobe")

REPORT_EPOCHS, REPORT_FOLDS = 9, 5  # of the study that spent 69 dollars
WRITING = 100e6  # bytes of the finished file a second, checksums and fsync included: assumed, all else is measured


@dataclass(frozen=True)
class Disk:
    """Bytes on the disk.

    Attributes:
        file: the finished feature file, about.
        pieces: rows that wait beside it meanwhile.
        free: where it will lie.
    """

    file: int
    pieces: int
    free: int

    @property
    def enough(self) -> bool:
        """Whether there is room for both at once."""
        return self.free >= int((self.file + self.pieces) * ROOM)


@dataclass(frozen=True)
class Measured:
    """What was measured here and now.

    Attributes:
        compute: engine, device, dtype, batch size and workers, for a person.
        engine: see `make_engine`; `device`, `dtype`, `batch_size`, `workers`: see ExtractRequest.
        images_seconds: listing, hashing and checking the images.
        backbone_seconds: opening the file, loading the backbone and digesting its weights.
        engine_seconds: making it, finding a batch size, checking it and the rows that are there.
        speed: of the pipeline, on a sample of the missing views.
        memory: see there.
        fidelity: how far the features are from float32 in eager torch; None where that is what they are.
    """

    compute: str
    engine: str
    device: str
    dtype: str
    batch_size: int
    workers: int
    images_seconds: float
    backbone_seconds: float
    engine_seconds: float
    speed: Speed
    memory: Memory
    fidelity: Fidelity | None

    @property
    def besides(self) -> float:
        """Seconds that the extraction will spend again besides those on views."""
        return self.images_seconds + self.backbone_seconds + self.engine_seconds + self.speed.starting


@dataclass(frozen=True)
class Pass:
    """Forwards, and what they will take.

    Attributes:
        forwards: views through the backbone.
        seconds: predicted; None where no rate was measured.
        cost: in the currency of the price; None without a price.
    """

    forwards: int
    seconds: float | None
    cost: float | None


@dataclass(frozen=True)
class Forecast:
    """What an extraction will take.

    Attributes:
        path: the feature file.
        train: N, training images in it.
        test: M, test images in it.
        classes: C.
        skipped: bad images, as id and reason.
        writer: who is writing this file now; empty if nobody is.
        reused: views that are there already.
        left: those that are not, and all that comes before and after them.
        disk: see there.
        measured: see there; None where nothing is left.
        price_per_hour: as given.
        study: as `left`, with the views that are there already.
        report_study: forwards alone, one for each training image, epoch and fold, and one for each test image.
        elapsed: seconds that finding this out took.
    """

    path: Path
    train: int
    test: int
    classes: int
    skipped: list[str]
    writer: str
    reused: int
    left: Pass
    disk: Disk
    measured: Measured | None
    price_per_hour: float | None
    study: Pass
    report_study: Pass
    elapsed: float


def forecast(
    request: ExtractRequest, progress: Progress = ignore_progress, *, price_per_hour: float | None = None
) -> Forecast:
    """Find out what `extract_features` will take; nothing is written (but weights that are downloaded), nothing locked.

    Args:
        request: as for `extract_features`.
        progress: called with (stage, done, total).
        price_per_hour: of the machine.

    Raises:
        FrozenprobeError: all that `extract_features` would refuse, but a lock and too little space, which are told.
    """
    require_price(price_per_hour)
    start = perf_counter()
    device = choose_device(request.device)
    target = open_target(request, device)
    folder = existing_folder(target.out)
    log.info(announce(target))
    opened = perf_counter()
    images = inspect(request, target, progress)
    checked = perf_counter()
    work = survey(target, request, images)
    contents, measured = work.rows.contents, None
    if work.jobs:
        weights = 4 * sum(each.numel() for each in target.load().network.parameters())
        loaded = perf_counter()
        with computing_on(device):
            setup = set_up(work, request, progress)
            work = setup.work
            seconds = (checked - opened, opened - start + loaded - checked, perf_counter() - loaded)
            contents, measured = setup.contents, measure(work.jobs, setup, seconds, weights=weights)
    work.rows.close()
    disk = Disk(finished_bytes(contents), work.missing * row_bytes(contents), shutil.disk_usage(folder).free)
    tested = int(images.test.usable.sum()) if images.test is not None else 0
    besides = measured.besides + disk.file / WRITING if measured else 0.0

    def taking(forwards: int, besides: float) -> Pass:
        if measured is None:
            return Pass(forwards, None, None)
        seconds = besides + forwards / measured.speed.rate
        return Pass(forwards, seconds, None if price_per_hour is None else seconds / 3600 * price_per_hour)

    return Forecast(
        path=target.out,
        train=len(images.train),
        test=len(images.test or ()),
        classes=len(images.class_names),
        skipped=images.skipped,
        writer=writer_of(target.out),
        reused=work.rows.total - work.missing,
        left=taking(work.missing, besides),
        disk=disk,
        measured=measured,
        price_per_hour=price_per_hour,
        study=taking(work.rows.total, besides),
        report_study=taking(REPORT_EPOCHS * REPORT_FOLDS * len(images.train) + tested, 0.0),
        elapsed=perf_counter() - start,
    )


def measure(jobs: list[Job], setup: Setup, seconds: tuple[float, float, float], *, weights: int) -> Measured:
    """Rehearse, and put down what computes."""
    embedder, (images, backbone, engine) = setup.embedder, seconds
    speed = rehearse(jobs, setup)
    return Measured(
        compute=describe_compute(setup),
        engine=embedder.engine,
        device=str(embedder.device),
        dtype=embedder.compute_dtype,
        batch_size=embedder.batch_size,
        workers=setup.workers,
        images_seconds=images,
        backbone_seconds=backbone,
        engine_seconds=engine,
        speed=speed,
        memory=peak_memory(setup, weights=weights),
        fidelity=setup.fidelity,
    )


def require_price(price: float | None) -> None:
    """Refuse what is no price."""
    if price is not None and not 0 <= price < math.inf:
        raise FrozenprobeError(
            "A price from 0 on",
            found=str(price),
            where="--price-per-hour",
            remedy="give what an hour of the machine costs",
        )


def existing_folder(out: Path) -> Path:
    """The folder of a file, or as much of the way to it as is there.

    Raises:
        FrozenprobeError: nothing can be written there.
    """
    folder = out.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise FrozenprobeError(
            "A folder to write the feature file to",
            found="no permission to write" if folder.is_dir() else "a file",
            where=folder,
            remedy="name a file in a writable folder with --out FILE",
        )
    return folder


def render_forecast(told: Forecast) -> str:
    """What an extraction will take, for a person."""
    lines = [
        f"plan for {told.path}: nothing has been written",
        f"images     {told.train:,} training in {told.classes:,} classes, {told.test:,} test",
        f"forwards   {told.left.forwards:,} to compute, {told.reused:,} there already",
        f"disk       {megabytes(told.disk.file)} in the end, {megabytes(told.disk.pieces)} beside it meanwhile; "
        f"{megabytes(told.disk.free)} free" + ("" if told.disk.enough else ": NOT ENOUGH, extract will refuse"),
    ]
    if told.measured is not None:
        lines += [*render_measured(told.measured), f"predicted  {render_pass(told.left)}"]
    else:
        lines.append("nothing left to compute: all views of all images are there")
    lines += [
        f"the report's way, a forward every epoch ({REPORT_EPOCHS} epochs x {REPORT_FOLDS} folds), for 69 dollars: "
        f"{render_pass(told.report_study)}",
        f"here{', from the start' if told.reused else ''}: {render_pass(told.study)}; "
        "any head, folds or C tried afterwards: 0 forwards",
    ]
    if told.skipped:
        lines += [f"bad images, which will be skipped: {len(told.skipped)}", *(f"  {text}" for text in told.skipped)]
    if told.writer:
        lines.append(f"WARNING: another process is writing this file: {told.writer}")
    return "\n".join(lines)


def render_measured(measured: Measured) -> list[str]:
    """What computes, and what was measured of it."""
    memory, speed, spent = measured.memory, measured.speed, measured.speed.seconds
    parts = ((memory.process, "here"), (memory.workers, "in all workers, at most"), (memory.device, "on the device"))
    peaks = [f"{megabytes(size)} {where}" for size, where in parts if size is not None]
    total = (spent.decoding + spent.views + spent.backbone) or 1.0
    return [
        f"compute    {measured.compute}",
        f"memory     {', '.join([*peaks, f'with {megabytes(memory.weights)} of weights'])} (measured, at its highest)",
        f"measured   images {measured.images_seconds:.1f} s, backbone {measured.backbone_seconds:.1f} s, "
        f"engine {measured.engine_seconds:.1f} s",
        f"measured   {speed.rate:,.3g} views/s, on {speed.views:,} of them in {speed.elapsed:.1f} s: "
        f"decoding {spent.decoding / total:.0%}, cutting views {spent.views / total:.0%}, "
        f"backbone {spent.backbone / total:.0%}",
    ]


def render_pass(work: Pass) -> str:
    """Forwards, time and money."""
    text = f"{work.forwards:,} forwards"
    if work.seconds is not None:
        text += f", {work.seconds:,.0f} s" + (f" = {work.seconds / 3600:,.2f} h" if work.seconds >= 36 else "")
    return text + ("" if work.cost is None else f", {work.cost:,.2f} to pay")
