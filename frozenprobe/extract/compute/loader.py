"""Images -> batches of views: worker processes cut them, this process puts them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from frozenprobe.errors import ImageError
from frozenprobe.extract.views.cut import Cut, Job, Row, Send, ViewSettings, cut_here, cut_rest, stay
from frozenprobe.extract.views.recipes import View
from frozenprobe.extract.views.transforms import Box


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


class Sent(NamedTuple):
    """What a worker process hands over: an image's views with all their pixels in one `(n, S, S, 3)` tensor."""

    cut: Cut
    pixels: torch.Tensor | None
    views: list[tuple[str, Box | None]]

    def unpacked(self) -> Cut:
        """The views one by one again."""
        if self.pixels is None:
            return self.cut
        named = zip(self.views, self.pixels, strict=True)
        return self.cut._replace(views={name: View(pixels, erased) for (name, erased), pixels in named})


class ViewDataset(Dataset[Any]):
    """One item a job: the views that a worker process cuts, and what is needed for the others.

    An error is returned, not raised: torch re-raises a worker's error as another type with a traceback for a message.
    """

    def __init__(self, jobs: Sequence[Job], settings: ViewSettings) -> None:
        self.jobs = list(jobs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        try:
            cut = cut_here(self.jobs[index], self.settings)
        except ImageError as error:
            return (error.wanted, error.found, error.where, error.remedy)
        # one tensor an image: in shared memory each costs a file descriptor and a handshake
        pixels = torch.stack([view.pixels for view in cut.views.values()]) if cut.views else None
        return Sent(cut._replace(views={}), pixels, [(name, view.erased) for name, view in cut.views.items()])


def load_batches(
    jobs: Sequence[Job],
    settings: ViewSettings,
    *,
    batch_size: int,
    workers: int,
    seconds: Seconds,
    send: Send = stay,
) -> Iterator[list[Row]]:
    """Batches of `batch_size` views in the order of the jobs; the last one may be smaller.

    Args:
        jobs: what to cut.
        settings: how.
        batch_size: B, in views.
        workers: processes that decode and cut; 0 does it in this one.
        seconds: decoding and cutting times are added here.
        send: brings pixels to the device where augmented views are cut, if not by Pillow.

    Raises:
        ImageError: a file that cannot be decoded.
    """
    loader = DataLoader(ViewDataset(jobs, settings), batch_size=None, num_workers=workers, collate_fn=keep)
    waiting: list[Row] = []
    for item in loader:
        if not isinstance(item, Sent):
            wanted, found, where, remedy = item
            raise ImageError(wanted, found=found, where=where, remedy=remedy)
        cut = cut_rest(item.unpacked(), settings, send)
        seconds.count(cut)
        waiting += cut.rows
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            del waiting[:batch_size]
    if waiting:
        yield waiting


def keep(item: Any) -> Any:
    """Collate nothing (a named function, so that spawn can send it)."""
    return item
