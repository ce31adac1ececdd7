"""Augmentation recipes by name; an augmented view is a pure function of (image content, view, recipe, seed)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms import InterpolationMode

from frozenprobe.errors import unknown_name
from frozenprobe.extract.preprocessing import Preprocessing, Resizer, resize_short
from frozenprobe.extract.settings import RECIPES
from frozenprobe.extract.steps import (
    Box,
    ColorJitter,
    Image,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    Step,
    TrivialAugmentWide,
    size_of,
)


class View(NamedTuple):
    """A view: `(S, S, 3)` uint8 pixels, and the box that is 0 after normalisation, if any."""

    pixels: npt.NDArray[np.uint8] | torch.Tensor
    erased: Box | None


@dataclass(frozen=True)
class Recipe:
    """A named chain of random steps.

    Attributes:
        name: as in `--recipe`.
        version: raised whenever the recipe draws other pixels.
        base: `original` cuts views from the decoded image, `resized` from it resized once by the preprocessing,
            `report` from Resize(S) with bilinear interpolation.
        steps: in order.
        erase: random erasing after normalisation, or None.
    """

    name: str
    version: int
    base: str
    steps: tuple[Step, ...]
    erase: RandomErasing | None = None

    def prepare(self, image: Resizer, preprocessing: Preprocessing) -> Image:
        """What all views of an image have in common, done once."""
        if self.base == "original":
            return image.image
        if self.base == "resized":
            return resize_short(image, preprocessing)
        return image.resize((preprocessing.size,), InterpolationMode.BILINEAR)

    def least_side(self, preprocessing: Preprocessing) -> float:
        """Short side in px of an image of which every view, clean ones included, is cut without enlarging it."""
        if self.base == "original":
            return max(
                [preprocessing.resize, *(step.least_side for step in self.steps if isinstance(step, RandomResizedCrop))]
            )
        return max(preprocessing.resize, preprocessing.size)


def cut_view(prepared: Image, recipe: Recipe, rng: np.random.Generator) -> View:
    """Draw and apply all steps of a recipe."""
    for step in recipe.steps:
        prepared = step.apply(prepared, step.draw(rng, size_of(prepared)))
    erased = recipe.erase.draw(rng, size_of(prepared)) if recipe.erase else None
    return View(prepared.permute(1, 2, 0) if isinstance(prepared, torch.Tensor) else np.asarray(prepared), erased)


def view_generator(content_hash: str, view: int, *, recipe: Recipe, seed: int) -> np.random.Generator:
    """The generator of view `view` (1, 2, ...) of the image with this SHA-256, and of nothing else."""
    key = hashlib.sha256(f"{recipe.name} {recipe.version} {content_hash}".encode()).digest()
    return np.random.default_rng([seed, view, *np.frombuffer(key, dtype=">u4").tolist()])


def make_recipe(name: str, preprocessing: Preprocessing) -> Recipe:
    """The recipe called `name` at the side and interpolation of a backbone.

    Raises:
        FrozenprobeError: no such recipe.
    """
    side = preprocessing.size
    report: tuple[Step, ...] = (
        RandomCrop(side),
        RandomHorizontalFlip(0.4),
        RandAugment(num_ops=2, magnitude=7),
        RandomRotation(10),
        ColorJitter(0.2, 0.2, 0.5, 0.2),
        RandomAffine(15, translate=(0.1, 0.1)),
    )
    flip = RandomHorizontalFlip(0.5)
    if name == "mild":
        crop = RandomResizedCrop(side, scale=(0.5, 1.0), interpolation=preprocessing.mode)
        return Recipe(name, 1, "original", (crop, flip))
    if name == "report":
        return Recipe(name, 1, "report", report)
    if name == "erase":
        return Recipe(name, 1, "report", report, RandomErasing())
    if name == "crop-flip":
        return Recipe(name, 1, "resized", (RandomCrop(side), flip))
    if name == "trivial":
        return Recipe(name, 1, "resized", (RandomCrop(side), flip, TrivialAugmentWide()))
    if name == "none":
        return Recipe(name, 1, "original", ())
    raise unknown_name("recipe", name, RECIPES, where="--recipe")
