"""The thread that writes: embedded rows become pieces on disk while the next ones are computed."""

from __future__ import annotations

from queue import Empty, Queue
from threading import Thread
from time import monotonic, perf_counter
from types import TracebackType

import numpy as np

from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute.pipeline import Embedded

PIECE_ROWS = 64
PIECE_SECONDS = 1.0  # what a kill costs at most, besides what is being computed
WAITING = 8  # batches; whoever computes faster than the disk takes waits, so that memory stays bounded


class PieceWriter:
    """Hands rows to a thread of its own, which publishes them as pieces.

    Within `with`, `put` what has been computed. Leaving it waits until all of it is on disk, also after an error
    outside: what was paid for is kept.

    Args:
        rows: where the pieces go; nobody else may touch it meanwhile.
        piece_rows: so many rows are published at once, or as many as there are when one has waited for a second.

    Attributes:
        seconds: spent on writing.
    """

    def __init__(self, rows: RowStore, *, piece_rows: int = PIECE_ROWS) -> None:
        self.rows, self.piece_rows = rows, piece_rows
        self.seconds = 0.0
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
        self.queue.put(None)
        self.thread.join()
        if self.error is not None and (error is None or isinstance(self.error, FrozenprobeError)):
            raise self.error

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
            due = ended or sum(len(batch.rows) for batch in batches) >= self.piece_rows
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
