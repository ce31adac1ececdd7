"""Images -> batches of views: every image is read and decoded once, all its missing views are cut from it."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from frozenprobe.errors import ImageError, UnreadableImage
from frozenprobe.extract.decode import decode_image
from frozenprobe.extract.preprocessing import Preprocessing, cut_test_view
from frozenprobe.extract.recipes import View, cut_view, make_recipe, view_generator
from frozenprobe.places import Member, Place


class Job(NamedTuple):
    """An image and the views of it that are missing."""

    path: Place
    content_hash: str
    views: tuple[str, ...]


@dataclass(frozen=True)
class ViewSettings:
    """All that decides a view's pixels besides the image."""

    preprocessing: Preprocessing
    recipe: str
    seed: int
    max_pixels: int
    decoding: str = "full"
    augment_on: str = "cpu"


class Row(NamedTuple):
    """One view on its way to the backbone."""

    path: Place
    content_hash: str
    name: str
    view: View


@dataclass
class Seconds:
    """Where the time went; decoding and cutting are summed over workers."""

    decoding: float = 0.0
    views: float = 0.0
    backbone: float = 0.0
    writing: float = 0.0

    def add(self, other: Seconds) -> None:
        """Add another's to these."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def augmented_name(view: int) -> str:
    """The name of augmented view `view` = 1, 2, ... in the feature file."""
    return f"aug{view}"


class Cut(NamedTuple):
    """A job's views, cut, and the seconds that decoding and cutting took."""

    job: Job
    views: list[View]
    decoding: float
    cutting: float

    @property
    def rows(self) -> list[Row]:
        """The views on their way to the backbone."""
        return [
            Row(self.job.path, self.job.content_hash, *named) for named in zip(self.job.views, self.views, strict=True)
        ]

    @property
    def seconds(self) -> Seconds:
        """Where the time went."""
        return Seconds(decoding=self.decoding, views=self.cutting)


class ViewDataset(Dataset[Any]):
    """One item a job: all its views, and the seconds spent on decoding and on cutting.

    An error is returned, not raised: torch re-raises a worker's error as another type with a traceback for a message.
    """

    def __init__(self, jobs: Sequence[Job], settings: ViewSettings) -> None:
        self.jobs = list(jobs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        try:
            cut = self.cut(self.jobs[index])
        except ImageError as error:
            return (error.wanted, error.found, error.where, error.remedy)
        # as one tensor: torch hands it over in shared memory, where arrays would be pickled through a pipe
        pixels = torch.from_numpy(np.stack([view.pixels for view in cut.views]))
        return cut.job, pixels, [view.erased for view in cut.views], cut.decoding, cut.cutting

    def cut(self, job: Job) -> Cut:
        """Read, decode and cut.

        Raises:
            ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
        """
        start = time.perf_counter()
        content = read_image(job.path)
        if hashlib.sha256(content).hexdigest() != job.content_hash:
            raise ImageError(
                "The image that was there at the start",
                found="another content",
                where=job.path,
                remedy="let nothing change the images during extraction, and run the same command again",
            )
        image = decode_image(content, job.path, max_pixels=self.settings.max_pixels)
        decoded = time.perf_counter()
        recipe = make_recipe(self.settings.recipe, self.settings.preprocessing)
        augmented = any(name.startswith("aug") for name in job.views)
        prepared = recipe.prepare(image, self.settings.preprocessing) if augmented else image
        views = []
        for name in job.views:
            if name.startswith("aug"):
                rng = view_generator(job.content_hash, int(name[3:]), recipe=recipe, seed=self.settings.seed)
                views.append(cut_view(prepared, recipe, rng))
            else:
                views.append(View(np.asarray(cut_test_view(image, name, self.settings.preprocessing)), None))
        return Cut(job, views, decoded - start, time.perf_counter() - decoded)


def read_image(place: Place) -> bytes:
    """The bytes of a file, or of a member of a shard.

    Raises:
        UnreadableImage: it cannot be read.
    """
    try:
        file = place.tar if isinstance(place, Member) else place
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe waits for ever, a device may never end
            raise OSError("no regular file (a folder, a pipe or a device)")
        return place.read_bytes()
    except OSError as error:
        raise UnreadableImage(
            "A readable image", found=str(error), where=place, remedy="check the file and its permissions"
        ) from None


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
    for item in loader:
        if isinstance(item[0], str):
            wanted, found, where, remedy = item
            raise ImageError(wanted, found=found, where=where, remedy=remedy)
        job, pixels, erased, decoding, cutting = item
        views = [View(*view) for view in zip(pixels.numpy(), erased, strict=True)]
        cut = Cut(job, views, decoding, cutting)
        seconds.add(cut.seconds)
        waiting += cut.rows
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            del waiting[:batch_size]
    if waiting:
        yield waiting


def keep(item: Any) -> Any:
    """Collate nothing (a named function, so that spawn can send it)."""
    return item
