"""What a measurement needs, made on the spot: a ViT's weights in any shape, and photos; speed depends on neither."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import VisionTransformer

from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.ranks.rank import own_cores

CLASSES = 10  # of photos


@dataclass(frozen=True)
class Shape:
    """Of a VisionTransformer: image and patch side in px, width, number of blocks and heads, width of the MLP."""

    side: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int

    @property
    def tokens(self) -> int:
        """Of an image, its class token included."""
        return (self.side // self.patch) ** 2 + 1

    @property
    def gmacs(self) -> float:
        """10^9 multiplications and additions for one image; the classifier is taken off."""
        tokens = self.tokens
        embedding = (tokens - 1) * 3 * self.patch**2 * self.width
        block = 4 * tokens * self.width**2 + 2 * tokens**2 * self.width + 2 * tokens * self.width * self.mlp
        return (embedding + self.depth * block) / 1e9


def shape_of(network: nn.Module) -> Shape:
    """The shape of the VisionTransformer that a network is or holds."""
    vit = next(module for module in network.modules() if isinstance(module, VisionTransformer))
    heads = next(module.num_heads for module in vit.modules() if isinstance(module, nn.MultiheadAttention))
    return Shape(vit.image_size, vit.patch_size, vit.hidden_dim, len(vit.encoder.layers), heads, vit.mlp_dim)


def make_weights(shape: Shape, path: Path) -> WeightsOptions:
    """Write a state dict in torchvision's layout of seeded random numbers.

    Returns:
        what the file cannot tell.
    """
    torch.manual_seed(0)
    network = VisionTransformer(shape.side, shape.patch, shape.depth, shape.heads, shape.width, shape.mlp)
    torch.save(network.state_dict(), path)
    return WeightsOptions(shape.heads, shape.side, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def make_photos(folder: Path, number: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files with coarse, middle and fine detail, about as large as photos of this size, in class folders."""

    def write(index: int) -> Path:
        rng = np.random.default_rng(index)
        pixels = np.zeros((size[1], size[0], 3), dtype=np.float32)
        for parts, strength in ((8, 90), (40, 35), (160, 15)):
            grain = rng.integers(0, 256, (parts * 3 // 4, parts, 3), dtype=np.uint8)
            detail = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
            pixels += strength * (detail / 127.5 - 1)
        path = folder / f"class {index % CLASSES}" / f"{index}.jpg"
        Image.fromarray((pixels + 128).clip(0, 255).astype(np.uint8)).save(path, quality=90)
        return path

    for label in range(min(CLASSES, number)):
        (folder / f"class {label}").mkdir(parents=True)
    with ThreadPoolExecutor(own_cores()) as pool:
        return list(pool.map(write, range(number)))
