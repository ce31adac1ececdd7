"""The one pass: images -> batches of views -> backbone -> feature file; only what is missing is computed.

A thread writes: embedded rows become pieces on disk while the next ones are computed.
"""

from __future__ import annotations

import logging
from queue import Empty, Queue
from threading import Thread
from time import monotonic, perf_counter
from types import TracebackType

import numpy as np
import torch

from frozenprobe.cache.growing.finish import begin
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute.loader import dead_workers_named
from frozenprobe.extract.compute.pipeline import Embedded
from frozenprobe.extract.inspect import inspect
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.ranks.rank import Rank, read_rank
from frozenprobe.extract.ranks.share import finish_share, writing
from frozenprobe.extract.report import ExtractReport
from frozenprobe.extract.target import Target, open_target
from frozenprobe.extract.work import Setup, announce, describe_compute, embed, set_up, survey, with_facts
from frozenprobe.system.atomic_files import require_writable
from frozenprobe.system.devices import choose_device, computing_on
from frozenprobe.system.progress import Progress, ignore_progress

log = logging.getLogger("frozenprobe")

PIECE_SECONDS = 1.0  # what a kill costs at most, besides what is being computed
PIECE_BYTES = 1 << 26  # of vectors; so much is published at once, so that memory stays bounded
WAITING = 8  # batches; whoever computes faster than the disk takes waits, so that memory stays bounded


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
    require_writable(target.out, "name a file in a writable folder with --out FILE")
    with writing(target, rank, break_lock=request.break_lock), computing_on(device):
        if target.is_outdated():
            target = open_target(request, device)
        return extract_into(target, request, rank=rank, progress=progress)


def extract_into(target: Target, request: ExtractRequest, *, rank: Rank, progress: Progress) -> ExtractReport:
    """As `extract_features`, into a target that nobody else writes, or only other ranks of this extraction."""
    start = perf_counter()
    log.info(announce(target))
    images = inspect(request, target, progress, rank)
    report = ExtractReport(target.out, images=images.total, skipped=images.skipped)
    report.rank = "" if rank.is_alone else str(rank)
    if target.before is None and target.backbone is None and rank.is_idle(len(images.places)):
        target = open_target(request, target.device)  # others may have begun: then it is known what the rows will be of
        if target.before is None:  # only for that would the backbone be loaded
            report.waiting, report.elapsed = images.rows(target.settled), perf_counter() - start
            return report
    work = survey(target, request, images, rank)
    contents, report.reused = work.rows.contents, work.rows.there
    if work.jobs:
        setup = set_up(work, request, progress, rank)
        work, contents, report.computed = setup.work, setup.contents, setup.work.missing
        compute(setup, report=report, progress=progress)
    start_writing = perf_counter()
    report.written, report.waiting = finish_share(
        work.target, work.rows, contents, rank, computed=bool(work.jobs), with_facts=with_facts
    )
    report.seconds.writing += perf_counter() - start_writing
    report.elapsed = perf_counter() - start
    return report


def compute(setup: Setup, *, report: ExtractReport, progress: Progress) -> None:
    """Run every missing view through the backbone; what is computed becomes a piece on disk at once."""
    work, rows = setup.work, setup.work.rows
    begin(work.target.out, rows, setup.contents)
    rows.origin = {setup.environment}
    report.compute, report.fidelity = describe_compute(setup), setup.fidelity
    done, total = 0, work.missing
    progress("embedding views", done, total)
    with dead_workers_named(), PieceWriter(rows) as writer:  # torch may tell of them at any instant
        for batch in embed(work.jobs, setup, report.seconds):
            writer.put(batch)
            done += len(batch.rows)
            progress("embedding views", done, total)
    report.seconds.writing += writer.seconds
    overflowed = setup.embedder.overflowed
    if overflowed:
        log.info("%d of %d views overflowed float16 and were computed in float32", overflowed, total)


class PieceWriter:
    """Hands rows to a thread of its own, which publishes all that there are as a piece, once a second.

    Within `with`, `put` what has been computed. Leaving it waits until all of it is on disk, also after an error
    outside: what was paid for is kept.

    Args:
        rows: where the pieces go; nobody else may touch it meanwhile.

    Attributes:
        seconds: spent on writing.
    """

    def __init__(self, rows: RowStore) -> None:
        self.rows, self.seconds = rows, 0.0
        self.queue: Queue[Embedded | None] = Queue(WAITING)
        self.error: BaseException | None = None
        self.thread = Thread(target=self._run, name="write", daemon=True)

    def __enter__(self) -> PieceWriter:
        self.thread.start()
        return self

    def put(self, batch: Embedded) -> None:
        """Take rows over.

        Raises:
            DiskFull: earlier ones could not be written; nothing of what is on disk is lost.
        """
        if self.error is not None:
            raise self.error
        self.queue.put(batch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted: RuntimeError | None = None
        while self.thread.is_alive():
            try:
                self.queue.put(None)
                self.thread.join()
            except RuntimeError as raised:  # torch's, of a dead worker, from a signal handler: rows are written first
                interrupted = raised
        if self.error is not None and (error is None or isinstance(self.error, FrozenprobeError)):
            raise self.error
        if interrupted is not None:
            raise interrupted

    def _run(self) -> None:
        """Collect rows into pieces until there are no more; after an error take and drop them, so that nobody waits."""
        batches: list[Embedded] = []
        oldest, ended = 0.0, False
        while not ended:
            try:
                left = PIECE_SECONDS - (monotonic() - oldest) if batches else None
                batch = self.queue.get(timeout=None if left is None else max(0.0, left))
                ended = batch is None
                if batch is not None and self.error is None:
                    oldest = oldest if batches else monotonic()
                    batches.append(batch)
            except Empty:
                pass
            due = ended or sum(batch.vectors.nbytes for batch in batches) >= PIECE_BYTES
            if batches and (due or monotonic() - oldest >= PIECE_SECONDS):
                self._write(batches)
                batches = []

    def _write(self, batches: list[Embedded]) -> None:
        """Publish one piece."""
        start = perf_counter()
        rows = [row for batch in batches for row in batch.rows]
        try:
            vectors = np.concatenate([batch.vectors for batch in batches])
            self.rows.add([row.content_hash for row in rows], [row.name for row in rows], vectors)
        except BaseException as error:  # handed to whoever puts the next rows, or ends
            self.error = error
        self.seconds += perf_counter() - start
