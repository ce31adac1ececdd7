"""What suits the machine: batch size and threads; and whether its arithmetic is near enough to float32."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter

import numpy as np
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.compute.embedder import Embedder, Fidelity
from frozenprobe.extract.views.cut import Job, ViewSettings, cut_all

log = logging.getLogger("frozenprobe")

CPU_BATCH, CPU_SIDE = 4, 300  # views a call of one thread: more than that leave the core's cache; of large views one
SINGLE = ("onnxruntime",)  # gains nothing from more: EfficientNet-Lite0 is 7 % faster one by one, ResNet-18 6 % slower
COMPILED_BATCH = 64  # every size would be compiled anew, so none is tried
SIZES = (8, 16, 32, 64, 128, 256)
WORTH = 1.03  # so much faster a batch of twice the size has to be
LEAST_COSINE, LARGEST_DIFFERENCE = 0.9999, 1e-4  # of another dtype; of another engine, as a part of the largest feature
CHECKED, CHECKED_ON_CPU = 8, 2  # views


def make_embedder(
    backbone: Backbone, device: torch.device, compute_dtype: str, *, engine: str, threads: int, batch_size: int | None
) -> Embedder:
    """The backbone in its engine, with a batch size that suits the device.

    Args:
        backbone: the network.
        device: where to run it.
        compute_dtype: of the forward pass.
        engine: what runs it.
        threads: that one call may use on a CPU.
        batch_size: B; None: on a CPU what stays in the cache, on CUDA the fastest that fits into the memory.
    """
    side = backbone.preprocessing.size
    if batch_size is None and device.type == "cpu":
        batch_size = CPU_BATCH if side <= CPU_SIDE and engine not in SINGLE else 1
    embedder = Embedder(
        backbone,
        device,
        compute_dtype,
        engine=engine,
        batch_size=batch_size or COMPILED_BATCH,
        threads=threads,
    )
    if batch_size is None and engine != "compile":
        embedder.batch_size = find_batch_size(embedder, side)
    return embedder


def find_batch_size(embedder: Embedder, side: int) -> int:
    """The smallest batch that is nearly as fast a view as twice as many, as far as the memory goes."""
    best, best_rate = 0, 0.0
    for size in SIZES:
        embedder.batch_size = size
        rate = views_a_second(embedder, side, size)
        if embedder.batch_size < size or rate < WORTH * best_rate:
            break
        best, best_rate = size, rate
    return best or embedder.batch_size  # what the least that is tried was halved to


def views_a_second(embedder: Embedder, side: int, views: int, *, repeats: int = 3) -> float:
    """Median rate of the forward pass on views that lie on the device; the first call, which sets up, is left out."""
    pixels = list(torch.randint(0, 256, (views, side, side, 3), dtype=torch.uint8, device=embedder.device))
    seconds = []
    for _ in range(repeats + 1):
        start = perf_counter()
        embedder.start(pixels, [None] * views)()
        seconds.append(perf_counter() - start)
    return float(views / np.median(seconds[1:]))


def check_fidelity(embedder: Embedder, jobs: Sequence[Job], settings: ViewSettings) -> Fidelity | None:
    """Compare the first views with float32 in eager torch; None where that is what computes them.

    Raises:
        FrozenprobeError: the engine gives other features than torch, in the same dtype.
    """
    full = embedder.dtype is torch.float32
    if full and embedder.engine == "torch":
        return None
    most = CHECKED_ON_CPU if embedder.device.type == "cpu" else CHECKED
    views = [row.view for row in cut_all(jobs[0], settings).rows[:most]]
    fidelity = embedder.fidelity([view.pixels for view in views], [view.erased for view in views])
    if full and not fidelity.difference <= LARGEST_DIFFERENCE:
        raise FrozenprobeError(
            f"Features of the engine {embedder.engine} that equal torch's to {LARGEST_DIFFERENCE:g}",
            found=f"a difference of {fidelity.difference:.2g} of the largest feature",
            where="--engine",
            remedy="take --engine torch",
        )
    if not fidelity.cosine >= LEAST_COSINE:
        log.warning(
            "features in %s are far from float32: cosine %.5f (wanted: %s); --dtype float32 is exact",
            embedder.compute_dtype, fidelity.cosine, LEAST_COSINE,
        )  # fmt: skip
    return fidelity
