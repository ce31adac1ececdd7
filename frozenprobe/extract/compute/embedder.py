"""Batches of pixels -> vectors, on CUDA, MPS or CPU, in the compute dtype; memory that runs out costs no row."""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.compute.dtypes import DTYPES
from frozenprobe.extract.compute.engines import Engine, make_engine, torch_engine
from frozenprobe.extract.views.transforms import Box

log = logging.getLogger("frozenprobe")

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fidelity:
    """How far features in the compute dtype and engine are from float32 in eager torch.

    Attributes:
        rows: that were computed both ways.
        cosine: the smallest of them.
        difference: the largest, as a part of the largest feature.
    """

    rows: int
    cosine: float
    difference: float


class Embedder:
    """Runs a backbone on one device.

    Args:
        backbone: the network.
        device: where to run it.
        compute_dtype: `float32`, `bfloat16` or `float16`. A row that overflows float16 is computed again in float32.
        engine: see `make_engine`.
        batch_size: B, views in one forward pass; less from then on if memory runs out.
        threads: that one call may use on a CPU, where the engine has threads of its own.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        compute_dtype: str,
        *,
        engine: str = "torch",
        batch_size: int = 32,
        threads: int = 1,
    ) -> None:
        network = backbone.network.to(device)
        self.device, self.engine, self.batch_size, self.compute_dtype = device, engine, batch_size, compute_dtype
        self.dtype = DTYPES[compute_dtype]
        self.exact: Engine = torch_engine(network, device, torch.float32)
        side = backbone.preprocessing.size
        self.forward: Engine = make_engine(engine, network, device, self.dtype, side=side, threads=threads)
        self.mean = torch.tensor(backbone.preprocessing.mean, device=device).repeat(side)
        self.std = torch.tensor(backbone.preprocessing.std, device=device).repeat(side)
        self.overflowed = 0  # rows that float16 could not hold
        self.staging = Staging(device)

    def embed(self, pixels: npt.NDArray[np.uint8], erased: Sequence[Box | None]) -> Vectors:
        """Features of views: `(n, S, S, 3)` uint8 -> `(n, D)` float32. Rows may be NaN if the weights are."""
        return self.start(list(torch.from_numpy(pixels)), erased)()

    def start(self, pixels: Sequence[torch.Tensor], erased: Sequence[Box | None]) -> Callable[[], Vectors]:
        """Begin to compute the features of views, on CUDA without waiting for them.

        Args:
            pixels: n of `(S, S, 3)` uint8, on the CPU or on the device.
            erased: for each view the box that is 0 after normalisation, or None.

        Returns:
            what waits for the features and returns them, `(n, D)` float32.

        Raises:
            FrozenprobeError: not even one view fits into the memory.
        """
        there = self.staging.stack(pixels)
        parts: list[torch.Tensor] = []
        done = 0
        while done < len(there):
            size, lack = self.batch_size, ""
            try:
                parts.append(self._forward(there[done : done + size], erased[done : done + size]))
                done += size
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                lack = str(error)
            if lack:  # not before the error is gone: its traceback holds on to what is to be freed
                self._back_off(size, lack)
        fetched = self.staging.fetch(torch.cat(parts) if len(parts) > 1 else parts[0])

        def finish() -> Vectors:
            vectors = fetched()
            return self._without_overflow(vectors, there, erased) if self.dtype is torch.float16 else vectors

        return finish

    def fidelity(self, views: Sequence[torch.Tensor], erased: Sequence[Box | None]) -> Fidelity:
        """Compute some views, `(S, S, 3)` uint8 each, in float32 in eager torch, too, and compare."""
        here = self.start(views, erased)().astype(np.float64)
        pixels = torch.stack(list(views))
        size = max(1, self.batch_size // 2)  # float32 takes twice the memory
        parts = [
            self.exact(self._normalise(pixels[at : at + size], erased[at : at + size])).cpu().numpy()
            for at in range(0, len(pixels), size)
        ]
        exact = np.concatenate(parts).astype(np.float64)
        norms = np.linalg.norm(here, axis=1) * np.linalg.norm(exact, axis=1)
        cosines = (here * exact).sum(axis=1) / np.where(norms > 0, norms, 1)
        return Fidelity(len(here), float(cosines.min()), float(np.abs(here - exact).max() / np.abs(exact).max()))

    def _normalise(self, pixels: torch.Tensor, erased: Sequence[Box | None]) -> torch.Tensor:
        """`(n, 3, S, S)` float32 on the device; in the memory format of the pixels, which is channels last."""
        lines = pixels.to(self.device).flatten(2).float()  # (n, S, 3 S): a loop over three channels is a slow one
        images = lines.div_(255).sub_(self.mean).div_(self.std).view(pixels.shape).permute(0, 3, 1, 2)
        for row, box in enumerate(erased):
            if box is not None:
                top, left, height, width = box
                images[row, :, top : top + height, left : left + width] = 0
        return images

    def _forward(self, pixels: torch.Tensor, erased: Sequence[Box | None]) -> torch.Tensor:
        """Features of at most B views; compiled code gets B always: another shape would be compiled again."""
        views = len(pixels)
        if self.engine == "compile" and views < self.batch_size:  # before normalisation: strides count as shape, too
            pixels = torch.cat([pixels, pixels.new_zeros((self.batch_size - views, *pixels.shape[1:]))])
        return self.forward(self._normalise(pixels, erased))[:views]

    def _back_off(self, size: int, lack: str) -> None:
        """Halve the batch for good.

        Raises:
            FrozenprobeError: it was one view.
        """
        if size == 1:
            raise FrozenprobeError(
                "Memory for one view in a forward pass",
                found=lack.partition("\n")[0],
                where=str(self.device),
                remedy="free memory of the device, take --device cpu, or a smaller --backbone",
            )
        self.batch_size = min(self.batch_size, size // 2)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        log.warning("out of memory at %d views in a batch: going on with %d; no row is lost", size, self.batch_size)

    def _without_overflow(self, vectors: Vectors, pixels: torch.Tensor, erased: Sequence[Box | None]) -> Vectors:
        """The rows that float16 could not hold, computed in float32."""
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
        for row in broken:
            vectors[row] = self.exact(self._normalise(pixels[row : row + 1], erased[row : row + 1])).cpu().numpy()[0]
        self.overflowed += len(broken)
        return vectors


class Staging:
    """Copies to and from a device that go on while it computes: pinned memory and a stream of their own on CUDA."""

    def __init__(self, device: torch.device, depth: int = 4) -> None:
        self.device, self.depth = device, depth
        self.pinned: deque[tuple[torch.Tensor, torch.cuda.Event]] = deque()
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def stack(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Tensors of one shape on the device, one behind another; put together where the copy to it begins."""
        first = parts[0]
        if self.stream is None or first.device.type != "cpu":
            return torch.stack(list(parts)).to(self.device)
        buffer = self._buffer((len(parts), *first.shape), first.dtype)
        torch.stack(list(parts), out=buffer)
        with torch.cuda.stream(self.stream):
            there = buffer.to(self.device, non_blocking=True)
            self.pinned.append((buffer, self.stream.record_event()))
        compute = torch.cuda.current_stream(self.device)
        compute.wait_stream(self.stream)
        there.record_stream(compute)  # its memory must not be given away before the computation is done with it
        return there

    def fetch(self, features: torch.Tensor) -> Callable[[], Vectors]:
        """What waits for the features and returns them."""
        if self.stream is None:
            array: Vectors = features.cpu().numpy()
            return lambda: array
        here = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
        here.copy_(features, non_blocking=True)
        ready = torch.cuda.current_stream(self.device).record_event()

        def wait() -> Vectors:
            ready.synchronize()
            return np.array(here.numpy())  # a copy: pinned memory is scarce

        return wait

    def _buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Pinned memory of this shape that no copy reads any more."""
        if len(self.pinned) >= self.depth:
            buffer, copied = self.pinned.popleft()
            copied.synchronize()
            if buffer.shape == shape and buffer.dtype is dtype:
                return buffer
        return torch.empty(shape, dtype=dtype, pin_memory=True)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, on whatever device: CUDA has a type of error for it, a CPU only a message."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)
