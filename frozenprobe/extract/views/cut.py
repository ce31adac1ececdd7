"""One image -> its views: read and decoded once, all its missing views cut from it, resized to each size once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.extract.views.decode import decode_image
from frozenprobe.extract.views.operations import P
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized, cut_test_view
from frozenprobe.extract.views.recipes import View, cut_augmented, leaves_enough, make_recipe, pixels_of
from frozenprobe.images.places import Place, read_image


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
    """One view on its way to the backbone; without its pixels once it is there."""

    path: Place
    content_hash: str
    name: str
    view: View


class Cut(NamedTuple):
    """A job's views, as far as they are cut; all of it tensors, which torch hands over between processes as they are.

    Attributes:
        job: the image and the names of its views.
        views: by name.
        image: `(H, W, 3)` uint8, if augmented views are still to be cut from it on a device.
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


Send = Callable[[torch.Tensor], torch.Tensor]


def augmented_name(view: int) -> str:
    """The name of augmented view `view` = 1, 2, ... in the feature file."""
    return f"aug{view}"


def is_augmented(name: str) -> bool:
    """Whether a view is drawn, not fixed."""
    return name.startswith("aug")


def stay(pixels: torch.Tensor) -> torch.Tensor:
    """Send to no other device."""
    return pixels


def cut_all(job: Job, settings: ViewSettings, send: Send = stay) -> Cut:
    """Read, decode and cut all views, here.

    Args:
        job: the image and its views.
        settings: how.
        send: brings pixels to the device where augmented views are cut, if not by Pillow.

    Raises:
        ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
    """
    return cut_rest(cut_here(job, settings), settings, send)


def cut_here(job: Job, settings: ViewSettings) -> Cut:
    """Read, decode and cut what Pillow cuts: the test-time views, and the augmented ones unless a device does.

    Raises:
        ImageError: as `cut_all`.
    """
    start = time.perf_counter()
    image = decode_job(job, settings)
    decoded = time.perf_counter()
    source, on_device = Resized(image), settings.augment_on == "device"
    views = {
        name: View(pixels_of(cut_test_view(source, name, settings.preprocessing)), None)
        for name in job.views
        if not is_augmented(name)
    }
    rest = pixels_of(image) if on_device and len(views) < len(job.views) else None
    if not on_device:
        views |= cut_drawn(source, job, settings)
    return Cut(job, views, rest, decoded - start, time.perf_counter() - decoded)


def cut_rest(cut: Cut, settings: ViewSettings, send: Send) -> Cut:
    """Cut on the device what Pillow has not cut; then all views of the job lie there."""
    if settings.augment_on != "device":
        return cut
    start = time.perf_counter()
    views = {name: view._replace(pixels=send(view.pixels)) for name, view in cut.views.items()}
    if cut.image is not None:
        views |= cut_drawn(Resized(send(cut.image).permute(2, 0, 1)), cut.job, settings)
    return cut._replace(views=views, image=None, cutting=cut.cutting + time.perf_counter() - start)


def cut_drawn(source: Resized[P], job: Job, settings: ViewSettings) -> dict[str, View]:
    """The augmented views of a job, by name, from Pillow's image or from a tensor on any device."""
    names = [name for name in job.views if is_augmented(name)]
    numbers = [int(name[3:]) for name in names]
    recipe = make_recipe(settings.recipe, settings.preprocessing)
    views = cut_augmented(source, numbers, content_hash=job.content_hash, recipe=recipe, seed=settings.seed)
    return dict(zip(names, views, strict=True))


def decode_job(job: Job, settings: ViewSettings) -> Image.Image:
    """Read and decode.

    Raises:
        ImageError: as `cut_all`.
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
