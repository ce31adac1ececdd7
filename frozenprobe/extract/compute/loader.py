"""Images -> batches of views: worker processes cut them, this process puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from frozenprobe.errors import ImageError
from frozenprobe.extract.views.cut import Cut, Job, Row, ViewSettings, cut_all


@dataclass
class Seconds:
    """Where the time went; decoding and cutting are summed over workers."""

    decoding: float = 0.0
    views: float = 0.0
    backbone: float = 0.0
    writing: float = 0.0

    def count(self, cut: Cut) -> None:
        """Add what decoding and cutting an image took."""
        self.decoding += cut.decoding
        self.views += cut.cutting


class ViewDataset(Dataset[Any]):
    """One item a job: its views, or the parts of an error.

    An error is returned, not raised: torch re-raises a worker's error as another type with a traceback for a message.
    """

    def __init__(self, jobs: Sequence[Job], settings: ViewSettings) -> None:
        self.jobs = list(jobs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        try:
            return cut_all(self.jobs[index], self.settings)
        except ImageError as error:
            return error.wanted, error.found, error.where, error.remedy


def load_batches(
    jobs: Sequence[Job], settings: ViewSettings, *, batch_size: int, workers: int, seconds: Seconds
) -> Iterator[list[Row]]:
    """Batches of `batch_size` views in the order of the jobs; the last one may be smaller.

    Args:
        jobs: what to cut.
        settings: how.
        batch_size: B, in views.
        workers: processes that decode and cut; 0 does it in this one.
        seconds: decoding and cutting times are added here.

    Raises:
        ImageError: a file that cannot be decoded.
    """
    loader = DataLoader(ViewDataset(jobs, settings), batch_size=None, num_workers=workers, collate_fn=keep)
    waiting: list[Row] = []
    for cut in map(taken, loader):
        seconds.count(cut)
        waiting += cut.rows
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            del waiting[:batch_size]
    if waiting:
        yield waiting


def taken(item: Any) -> Cut:
    """What a worker has handed over.

    Raises:
        ImageError: that is an error.
    """
    if not isinstance(item, Cut):
        wanted, found, where, remedy = item
        raise ImageError(wanted, found=found, where=where, remedy=remedy)
    return item


def keep(item: Any) -> Any:
    """Collate nothing (a named function, so that spawn can send it)."""
    return item
