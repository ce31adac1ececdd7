"""Images -> batches of views: every image is read and decoded once, all its missing views are cut from it."""

from __future__ import annotations

import hashlib
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from frozenprobe.errors import ImageError, UnreadableImage
from frozenprobe.extract.decode import decode_image
from frozenprobe.extract.operations import P
from frozenprobe.extract.preprocessing import Preprocessing, Resized, cut_test_view
from frozenprobe.extract.recipes import View, cut_augmented, leaves_enough, make_recipe, pixels_of
from frozenprobe.extract.steps import Box
from frozenprobe.places import Member, Place


class Job(NamedTuple):
    """An image and the views of it that are missing."""

    path: Place
    content_hash: str
    views: tuple[str, ...]


@dataclass(frozen=True)
class ViewSettings:
    """All that decides a view's pixels besides the image.

    Attributes:
        preprocessing: of the backbone.
        recipe: name of the recipe.
        seed: of the augmented views.
        max_pixels: width x height allowed.
        decoding: `full`, or `scaled` for JPEGs at a half, a quarter or an eighth where that leaves enough.
        augment_on: `cpu` cuts augmented views from Pillow's image, `device` from a tensor on the backbone's device.
    """

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


def is_augmented(name: str) -> bool:
    """Whether a view of this name is augmented, not a test-time view."""
    return name.startswith("aug")


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


EMPTY = torch.empty(0, 0, 0, 3, dtype=torch.uint8)


class Sent(NamedTuple):
    """What a worker process hands over: tensors, which torch passes in shared memory.

    Attributes:
        job: the image.
        pixels: `(n, S, S, 3)` uint8, the views that the worker cut: all, or all but the augmented ones.
        erased: their boxes.
        image: `(H, W, 3)` uint8, what augmented views are still to be cut from; None: they are cut, or not wanted.
        decoding: seconds.
        cutting: seconds.
    """

    job: Job
    pixels: torch.Tensor
    erased: list[Box | None]
    image: torch.Tensor | None
    decoding: float
    cutting: float


class ViewDataset(Dataset[Any]):
    """One item a job: what a worker process can do for it.

    An error is returned, not raised: torch re-raises a worker's error as another type with a traceback for a message.
    """

    def __init__(self, jobs: Sequence[Job], settings: ViewSettings) -> None:
        self.jobs = list(jobs)
        self.settings = settings

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.begin(self.jobs[index])
        except ImageError as error:
            return (error.wanted, error.found, error.where, error.remedy)

    def begin(self, job: Job) -> Sent:
        """Read, decode and cut what is cut on the CPU; `finish` does the rest.

        Raises:
            ImageError: as `cut`.
        """
        start = time.perf_counter()
        image = decode(job, self.settings)
        decoded = time.perf_counter()
        here = [name for name in job.views if self.settings.augment_on == "cpu" or not is_augmented(name)]
        views = cut_views(image, job._replace(views=tuple(here)), self.settings)
        pixels = torch.stack([view.pixels for view in views]) if views else EMPTY
        rest = pixels_of(image) if len(here) < len(job.views) else None
        erased = [view.erased for view in views]
        return Sent(job, pixels, erased, rest, decoded - start, time.perf_counter() - decoded)

    def cut(self, job: Job) -> Cut:
        """Read, decode and cut all views, in this thread and on the CPU.

        Raises:
            ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
        """
        return finish(self.begin(job), self.settings)


def keep(item: Any) -> Any:
    """Hand on what came (a named function, so that spawn can send it)."""
    return item


def finish(sent: Sent, settings: ViewSettings, send: Callable[[torch.Tensor], torch.Tensor] = keep) -> Cut:
    """Cut the views that are left, on the device.

    Args:
        sent: from a worker.
        settings: the same as the worker's.
        send: brings a tensor to the device; with `--augment-on device` all views are there in the end, else none.
    """
    start = time.perf_counter()
    pixels = send(sent.pixels) if settings.augment_on == "device" and len(sent.pixels) else sent.pixels
    views = [View(*view) for view in zip(pixels, sent.erased, strict=True)]
    if sent.image is not None:
        source = Resized(send(sent.image).permute(2, 0, 1))
        fixed, drawn = iter(views), iter(cut_numbered(source, sent.job, settings))
        views = [next(drawn if is_augmented(name) else fixed) for name in sent.job.views]
    return Cut(sent.job, views, sent.decoding, sent.cutting + time.perf_counter() - start)


def decode(job: Job, settings: ViewSettings) -> Image.Image:
    """Read and decode.

    Raises:
        ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
    """
    content = read_image(job.path)
    if hashlib.sha256(content).hexdigest() != job.content_hash:
        raise ImageError(
            "The image that was there at the start",
            found="another content",
            where=job.path,
            remedy="let nothing change the images during extraction, and run the same command again",
        )
    recipe = make_recipe(settings.recipe, settings.preprocessing)
    enough = partial(leaves_enough, recipe=recipe, preprocessing=settings.preprocessing)
    scaled = settings.decoding == "scaled"
    return decode_image(content, job.path, max_pixels=settings.max_pixels, enough=enough if scaled else None)


def cut_views(image: Image.Image, job: Job, settings: ViewSettings) -> list[View]:
    """All views of a job, cut from Pillow's image; what several are cut from is made once."""
    source = Resized(image)
    drawn = iter(cut_numbered(source, job, settings))
    return [
        next(drawn)
        if is_augmented(name)
        else View(pixels_of(cut_test_view(source, name, settings.preprocessing)), None)
        for name in job.views
    ]


def cut_numbered(source: Resized[P], job: Job, settings: ViewSettings) -> list[View]:
    """The augmented views of a job, in its order."""
    numbers = [int(name[3:]) for name in job.views if is_augmented(name)]
    recipe = make_recipe(settings.recipe, settings.preprocessing)
    return cut_augmented(source, numbers, content_hash=job.content_hash, recipe=recipe, seed=settings.seed)


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
    jobs: Sequence[Job],
    settings: ViewSettings,
    *,
    batch_size: int,
    workers: int,
    seconds: Seconds,
    send: Callable[[torch.Tensor], torch.Tensor] = keep,
) -> Iterator[list[Row]]:
    """Batches of `batch_size` views in the order of the jobs; the last one may be smaller.

    Args:
        jobs: what to cut.
        settings: how.
        batch_size: B, in views.
        workers: processes that decode and cut; 0 does it in this one.
        seconds: decoding and cutting times are added here.
        send: brings a tensor to the device, where views are cut with `--augment-on device`.

    Raises:
        ImageError: a file that cannot be decoded.
    """
    loader = DataLoader(ViewDataset(jobs, settings), batch_size=None, num_workers=workers, collate_fn=keep)
    waiting: list[Row] = []
    for item in loader:
        if not isinstance(item, Sent):
            wanted, found, where, remedy = item
            raise ImageError(wanted, found=found, where=where, remedy=remedy)
        cut = finish(item, settings, send)
        seconds.add(cut.seconds)
        waiting += cut.rows
        while len(waiting) >= batch_size:
            yield waiting[:batch_size]
            del waiting[:batch_size]
    if waiting:
        yield waiting
