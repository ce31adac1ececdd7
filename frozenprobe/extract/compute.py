"""Batches of pixels -> vectors, on CUDA, MPS or CPU, in the compute dtype; every vector that leaves is finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe.devices import full_precision
from frozenprobe.errors import unknown_name
from frozenprobe.extract.network import Backbone
from frozenprobe.extract.steps import Box

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def choose_dtype(name: str, device: torch.device) -> str:
    """The compute dtype called `name`.

    `auto`: on CUDA bfloat16 from compute capability 8.0 on, else float16; float32 on other devices.

    Raises:
        FrozenprobeError: no such dtype.
    """
    if name == "auto":
        if device.type != "cuda":
            return "float32"
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    full = SHORT.get(name, name)
    if full not in DTYPES:
        raise unknown_name("compute dtype", name, ["auto", *SHORT, *DTYPES], where="--dtype")
    return full


class Embedder:
    """Runs a backbone on one device.

    Args:
        backbone: the network.
        device: where to run it.
        compute_dtype: `float32`, `bfloat16` or `float16`. A row that overflows float16 is computed again in float32.
    """

    def __init__(self, backbone: Backbone, device: torch.device, compute_dtype: str) -> None:
        self.network = backbone.network.to(device)
        self.device = device
        self.dtype = DTYPES[compute_dtype]
        self.mean = torch.tensor(backbone.preprocessing.mean, device=device).view(3, 1, 1)
        self.std = torch.tensor(backbone.preprocessing.std, device=device).view(3, 1, 1)
        self.overflowed = 0  # rows that float16 could not hold

    @torch.inference_mode()
    def embed(self, pixels: npt.NDArray[np.uint8], erased: Sequence[Box | None]) -> npt.NDArray[np.float32]:
        """Features of a batch: `(B, S, S, 3)` uint8 -> `(B, D)` float32. Rows may be NaN if the weights are."""
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        normalised = images.float().div(255).sub(self.mean).div(self.std)
        for row, box in enumerate(erased):
            if box is not None:
                top, left, height, width = box
                normalised[row, :, top : top + height, left : left + width] = 0
        features = self._forward(normalised, self.dtype)
        if self.dtype is torch.float16:
            broken = ~torch.isfinite(features).all(dim=1)
            if broken.any():
                features[broken] = self._forward(normalised[broken], torch.float32)
                self.overflowed += int(broken.sum())
        array: npt.NDArray[np.float32] = features.cpu().numpy()
        return array

    def _forward(self, images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        with (
            full_precision(self.device),
            torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32),
        ):
            features: torch.Tensor = self.network(images)
        return features.float()
