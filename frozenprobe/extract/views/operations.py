"""torchvision's operations for Pillow images and for tensors, where those of torchvision cost more than they must.

On a Pillow image every pixel is torchvision's. On a `(3, H, W)` uint8 tensor nothing makes the host wait for the
device: torchvision's affine maps send small tensors there, its older `equalize` fetches a number to branch on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageStat
from torchvision.transforms import functional as F1
from torchvision.transforms.v2 import functional as F

P = TypeVar("P", Image.Image, torch.Tensor)
Matrix = tuple[float, float, float, float, float, float]
BITS = 16  # after the point of Pillow's fixed-point numbers
RAMP = Image.fromarray(np.arange(256, dtype=np.uint8)[None])  # every level once


def size_of(image: Image.Image | torch.Tensor) -> tuple[int, int]:
    """Width and height in px."""
    height, width = F.get_size(image)
    return width, height


def rotate(image: P, angle: float) -> P:
    """Rotate by an angle in degrees, counter-clockwise, about the centre; nearest neighbour, black corners."""
    if isinstance(image, Image.Image):
        rotated: Image.Image = F.rotate(image, angle)
        return rotated
    return move(image, inverse_affine(size_of(image), angle=-angle))


def affine(
    image: P,
    *,
    angle: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
    center: tuple[float, float] | None = None,
) -> P:
    """Rotate clockwise, shift by px and shear, angles in degrees; nearest neighbour, black outside."""
    if isinstance(image, Image.Image):
        how = {"translate": list(shift), "scale": 1.0, "shear": list(shear)}
        moved: Image.Image = F.affine(image, angle, **how, center=None if center is None else list(center))
        return moved
    return move(image, inverse_affine(size_of(image), angle=angle, shift=shift, shear=shear, center=center))


def inverse_affine(
    size: tuple[int, int],
    *,
    angle: float = 0.0,
    shift: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
    center: tuple[float, float] | None = None,
) -> Matrix:
    """Where in the old image, in px from its corner, a point of the new one comes from: torchvision's matrix.

    Forth it is T C R S C^-1: shear, then rotation about the centre (the middle, if None), then shift.
    """
    rotation, across, down = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    a = math.cos(rotation - down) / math.cos(down)
    b = -a * math.tan(across) - math.sin(rotation)
    c = math.sin(rotation - down) / math.cos(down)
    d = -c * math.tan(across) + math.cos(rotation)
    x, y = center if center is not None else (size[0] / 2, size[1] / 2)
    back_x, back_y = -x - shift[0], -y - shift[1]
    return d, -b, d * back_x - b * back_y + x, -c, a, -c * back_x + a * back_y + y  # the determinant of R S is 1


def move(image: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """The image moved by an inverse affine map, bit for bit as Pillow moves it (`affine_fixed` in its Geometry.c).

    Integers alone, so every device gives the same pixels.

    Args:
        image: `(3, H, W)`.
        matrix: a, b, c, d, e, f: the middle of pixel (x, y) comes from (ax + by + c, dx + ey + f).
    """
    width, height = size_of(image)
    a, b, c, d, e, f = matrix
    x = torch.arange(width, device=image.device)
    y = torch.arange(height, device=image.device)[:, None]
    column = (fixed(a) * x + (fixed(b) * y + fixed(c + a * 0.5 + b * 0.5))) >> BITS
    row = (fixed(d) * x + (fixed(e) * y + fixed(f + d * 0.5 + e * 0.5))) >> BITS
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    source = torch.where(inside, row * width + column, 0)
    return image.flatten(1)[:, source] * inside


def fixed(number: float) -> int:
    """In units of 2^-16, rounded."""
    return math.floor(number * (1 << BITS) + 0.5)


def adjust_brightness(image: P, factor: float) -> P:
    """torchvision's adjust_brightness; on a Pillow image by a table of its 256 levels."""
    if isinstance(image, Image.Image):
        return by_table(image, lambda ramp: F.adjust_brightness(ramp, factor))
    adjusted: torch.Tensor = F.adjust_brightness(image, factor)
    return adjusted


def adjust_contrast(image: P, factor: float) -> P:
    """torchvision's adjust_contrast; on a Pillow image by a table: a blend with the image's mean level of grey."""
    if isinstance(image, Image.Image):
        mean = int(ImageStat.Stat(image.convert("L")).mean[0] + 0.5)
        return by_table(image, lambda ramp: Image.blend(Image.new("L", ramp.size, mean), ramp, factor))
    adjusted: torch.Tensor = F.adjust_contrast(image, factor)
    return adjusted


def by_table(image: Image.Image, operation: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply an operation that treats every value by itself: asked once for each level, then looked up."""
    return image.point(list(operation(RAMP).tobytes()) * len(image.getbands()))


adjust_saturation = F.adjust_saturation
adjust_hue = F.adjust_hue
adjust_sharpness = F1.adjust_sharpness  # v2's makes its kernel on the host
equalize = F.equalize
