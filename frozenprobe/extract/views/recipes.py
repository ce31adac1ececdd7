"""Augmentation recipes by name; an augmented view is a pure function of (image content, view, recipe, seed)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode

from frozenprobe.errors import unknown_name
from frozenprobe.extract.options import RECIPES
from frozenprobe.extract.views.preprocessing import Preprocessing, Resize, Resized
from frozenprobe.extract.views.transforms import (
    Box,
    ColorJitter,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    Step,
    TrivialAugmentWide,
)


class View(NamedTuple):
    """A view: `(S, S, 3)` uint8 pixels, and the box that is 0 after normalisation, if any."""

    pixels: torch.Tensor
    erased: Box | None


@dataclass(frozen=True)
class Recipe:
    """A named chain of random steps.

    Attributes:
        name: as in `--recipe`.
        version: raised whenever the recipe draws other pixels.
        base: what all views of an image are cut from: the image so resized; None: the decoded image.
        steps: in order.
        erase: random erasing after normalisation, or None.
    """

    name: str
    version: int
    base: Resize | None
    steps: tuple[Step, ...]
    erase: RandomErasing | None = None


def cut_view(image: Resized, recipe: Recipe, rng: np.random.Generator) -> View:
    """Draw and apply all steps of a recipe."""
    cut = image.to(recipe.base)
    for step in recipe.steps:
        cut = step.apply(cut, step.draw(rng, cut.size))
    erased = recipe.erase.draw(rng, cut.size) if recipe.erase else None
    return View(pixels_of(cut), erased)


def pixels_of(image: Image.Image) -> torch.Tensor:
    """An image as `(H, W, 3)` uint8."""
    return torch.from_numpy(np.array(image))


def leaves_enough(size: tuple[int, int], *, recipe: Recipe, preprocessing: Preprocessing) -> bool:
    """Whether an image of `size` = (width, height) px still has twice the pixels, along each side, of every view of it.

    Views of the whole image resize its short side; a random crop of it may be as short as its step allows.
    """
    spare = [min(size) / max(preprocessing.resize, preprocessing.size)]
    spare += [step.least_side(size) / step.size for step in recipe.steps if isinstance(step, RandomResizedCrop)]
    return min(spare) >= 2


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
    bilinear = Resize((side,), InterpolationMode.BILINEAR)
    flip = RandomHorizontalFlip(0.5)
    crop = RandomResizedCrop(side, scale=(0.5, 1.0), interpolation=preprocessing.mode)
    for recipe in (
        Recipe("mild", 1, None, (crop, flip)),
        Recipe("report", 1, bilinear, report),
        Recipe("erase", 1, bilinear, report, RandomErasing()),
        Recipe("crop-flip", 1, preprocessing.how, (RandomCrop(side), flip)),
        Recipe("trivial", 1, preprocessing.how, (RandomCrop(side), flip, TrivialAugmentWide())),
        Recipe("none", 1, None, ()),
    ):
        if recipe.name == name:
            return recipe
    raise unknown_name("recipe", name, RECIPES, where="--recipe")
