"""Batches of pixels -> vectors, on CUDA, MPS or CPU, in the compute dtype; memory that runs out costs no row."""

from __future__ import annotations

import gc
import logging
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.compute.dtypes import DTYPES
from frozenprobe.extract.compute.engines import Engine, make_engine, torch_engine
from frozenprobe.extract.views.transforms import Box

log = logging.getLogger("frozenprobe")

# CUDA, pinned memory, MPS; torch on a CPU, on Windows; ONNX Runtime and OpenVINO; cuBLAS and cuDNN; C++; MPS; oneDNN
OUT_OF_MEMORY = re.compile(
    "out of memory|(can't|cannot) allocate memory|not enough memory|failed to allocate"
    "|ALLOC(ATION)?_FAILED|bad[_ ]alloc|invalid buffer size|could not create a primitive(?! descriptor)",
    re.IGNORECASE,
)
Vectors = npt.NDArray[np.float32]
Begin = Callable[[Sequence[torch.Tensor], Sequence[Box | None], int], Callable[[], Vectors]]


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
        batch_size: B, views in one forward pass; half of it from then on if memory runs out.
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
        self.halving = Lock()

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
        return self._in_slices(self._begin, pixels, erased)

    def fidelity(self, views: Sequence[torch.Tensor], erased: Sequence[Box | None]) -> Fidelity:
        """Compute some views, `(S, S, 3)` uint8 each, in float32 in eager torch, too, and compare."""
        here = self.start(views, erased)().astype(np.float64)
        exact = self._in_slices(self._begin_exact, views, erased, share=2)().astype(np.float64)
        norms = np.linalg.norm(here, axis=1) * np.linalg.norm(exact, axis=1)
        cosines = (here * exact).sum(axis=1) / np.where(norms > 0, norms, 1)
        return Fidelity(len(here), float(cosines.min()), float(np.abs(here - exact).max() / np.abs(exact).max()))

    def _in_slices(
        self, begin: Begin, pixels: Sequence[torch.Tensor], erased: Sequence[Box | None], *, share: int = 1
    ) -> Callable[[], Vectors]:
        """Begin to compute views in slices of B / `share`; wherever memory runs out, B is halved, and no row is lost.

        Returns:
            what waits for the features of all of them, in order.

        Raises:
            FrozenprobeError: not even one view fits into the memory.
        """
        waiting: list[Callable[[], Vectors]] = []
        done = 0
        while done < len(pixels):
            batch, lack = self.batch_size, ""
            size = max(1, batch // share)
            try:
                waiting.append(begin(pixels[done : done + size], erased[done : done + size], size))
                done += size
            except Exception as error:  # ONNX Runtime's and numpy's are no RuntimeError
                if not is_out_of_memory(error):
                    raise
                lack = str(error) or type(error).__name__
            if lack:  # not before the error is gone: its traceback holds on to what is to be freed
                self._back_off(batch, lack)
        return lambda: np.concatenate([wait() for wait in waiting])  # a copy: pinned memory is scarce

    def _begin(self, pixels: Sequence[torch.Tensor], erased: Sequence[Box | None], size: int) -> Callable[[], Vectors]:
        """Begin to compute at most `size` views; compiled code gets so many always: another shape would be compiled."""
        missing = size - len(pixels) if self.engine == "compile" else 0
        there = self.staging.stack([*pixels, *[pixels[0]] * missing])
        fetched = self.staging.fetch(self.forward(self._normalise(there, erased))[: len(pixels)])
        if self.dtype is not torch.float16:
            return fetched
        return lambda: self._without_overflow(fetched(), there, erased)

    def _begin_exact(
        self, pixels: Sequence[torch.Tensor], erased: Sequence[Box | None], size: int
    ) -> Callable[[], Vectors]:
        """Begin to compute views in float32 in eager torch, which takes twice the memory of half precision."""
        return self.staging.fetch(self.exact(self._normalise(self.staging.stack(pixels), erased)))

    def _normalise(self, pixels: torch.Tensor, erased: Sequence[Box | None]) -> torch.Tensor:
        """`(n, 3, S, S)` float32 on the device; in the memory format of the pixels, which is channels last."""
        lines = pixels.flatten(2).float()  # (n, S, 3 S): a loop over three channels is a slow one
        images = lines.div_(255).sub_(self.mean).div_(self.std).view(pixels.shape).permute(0, 3, 1, 2)
        for row, box in enumerate(erased):
            if box is not None:
                top, left, height, width = box
                images[row, :, top : top + height, left : left + width] = 0
        return images

    def _back_off(self, batch: int, lack: str) -> None:
        """Halve B for good after memory ran out at `batch`, unless another thread has done it meanwhile.

        Raises:
            FrozenprobeError: it was one view.
        """
        if batch == 1:
            raise FrozenprobeError(
                "Memory for one view in a forward pass",
                found=lack.partition("\n")[0],
                where=str(self.device),
                remedy="free memory of the device, take --device cpu, or a smaller --backbone",
            )
        with self.halving:
            if self.batch_size < batch:
                return
            self.batch_size = batch // 2
            self._free()
        log.warning("out of memory at a batch size of %d: going on with %d; no row is lost", batch, batch // 2)

    def _free(self) -> None:
        """Give back what is kept for later: CUDA graphs, with all compiled code, and what torch has put by."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # no graph is freed that still runs
        if self.engine == "compile":
            torch.compiler.reset()
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def _without_overflow(self, vectors: Vectors, there: torch.Tensor, erased: Sequence[Box | None]) -> Vectors:
        """The features, with rows that float16 could not hold computed in float32."""
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).tolist()
        if broken:
            pixels, boxes = [there[row] for row in broken], [erased[row] for row in broken]
            vectors[broken] = self._in_slices(self._begin_exact, pixels, boxes, share=2)()
        self.overflowed += len(broken)
        return vectors


class Staging:
    """Copies to and from a device that go on while it computes: pinned memory and a stream of their own on CUDA."""

    def __init__(self, device: torch.device, depth: int = 4) -> None:
        self.device, self.depth, self.pins = device, depth, True
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
        here = self._memory(features.shape, features.dtype)
        here.copy_(features, non_blocking=True)
        ready = torch.cuda.current_stream(self.device).record_event()

        def wait() -> Vectors:
            ready.synchronize()
            return here.numpy()

        return wait

    def _buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Memory of this shape for a copy to the device, and that no copy reads any more."""
        if len(self.pinned) >= self.depth:
            buffer, copied = self.pinned.popleft()
            copied.synchronize()
            if buffer.shape == shape and buffer.dtype is dtype:
                return buffer
        return self._memory(shape, dtype)

    def _memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Pinned memory, and once there is no more, ordinary memory: copies are slower, but right."""
        if self.pins:
            try:
                return pinned_memory(shape, dtype)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.pins = False
                log.warning("no more pinned memory: copies to and from %s are slower from here on", self.device)
        return torch.empty(shape, dtype=dtype)


def pinned_memory(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Memory that the system leaves in its place, so that a device copies it by itself."""
    return torch.empty(shape, dtype=dtype, pin_memory=True)


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, on whatever device: some have a type of error for it, others only a message."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(OUT_OF_MEMORY.search(str(error)))
