"""One image -> its views: read and decoded once, all its missing views cut from it, resized to each size once."""

from __future__ import annotations

import hashlib
import stat
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from frozenprobe.errors import ImageError, UnreadableImage
from frozenprobe.extract.decode import decode_image
from frozenprobe.extract.preprocessing import Preprocessing, Resizer, cut_test_view
from frozenprobe.extract.recipes import View, cut_view, make_recipe, view_generator
from frozenprobe.extract.steps import Image
from frozenprobe.places import Member, Place

ENOUGH = 2.0  # an image decoded at a part of its size keeps so many px for one that a view needs


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


class Cut(NamedTuple):
    """A job's views, as far as they are cut.

    Attributes:
        job: the image and the names of its views.
        views: by name.
        image: `(3, H, W)` uint8, if augmented views are still to be cut from it on a device.
        decoding: seconds.
        cutting: seconds.
    """

    job: Job
    views: dict[str, View]
    image: torch.Tensor | None
    decoding: float
    cutting: float

    @property
    def rows(self) -> list[Row]:
        """The views on their way to the backbone, in the order of the job."""
        return [Row(self.job.path, self.job.content_hash, name, self.views[name]) for name in self.job.views]


def augmented_name(view: int) -> str:
    """The name of augmented view `view` = 1, 2, ... in the feature file."""
    return f"aug{view}"


def is_augmented(name: str) -> bool:
    """Whether a view is drawn, not fixed."""
    return name.startswith("aug")


def cut_all(job: Job, settings: ViewSettings, device: torch.device) -> Cut:
    """Read, decode and cut all views, here.

    Args:
        job: the image and its views.
        settings: how.
        device: where augmented views are cut, if not by Pillow.

    Raises:
        ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
    """
    return cut_rest(cut_fixed(job, settings), settings, device)


def cut_fixed(job: Job, settings: ViewSettings) -> Cut:
    """Read, decode and cut what Pillow cuts: the test-time views, and the augmented ones unless a device does.

    Raises:
        ImageError: as `cut_all`.
    """
    start = time.perf_counter()
    recipe = make_recipe(settings.recipe, settings.preprocessing)
    least = ENOUGH * recipe.least_side(settings.preprocessing) if settings.decoding == "scaled" else None
    image = decode_image(read_job(job), job.path, max_pixels=settings.max_pixels, least_side=least)
    decoded = time.perf_counter()
    resizer = Resizer(image)
    fixed = [name for name in job.views if not is_augmented(name)]
    views = {name: View(np.asarray(cut_test_view(resizer, name, settings.preprocessing)), None) for name in fixed}
    rest = None
    if len(fixed) < len(job.views):
        if settings.augment_on == "device":
            rest = F.pil_to_tensor(image)
        else:
            views |= cut_augmented(resizer, job, settings)
    return Cut(job, views, rest, decoded - start, time.perf_counter() - decoded)


def cut_rest(cut: Cut, settings: ViewSettings, device: torch.device) -> Cut:
    """Cut on the device what Pillow has not cut; then all views of the job lie there."""
    if settings.augment_on != "device":
        return cut
    start = time.perf_counter()
    views = {name: View(as_tensor(view).to(device), None) for name, view in cut.views.items()}
    if cut.image is not None:
        views |= cut_augmented(Resizer(cut.image.to(device, non_blocking=True)), cut.job, settings)
    return cut._replace(views=views, image=None, cutting=cut.cutting + time.perf_counter() - start)


def cut_augmented(resizer: Resizer, job: Job, settings: ViewSettings) -> dict[str, View]:
    """The augmented views of a job, from Pillow's image or from a tensor on any device: the same draws either way."""
    recipe = make_recipe(settings.recipe, settings.preprocessing)
    prepared: Image = recipe.prepare(resizer, settings.preprocessing)
    return {
        name: cut_view(
            prepared, recipe, view_generator(job.content_hash, int(name[3:]), recipe=recipe, seed=settings.seed)
        )
        for name in job.views
        if is_augmented(name)
    }


def read_job(job: Job) -> bytes:
    """The bytes of a job's image.

    Raises:
        ImageError: it cannot be read any more, or is not what it was.
    """
    content = read_image(job.path)
    if hashlib.sha256(content).hexdigest() != job.content_hash:
        raise ImageError(
            "The image that was there at the start",
            found="another content",
            where=job.path,
            remedy="let nothing change the images during extraction, and run the same command again",
        )
    return content


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


def as_tensor(view: View) -> torch.Tensor:
    """A view's pixels as a tensor that may be written to."""
    return view.pixels if isinstance(view.pixels, torch.Tensor) else torch.from_numpy(np.array(view.pixels))
