"""One image -> its views: read and decoded once, all its missing views cut from it, resized to each size once."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.extract.views.decode import decode_image
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized, cut_test_view
from frozenprobe.extract.views.recipes import View, cut_view, leaves_enough, make_recipe, pixels_of, view_generator
from frozenprobe.extract.views.transforms import Box
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
    """

    preprocessing: Preprocessing
    recipe: str
    seed: int
    max_pixels: int
    decoding: str = "full"


class Row(NamedTuple):
    """One view on its way to the backbone; without its pixels once it is there."""

    path: Place
    content_hash: str
    name: str
    view: View


class Cut(NamedTuple):
    """The views of a job. All pixels are one tensor: between processes each costs a file descriptor and a handshake.

    Attributes:
        job: the image and the names of its views.
        pixels: `(n, S, S, 3)` uint8, a view behind another in the order of the job.
        erased: of each view the box that is 0 after normalisation, or None.
        decoding: seconds.
        cutting: seconds.
    """

    job: Job
    pixels: torch.Tensor
    erased: list[Box | None]
    decoding: float
    cutting: float

    @property
    def rows(self) -> list[Row]:
        """The views on their way to the backbone, in the order of the job."""
        path, content_hash, names = self.job
        views = zip(names, map(View, self.pixels, self.erased), strict=True)
        return [Row(path, content_hash, name, view) for name, view in views]


def augmented_name(view: int) -> str:
    """The name of augmented view `view` = 1, 2, ... in the feature file."""
    return f"aug{view}"


def is_augmented(name: str) -> bool:
    """Whether a view is drawn, not fixed."""
    return name.startswith("aug")


def cut_all(job: Job, settings: ViewSettings) -> Cut:
    """Read, decode and cut all views of a job, which are one or more.

    Raises:
        ImageError: the file cannot be read any more, cannot be decoded, or is not what it was.
    """
    start = time.perf_counter()
    image = decode_job(job, settings)
    decoded = time.perf_counter()
    views = cut_views(Resized(image), job, settings)
    pixels = torch.stack([view.pixels for view in views])
    return Cut(job, pixels, [view.erased for view in views], decoded - start, time.perf_counter() - decoded)


def cut_views(image: Resized, job: Job, settings: ViewSettings) -> list[View]:
    """The views of a job, in its order, from its decoded image."""
    recipe = make_recipe(settings.recipe, settings.preprocessing)

    def cut(name: str) -> View:
        if not is_augmented(name):
            return View(pixels_of(cut_test_view(image, name, settings.preprocessing)), None)
        number = int(name.removeprefix("aug"))
        return cut_view(image, recipe, view_generator(job.content_hash, number, recipe=recipe, seed=settings.seed))

    return [cut(name) for name in job.views]


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
