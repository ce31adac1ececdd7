"""What suits the machine: batch size and threads; and whether its arithmetic is near enough to float32."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from time import perf_counter

import numpy as np
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.compute.embedder import Embedder, Fidelity, is_out_of_memory
from frozenprobe.extract.compute.engines import CPU_ENGINES
from frozenprobe.extract.compute.lean_vit import has_lean_blocks
from frozenprobe.extract.views.cut import Job, ViewSettings, cut_all
from frozenprobe.images.places import Place

log = logging.getLogger("frozenprobe")

# Views a call of one thread: more than that leave the core's cache; of large views one. Engines for CPUs alone gain
# nothing from more: in ONNX Runtime EfficientNet-Lite0 is 7 % faster one by one, ResNet-18 6 % slower.
CPU_BATCH, CPU_SIDE = 4, 300
COMPILED_BATCH = 64  # every size would be compiled anew, so none is tried
LONG = 30.0  # seconds of a pass: to compile the blocks takes 3 s on an H100 and makes it a seventh faster
SIZES = (8, 16, 32, 64, 128, 256)
WORTH = 1.03  # so much faster a batch of twice the size has to be
LEAST_COSINE, LARGEST_DIFFERENCE = 0.9999, 1e-4  # of another dtype; of another engine, as a part of the largest feature
CHECKED, CHECKED_ON_CPU = 8, 2  # views


def make_embedder(
    backbone: Backbone,
    device: torch.device,
    compute_dtype: str,
    *,
    engine: str,
    threads: int,
    batch_size: int | None,
    views: int | None = None,
) -> Embedder:
    """The backbone in its engine, with a batch size that suits the device.

    Args:
        backbone: the network.
        device: where to run it.
        compute_dtype: of the forward pass.
        engine: what runs it.
        threads: that one call may use on a CPU.
        batch_size: B; None: on a CPU what stays in the cache, on CUDA the fastest that fits into the memory.
        views: that are to be computed, if the engine `torch` may compile a transformer's blocks on CUDA for so many;
            the features are the same to rounding, so that the specification says nothing of it.
    """
    side = backbone.preprocessing.size
    if batch_size is None and device.type == "cpu":
        batch_size = CPU_BATCH if side <= CPU_SIDE and engine not in CPU_ENGINES else 1
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
    if views is None or device.type != "cuda" or engine != "torch" or not has_lean_blocks(backbone.network):
        return embedder
    compiled = partial(Embedder, backbone, device, compute_dtype, engine="compile", batch_size=embedder.batch_size)
    return faster_of(embedder, compiled, side=side, views=views)


def faster_of(embedder: Embedder, make_compiled: Callable[[], Embedder], *, side: int, views: int) -> Embedder:
    """The embedder, or one with compiled code where a pass is long enough for that to pay, and it is faster indeed.

    Args:
        embedder: that runs.
        make_compiled: makes the other one; it may fail, for want of a compiler or of Triton.
        side: S.
        views: that are to be computed.
    """
    rate = views_a_second(embedder, side, embedder.batch_size)
    if views < LONG * rate:
        return embedder
    try:
        compiled = make_compiled()
        compiled_rate = views_a_second(compiled, side, compiled.batch_size)
    except Exception as error:  # of a dozen types; what runs already is good
        log.info("blocks are not compiled: %s", str(error).partition("\n")[0])
        return embedder
    log.debug("%.4g views/s, compiled %.4g", rate, compiled_rate)
    return compiled if compiled_rate > rate else embedder


def find_batch_size(embedder: Embedder, side: int) -> int:
    """The smallest batch that is nearly as fast a view as twice as many, as far as the memory goes."""
    best, best_rate = 0, 0.0
    for size in SIZES:
        embedder.batch_size = size
        try:
            rate = views_a_second(embedder, side, size)
        except RuntimeError as error:  # not even the views themselves fit, which an embedder is given
            if not best or not is_out_of_memory(error):
                raise
            embedder.batch_size = best
            break
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


def check_fidelity(embedder: Embedder, images: Mapping[str, Place], settings: ViewSettings) -> Fidelity | None:
    """Compare clean views of the first images with float32 in eager torch; None where that is what computes them.

    Args:
        embedder: what computes.
        images: where an image of each content hash lies; the same on every rank.
        settings: what decides a view's pixels.

    Raises:
        FrozenprobeError: the engine gives other features than torch, in the same dtype.
    """
    full = embedder.dtype is torch.float32
    if full and embedder.engine == "torch":
        return None
    most = CHECKED_ON_CPU if embedder.device.type == "cpu" else CHECKED
    jobs = [Job(place, content_hash, ("clean",)) for content_hash, place in islice(images.items(), most)]
    views = [row.view for job in jobs for row in cut_all(job, settings).rows]
    fidelity = embedder.fidelity([view.pixels for view in views], [view.erased for view in views])
    if full and not fidelity.difference <= LARGEST_DIFFERENCE:
        raise FrozenprobeError(
            f"Features of the engine {embedder.engine} that equal torch's to {LARGEST_DIFFERENCE:g}",
            found=f"a difference of {fidelity.difference:.2g} of the largest feature",
            where="--engine",
            remedy="take --engine torch",
        )
    return fidelity
