"""What a device reaches by itself, at the sizes of a ViT: products, attention, copies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from made import Shape
from stages import time_calls
from torch.nn.attention import SDPBackend, sdpa_kernel

from frozenprobe.extract.compute.engines import ATTENTION

ORDERS = {
    "flash": [each for each in ATTENTION if each is not SDPBackend.CUDNN_ATTENTION],  # torch's own order
    "cudnn": ATTENTION,
}


@dataclass(frozen=True)
class Ceilings:
    """What is measured, and on what.

    Attributes:
        shape: of the ViT.
        device: where.
        dtype: of products and attention.
        seconds: for each measurement.
    """

    shape: Shape
    device: torch.device
    dtype: torch.dtype
    seconds: float

    def peak(self, sides: Sequence[int]) -> float:
        """TFLOP/s of the fastest square product, of the second factor as it is or transposed."""
        best = 0.0
        for side in sides:
            one, two = self._made(side, side), self._made(side, side)
            for factor in (two, two.mT):
                best = max(best, 2 * side**3 / self._time(torch.matmul, one, factor) / 1e12)
        return best

    def products(self, views: int) -> dict[str, Any]:
        """TFLOP/s of the layers for a batch of views."""
        width, mlp, rows = self.shape.width, self.shape.mlp, views * self.shape.tokens
        layers = {"QKV": (width, 3 * width), "out": (width, width), "MLP in": (width, mlp), "MLP out": (mlp, width)}
        found = {}
        for name, (inner, outer) in layers.items():
            spent = self._time(F.linear, self._made(rows, inner), self._made(outer, inner), self._made(outer))
            found[f"{name}, TFLOP/s"] = 2 * rows * inner * outer / spent / 1e12
        return found

    def products_a_token(self, views: int) -> dict[str, Any]:
        """TFLOP/s of QKV the way `nn.MultiheadAttention` asks for it: a product a token."""
        width, tokens = self.shape.width, self.shape.tokens
        each = self._made(views, tokens, width).transpose(0, 1)
        spent = self._time(torch.matmul, each, self._made(3 * width, width).T)
        return {f"QKV a token at a time, batch {views}, TFLOP/s": 6 * views * tokens * width**2 / spent / 1e12}

    @torch.inference_mode()
    def attention(self, views: int, tokens: int) -> dict[str, Any]:
        """TFLOP/s of attention over so many tokens; or why it cannot be done that way."""
        heads, width = self.shape.heads, self.shape.width
        each = self._made(views, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        found: dict[str, Any] = {}
        for name, order in ORDERS.items():
            try:
                with sdpa_kernel(order, set_priority=True):
                    spent = self._time(F.scaled_dot_product_attention, *each)
                reached: Any = 4 * views * tokens**2 * width / spent / 1e12
            except RuntimeError as error:
                reached = str(error)[:100]
            found[f"attention, {name}, {tokens} tokens, TFLOP/s"] = reached
        return found

    def copies(self, size: int) -> dict[str, Any]:
        """Of so many bytes on the device; of 64 views to it."""
        one = torch.empty(size, dtype=torch.uint8, device=self.device)
        found = {"copy, TB/s read and written": 2 * size / self._time(torch.empty_like(one).copy_, one) / 1e12}
        if self.device.type == "cuda":
            start = time.perf_counter()
            pinned = torch.empty(64 * self.shape.side**2 * 3, dtype=torch.uint8, pin_memory=True)
            found["pin 64 views, ms"] = (time.perf_counter() - start) * 1e3
            spent = self._time(partial(pinned.to, non_blocking=True), self.device)
            found["to the device, GB/s"] = len(pinned) / spent / 1e9
        return found

    def _made(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, device=self.device, dtype=self.dtype)

    def _time(self, call: Any, *given: Any) -> float:
        """Seconds of a call."""
        return time_calls(partial(call, *given), self.device, seconds=self.seconds)
