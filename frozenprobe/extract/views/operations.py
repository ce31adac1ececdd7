"""torchvision's operations, to the pixel, where on a Pillow image those of torchvision cost more than they must."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageStat
from torchvision.transforms.v2 import functional as F

RAMP = Image.fromarray(np.arange(256, dtype=np.uint8)[None])  # every level once


def adjust_brightness(image: Image.Image, factor: float) -> Image.Image:
    """torchvision's adjust_brightness, by a table of the 256 levels."""
    return by_table(image, lambda ramp: F.adjust_brightness(ramp, factor))


def adjust_contrast(image: Image.Image, factor: float) -> Image.Image:
    """torchvision's adjust_contrast, by a table: a blend with the image's mean level of grey."""
    mean = int(ImageStat.Stat(image.convert("L")).mean[0] + 0.5)
    return by_table(image, lambda ramp: Image.blend(Image.new("L", ramp.size, mean), ramp, factor))


def by_table(image: Image.Image, operation: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply an operation that treats every value by itself: asked once for each level, then looked up."""
    return image.point(list(operation(RAMP).tobytes()) * len(image.getbands()))
