"""The one pass: images -> batches of views -> backbone -> feature file; only what is missing is computed."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe._version import __version__
from frozenprobe.cache.contents import Contents
from frozenprobe.cache.growth import begin
from frozenprobe.cache.repair import damaged_files
from frozenprobe.cache.rows import RowStore
from frozenprobe.cache.verify import require_whole
from frozenprobe.devices import choose_device, computing_on
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones import ANY_VIT, BackboneInfo
from frozenprobe.extract.compute import Embedder, Fidelity
from frozenprobe.extract.cutting import Job, Row, ViewSettings
from frozenprobe.extract.environment import describe_environment, require_same_rows
from frozenprobe.extract.inspection import Progress, inspect
from frozenprobe.extract.loader import Seconds
from frozenprobe.extract.network import Backbone
from frozenprobe.extract.pipeline import embed_jobs, torch_threads
from frozenprobe.extract.plan import missing_jobs, require_same_set
from frozenprobe.extract.ranks import Rank, available_cores, read_rank
from frozenprobe.extract.settings import ExtractRequest, Settled
from frozenprobe.extract.target import Target, open_target, options_text
from frozenprobe.extract.together import finish_share, share_of, take_stock, writing
from frozenprobe.extract.tuning import check_fidelity, make_embedder, threads_a_call
from frozenprobe.extract.writing import PIECE_ROWS, PieceWriter
from frozenprobe.places import Place

log = logging.getLogger("frozenprobe")


@dataclass
class ExtractReport:
    """What an extraction did.

    Attributes:
        path: the feature file.
        images: training and test images in it.
        computed: views that went through the backbone.
        reused: views that were there already.
        skipped: bad images, as id and reason.
        seconds: where the time went, summed over workers.
        fidelity: how far the features are from float32 in eager torch; None where that is what they are.
        compute: engine, dtype, batch size and workers, for a person.
        elapsed: seconds from start to end.
        written: whether the file changed; False: nothing was left to do, or other ranks have not done their part.
        rank: which rank of how many did it; empty for a process that is alone.
        waiting: rows that other ranks have still to compute.
    """

    path: Path
    images: int = 0
    computed: int = 0
    reused: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    fidelity: Fidelity | None = None
    compute: str = ""
    elapsed: float = 0.0
    written: bool = False
    rank: str = ""
    waiting: int = 0


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


def extract_features(request: ExtractRequest, progress: Progress = ignore_progress) -> ExtractReport:
    """Compute the features that are missing and publish the feature file.

    Args:
        request: see there.
        progress: called with (stage, done, total).

    Raises:
        FrozenprobeError: images, options, weights or an existing file that do not fit; the message says what to do.
    """
    rank = read_rank()
    device = choose_device(rank.device(request.device, torch.cuda.device_count()))
    target = open_target(request, device)
    with writing(target, rank, break_lock=request.break_lock), computing_on(device):
        if target.is_outdated():
            target = open_target(request, device)
        return extract_into(target, request, rank=rank, progress=progress)


def extract_into(target: Target, request: ExtractRequest, *, rank: Rank, progress: Progress) -> ExtractReport:
    """As `extract_features`, into a target that nobody else writes, or only other ranks of this extraction."""
    start = time.perf_counter()
    log.info("\n  ".join([f"backbone {target.info.name}", *remarks_of(target.info, target.settled)]))
    images = inspect(request, target, progress, rank)
    limited = request.limit is not None
    before = target.existing or (target.begun if not limited else None)
    gone = require_same_set(images, before, target.out, drop_missing=request.drop_missing, limited=limited)
    if gone and target.existing:
        log.info("images that are no longer there and leave the feature file: %d", gone)
    target, rows = take_stock(target, images, rank)
    contents, jobs = rows.contents, missing_jobs(rows, images, share_of(rows, rank))
    report = ExtractReport(target.out, images=len(images.train) + len(images.test or ()), skipped=images.skipped)
    report.rank = "" if rank.is_alone else str(rank)
    report.computed = sum(len(job.views) for job in jobs)
    report.reused = rows.there
    if jobs:
        with torch_threads(threads_a_call(workers_for(request))):  # for all of it: code is compiled for this number
            contents = compute(jobs, rows, target, request, report=report, paths=images.places, progress=progress)
    start_writing = time.perf_counter()
    report.written, report.waiting = finish_share(
        target, rows, contents, rank, computed=bool(jobs), with_facts=lambda bare: with_facts(bare, target)
    )
    report.seconds.writing += time.perf_counter() - start_writing
    report.elapsed = time.perf_counter() - start
    return report


def compute(
    jobs: list[Job],
    rows: RowStore,
    target: Target,
    request: ExtractRequest,
    *,
    report: ExtractReport,
    paths: Mapping[str, Place],
    progress: Progress,
) -> Contents:
    """Run every missing view through the backbone; what is computed becomes a piece on disk at once.

    Returns:
        what the file will hold, with the facts about this backbone and environment.
    """
    backbone = target.load()
    settled = target.settled
    settings = ViewSettings(
        backbone.preprocessing, settled.recipe, settled.seed, request.max_pixels, settled.decode, settled.augment_on
    )
    if rows.existing is not None:
        require_whole(rows.existing, progress)
    workers = workers_for(request)
    embedder = make_embedder(target, workers=workers, batch_size=request.batch_size)
    known, here = rows.known_environments, describe_environment(target.device)
    if here not in known and rows.there:
        require_same_rows(rows, paths, settings, embedder, known=sorted(known), where=target.out)
    about = describe(backbone, settled) | {"environments": json.dumps(sorted({*known, here}))}
    contents = replace(rows.contents, taps=backbone.taps, about=about)
    begin(target.out, rows, contents)
    rows.origin = {here}
    report.compute = describe_compute(embedder, workers)
    report.fidelity = check_fidelity(embedder, jobs, settings)
    done, total = 0, sum(len(job.views) for job in jobs)
    progress("embedding views", done, total)
    with PieceWriter(rows, piece_rows=request.batch_size or PIECE_ROWS) as writer:
        for batch in embed_jobs(jobs, settings, embedder, workers=workers, seconds=report.seconds):
            require_finite(batch.vectors, batch.rows, settled.storage)
            writer.put(batch)
            done += len(batch.rows)
            progress("embedding views", done, total)
    report.seconds.writing += writer.seconds
    if embedder.overflowed:
        log.info("%d of %d views overflowed float16 and were computed in float32", embedder.overflowed, total)
    return contents


def workers_for(request: ExtractRequest) -> int:
    """Threads or processes that cut views: as many as were asked for, else one a core."""
    return available_cores() if request.workers is None else request.workers


def describe_compute(embedder: Embedder, workers: int) -> str:
    """What computes, for a person."""
    kind = f"{max(1, workers)} threads" if embedder.device.type == "cpu" else f"{workers} processes that cut views"
    return (
        f"{embedder.engine} on {embedder.device}, {embedder.compute_dtype}, {embedder.batch_size} views a batch, {kind}"
    )


def require_finite(vectors: npt.NDArray[np.float32], batch: list[Row], storage: str) -> None:
    """Refuse to store NaN, infinity, or what becomes infinity in the storage dtype.

    Raises:
        FrozenprobeError: names the first image.
    """
    with np.errstate(over="ignore"):
        finite = np.isfinite(vectors.astype(storage)).all(axis=1)
    if finite.all():
        return
    row = int(np.flatnonzero(~finite)[0])
    overflow = bool(np.isfinite(vectors[row]).all())
    raise FrozenprobeError(
        "Finite features",
        found=f"{np.abs(vectors[row]).max():.3g}, beyond float16's 65504" if overflow else "NaN or infinity",
        where=f"{batch[row].path}, view {batch[row].name}",
        remedy="add --storage float32" if overflow else "check the weights, or add --dtype float32",
    )


def with_facts(contents: Contents, target: Target) -> Contents:
    """The contents with the facts of the existing or begun file, else about the backbone."""
    before = target.before
    if before is not None:
        return replace(contents, taps=before.taps, about=before.about)
    return replace(contents, taps=target.load().taps, about=describe(target.load(), target.settled))


def describe(backbone: Backbone, settled: Settled) -> dict[str, str]:
    """Facts for people, kept in the file."""
    libraries = {name: version(name) for name in ("torch", "torchvision", "numpy", "h5py", "pillow")}
    return {
        "frozenprobe": __version__,
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {number}" for name, number in libraries.items()),
        "licence": backbone.info.licence,
        "pretraining": backbone.info.pretraining,
        "remarks": "; ".join(remarks_of(backbone.info, settled)),
        "weights": backbone.weights_from,
        "weights_file": str(settled.weights or ""),
        "weights_options": options_text(settled.weights_options),
    }


def remarks_of(info: BackboneInfo, settled: Settled) -> tuple[str, ...]:
    """What is known of the weights; of a local file under an official name it is known only by that name."""
    if settled.weights is None or not info.parameters or info.name == ANY_VIT:
        return info.remarks
    return (*info.remarks, f"the weights come from {settled.weights}: all this holds if they are the official ones")


def render_report(report: ExtractReport) -> str:
    """What an extraction did, for a person."""
    lines = [f"features {report.path}"]
    leftovers = [f"{path}, which repair put aside, is no longer needed" for path in damaged_files(report.path)]
    if report.skipped:
        lines.append(f"bad images, skipped: {len(report.skipped)}")
        lines += [f"  {text}" for text in report.skipped]
    if report.rank and not report.written and (report.computed or report.waiting):
        lines.append(f"{report.rank} is done: {report.computed} views computed, in {report.elapsed:.1f} s")
        lines.append(
            f"{report.waiting} rows are missing: of ranks that still compute (the last one finishes the file), or that "
            "were stopped (then the same command goes on, with any number of ranks)"
            if report.waiting
            else "another rank has finished the file"
        )
        return "\n".join(lines)
    if not report.written:
        done = f"nothing left to do: all {report.reused} views of {report.images} images are there"
        return "\n".join([*lines, f"{done} (frozenprobe verify reads them)", *leftovers])
    spent = report.seconds
    lines.append(
        (f"finished by {report.rank}; " if report.rank else "")
        + f"{report.images} images: {report.computed} views computed, {report.reused} reused, in {report.elapsed:.1f} s"
        + (f" ({report.computed / report.elapsed:.1f} views/s)" if report.computed else "")
    )
    if report.compute:
        lines.append(f"computed by {report.compute}")
    if report.fidelity is not None:
        near = report.fidelity
        lines.append(
            f"against float32 in torch, {near.rows} views: cosine {near.cosine:.6f} or more, "
            f"difference {near.difference:.1e} of the largest feature or less"
        )
    lines.append(
        f"seconds, summed over workers, in decoding {spent.decoding:.1f}, views {spent.views:.1f}, "
        f"backbone {spent.backbone:.1f}, writing {spent.writing:.1f}"
    )
    return "\n".join([*lines, *leftovers])
