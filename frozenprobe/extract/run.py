"""The one pass: images -> batches of views -> backbone -> feature file; only what is missing is computed."""

from __future__ import annotations

import logging
import time

import torch

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.growing.finish import begin
from frozenprobe.extract.inspect import inspect
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.ranks.rank import Rank, read_rank
from frozenprobe.extract.ranks.share import finish_share, writing
from frozenprobe.extract.report import ExtractReport
from frozenprobe.extract.target import Target, open_target, require_writable
from frozenprobe.extract.work import Work, announce, describe_compute, embed, set_up, survey, with_facts
from frozenprobe.extract.writing import PIECE_ROWS, PieceWriter
from frozenprobe.system.devices import choose_device, computing_on
from frozenprobe.system.progress import Progress, ignore_progress

log = logging.getLogger("frozenprobe")


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
    require_writable(target.out)
    with writing(target, rank, break_lock=request.break_lock), computing_on(device):
        if target.is_outdated():
            target = open_target(request, device)
        return extract_into(target, request, rank=rank, progress=progress)


def extract_into(target: Target, request: ExtractRequest, *, rank: Rank, progress: Progress) -> ExtractReport:
    """As `extract_features`, into a target that nobody else writes, or only other ranks of this extraction."""
    start = time.perf_counter()
    log.info(announce(target))
    images = inspect(request, target, progress, rank)
    work = survey(target, request, images, rank)
    target = work.target
    report = ExtractReport(target.out, images=images.total, skipped=images.skipped)
    report.rank = "" if rank.is_alone else str(rank)
    report.computed, report.reused = work.missing, work.rows.there
    contents = compute(work, request, report=report, progress=progress) if work.jobs else work.rows.contents
    start_writing = time.perf_counter()
    report.written, report.waiting = finish_share(
        target, work.rows, contents, rank, computed=bool(work.jobs), with_facts=lambda bare: with_facts(bare, target)
    )
    report.seconds.writing += time.perf_counter() - start_writing
    report.elapsed = time.perf_counter() - start
    return report


def compute(work: Work, request: ExtractRequest, *, report: ExtractReport, progress: Progress) -> Contents:
    """Run every missing view through the backbone; what is computed becomes a piece on disk at once.

    Returns:
        what the file will hold, with the facts about this backbone and environment.
    """
    setup, rows = set_up(work, request, progress), work.rows
    begin(work.target.out, rows, setup.contents)
    rows.origin = {setup.environment}
    report.compute, report.fidelity = describe_compute(setup.embedder, setup.workers), setup.fidelity
    done, total = 0, work.missing
    progress("embedding views", done, total)
    with PieceWriter(rows, piece_rows=request.batch_size or PIECE_ROWS) as writer:
        for batch in embed(work.jobs, setup, report.seconds):
            writer.put(batch)
            done += len(batch.rows)
            progress("embedding views", done, total)
    report.seconds.writing += writer.seconds
    overflowed = setup.embedder.overflowed
    if overflowed:
        log.info("%d of %d views overflowed float16 and were computed in float32", overflowed, total)
    return setup.contents
