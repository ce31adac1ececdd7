"""The random steps recipes are made of: parameters drawn from a given generator, applied by torchvision.

torchvision's transform classes draw from torch's global generator. A step here draws from the generator of its view,
from the same distribution, and applies the parameters with torchvision's functional operations to a Pillow image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from frozenprobe.extract.views.operations import adjust_brightness, adjust_contrast

Box = tuple[int, int, int, int]  # top, left, height, width in px
Motion = tuple[float, tuple[int, int], float, tuple[float, float]]  # angle in degrees, shift in px, scale, shear


class Step(Protocol):
    """One random operation: draw the parameters for an image of `size` = (width, height) px, then apply them."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Any:
        """Parameters, in the form that the torchvision class of the same name draws them."""

    def apply(self, image: Image.Image, drawn: Any) -> Image.Image:
        """The image with these parameters applied."""


@dataclass(frozen=True)
class RandomCrop:
    """torchvision.transforms.RandomCrop(size)."""

    size: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Box:
        """Every place where the crop fits is equally likely."""
        width, height = size
        top, left = rng.integers(height - self.size + 1), rng.integers(width - self.size + 1)
        return int(top), int(left), self.size, self.size

    def apply(self, image: Image.Image, drawn: Box) -> Image.Image:
        """Cut the box out."""
        cropped: Image.Image = F.crop(image, *drawn)
        return cropped


@dataclass(frozen=True)
class RandomResizedCrop:
    """torchvision.transforms.RandomResizedCrop(size, scale, ratio, interpolation)."""

    size: int
    scale: tuple[float, float]
    interpolation: InterpolationMode
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Box:
        """Ten tries for a box of the drawn area and log-uniform aspect ratio, else the largest central one."""
        width, height = size
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        w = min(width, round(height * self.ratio[1]))
        h = min(height, round(width / self.ratio[0]))
        return (height - h) // 2, (width - w) // 2, h, w

    def least_side(self, size: tuple[int, int]) -> float:
        """The shortest side in px that a box can have: sqrt(width height scale ratio), at the ends of their ranges."""
        narrowest = min(self.ratio[0], 1 / self.ratio[1])
        return min(*size, math.sqrt(size[0] * size[1] * self.scale[0] * narrowest))

    def apply(self, image: Image.Image, drawn: Box) -> Image.Image:
        """Cut the box out and resize it to `size` x `size`."""
        side = [self.size, self.size]
        resized: Image.Image = F.resized_crop(image, *drawn, size=side, interpolation=self.interpolation)
        return resized


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """torchvision.transforms.RandomHorizontalFlip(p)."""

    p: float

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> bool:
        """Whether to flip."""
        return bool(rng.random() < self.p)

    def apply(self, image: Image.Image, drawn: bool) -> Image.Image:
        """Mirror left and right, or not."""
        flipped: Image.Image = F.hflip(image) if drawn else image
        return flipped


@dataclass(frozen=True)
class RandomRotation:
    """torchvision.transforms.RandomRotation(degrees): nearest neighbour, black corners."""

    degrees: float

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> float:
        """An angle in degrees, counter-clockwise."""
        return float(rng.uniform(-self.degrees, self.degrees))

    def apply(self, image: Image.Image, drawn: float) -> Image.Image:
        """Rotate about the centre."""
        rotated: Image.Image = F.rotate(image, drawn)
        return rotated


@dataclass(frozen=True)
class RandomAffine:
    """torchvision.transforms.RandomAffine(degrees, translate): nearest neighbour, black outside."""

    degrees: float
    translate: tuple[float, float]

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Motion:
        """Angle in degrees, shift in px, scale 1 and shear 0."""
        angle = float(rng.uniform(-self.degrees, self.degrees))
        reach = [part * side for part, side in zip(self.translate, size, strict=True)]
        shift = (round(rng.uniform(-reach[0], reach[0])), round(rng.uniform(-reach[1], reach[1])))
        return angle, shift, 1.0, (0.0, 0.0)

    def apply(self, image: Image.Image, drawn: Motion) -> Image.Image:
        """Rotate and shift."""
        angle, shift, _, shear = drawn
        return affine(image, angle=angle, shift=shift, shear=shear)


@dataclass(frozen=True)
class ColorJitter:
    """torchvision.transforms.ColorJitter(brightness, contrast, saturation, hue), in a random order."""

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Sequence[int], float, float, float, float]:
        """The order of the four operations, then their factors."""
        order = [int(index) for index in rng.permutation(4)]
        reaches = (self.brightness, self.contrast, self.saturation)
        factors = [float(rng.uniform(max(0.0, 1 - reach), 1 + reach)) for reach in reaches]
        return order, factors[0], factors[1], factors[2], float(rng.uniform(-self.hue, self.hue))

    def apply(self, image: Image.Image, drawn: tuple[Sequence[int], float, float, float, float]) -> Image.Image:
        """Apply the four operations in the drawn order."""
        order, *factors = drawn
        for index in order:
            image = JITTERS[index](image, factors[index])
        return image


def affine(
    image: Image.Image,
    *,
    angle: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
    center: tuple[float, float] | None = None,
) -> Image.Image:
    """Rotate clockwise, shift by px and shear, angles in degrees; nearest neighbour, black outside."""
    how = {"translate": list(shift), "scale": 1.0, "shear": list(shear)}
    moved: Image.Image = F.affine(image, angle, **how, center=None if center is None else list(center))
    return moved


JITTERS: tuple[Callable[[Any, float], Any], ...] = (
    adjust_brightness,
    adjust_contrast,
    F.adjust_saturation,
    F.adjust_hue,
)

SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
OPERATIONS = (  # of RandAugment and TrivialAugment, in torchvision's order; True: the magnitude has a random sign
    ("Identity", False),
    *((name, True) for name in SIGNED),
    *((name, False) for name in ("Posterize", "Solarize", "AutoContrast", "Equalize")),
)
BINS = 31  # magnitudes run from none (0) to full (30)
Op = tuple[int, int, bool]  # index into OPERATIONS, bin, negative


def operate(image: Image.Image, name: str, magnitude: float) -> Image.Image:
    """Apply one operation of RandAugment's list; geometry by nearest neighbour, black outside."""
    shear = math.degrees(math.atan(magnitude))
    result: Image.Image
    if name in ("ShearX", "ShearY"):
        result = affine(image, shear=(shear, 0.0) if name == "ShearX" else (0.0, shear), center=(0.0, 0.0))
    elif name in ("TranslateX", "TranslateY"):
        result = affine(image, shift=(int(magnitude), 0) if name == "TranslateX" else (0, int(magnitude)))
    elif name == "Rotate":
        result = F.rotate(image, magnitude)
    elif name in ADJUST:
        result = ADJUST[name](image, 1.0 + magnitude)
    elif name == "Posterize":
        result = F.posterize(image, int(magnitude))
    elif name == "Solarize":
        result = F.solarize(image, magnitude)
    else:
        result = PLAIN[name](image)
    return result


ADJUST: dict[str, Callable[[Any, float], Any]] = {
    "Brightness": adjust_brightness,
    "Color": F.adjust_saturation,
    "Contrast": adjust_contrast,
    "Sharpness": F.adjust_sharpness,
}
PLAIN: dict[str, Callable[[Any], Any]] = {
    "AutoContrast": F.autocontrast,
    "Equalize": F.equalize,
    "Identity": lambda same: same,
}


def magnitude_of(drawn: Op, ranges: dict[str, float], *, posterize_bits: int) -> tuple[str, float]:
    """Name and magnitude of a drawn operation: `ranges` has the magnitude of the last bin by operation.

    torch.linspace, in float32, gives bit for bit the magnitudes of torchvision's tables.
    """
    index, bin_, negative = drawn
    name = OPERATIONS[index][0]
    if name == "Posterize":
        return name, 8.0 - round(bin_ / ((BINS - 1) / posterize_bits))
    if name == "Solarize":
        return name, float(torch.linspace(255.0, 0.0, BINS)[bin_])
    magnitude = float(torch.linspace(0.0, ranges[name], BINS)[bin_]) if name in ranges else 0.0
    return name, -magnitude if negative else magnitude


@dataclass(frozen=True)
class RandAugment:
    """torchvision.transforms.RandAugment(num_ops, magnitude) (Cubuk et al. 2020, arXiv:1909.13719)."""

    num_ops: int
    magnitude: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Op, ...]:
        """`num_ops` operations, with repetition, all at the same bin."""
        return tuple(draw_operation(rng, self.magnitude) for _ in range(self.num_ops))

    def apply(self, image: Image.Image, drawn: tuple[Op, ...]) -> Image.Image:
        """Apply the operations in order; shifts are in proportion to the image."""
        width, height = image.size
        ranges = dict.fromkeys(("ShearX", "ShearY"), 0.3) | dict.fromkeys(ADJUST, 0.9) | {"Rotate": 30.0}
        ranges |= {"TranslateX": 150.0 / 331.0 * width, "TranslateY": 150.0 / 331.0 * height}
        for operation in drawn:
            image = operate(image, *magnitude_of(operation, ranges, posterize_bits=4))
        return image


@dataclass(frozen=True)
class TrivialAugmentWide:
    """torchvision.transforms.TrivialAugmentWide() (Mueller and Hutter 2021, arXiv:2103.10158)."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Op:
        """One operation at a random bin."""
        return draw_operation(rng, None)

    def apply(self, image: Image.Image, drawn: Op) -> Image.Image:
        """Apply it; shifts are up to 32 px."""
        ranges = dict.fromkeys(("ShearX", "ShearY", *ADJUST), 0.99)
        ranges |= {"Rotate": 135.0, "TranslateX": 32.0, "TranslateY": 32.0}
        return operate(image, *magnitude_of(drawn, ranges, posterize_bits=6))


def draw_operation(rng: np.random.Generator, bin_: int | None) -> Op:
    """An operation, its bin (drawn if None) and its sign."""
    index = int(rng.integers(len(OPERATIONS)))
    drawn_bin = int(rng.integers(BINS)) if bin_ is None else bin_
    return index, drawn_bin, bool(rng.integers(2)) if OPERATIONS[index][1] else False


@dataclass(frozen=True)
class RandomErasing:
    """torchvision.transforms.RandomErasing(p, scale, ratio) with value 0 (Zhong et al. 2017, arXiv:1708.04896)."""

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Box | None:
        """A box smaller than the image, or None."""
        width, height = size
        if rng.random() >= self.p:
            return None
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if h < height and w < width:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        return None
