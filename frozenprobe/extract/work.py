"""What there is to compute, and what computes it: everything up to the first row, shared by extraction and forecast."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import numpy.typing as npt

from frozenprobe._version import __version__
from frozenprobe.cache.care.verify import require_whole
from frozenprobe.cache.contents import Contents
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT, BackboneInfo
from frozenprobe.extract.compute.embedder import Embedder, Fidelity
from frozenprobe.extract.compute.environment import describe_environment, require_same_rows
from frozenprobe.extract.compute.loader import Seconds
from frozenprobe.extract.compute.pipeline import Embedded, embed_jobs, torch_threads
from frozenprobe.extract.compute.tuning import check_fidelity, make_embedder, threads_a_call
from frozenprobe.extract.inspect import Inspected
from frozenprobe.extract.options import ExtractRequest, FeatureOptions
from frozenprobe.extract.plan import missing_jobs, require_same_set
from frozenprobe.extract.ranks.rank import ALONE, Rank, available_cores
from frozenprobe.extract.ranks.share import share_of, take_stock
from frozenprobe.extract.settle import weights_options_text
from frozenprobe.extract.target import Target
from frozenprobe.extract.views.cut import Job, Row, ViewSettings
from frozenprobe.system.progress import Progress

log = logging.getLogger("frozenprobe")


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        target: the file to make or to grow.
        images: hashed and checked.
        rows: those there are, and what the file will hold.
        jobs: the images and views of the others, as far as they are this rank's.
    """

    target: Target
    images: Inspected
    rows: RowStore
    jobs: list[Job]

    @property
    def missing(self) -> int:
        """Views that have to go through the backbone."""
        return sum(len(job.views) for job in self.jobs)


def survey(target: Target, request: ExtractRequest, images: Inspected, rank: Rank = ALONE) -> Work:
    """Compare what was asked for with the rows there are; nothing is written."""
    limited = request.limit is not None
    before = target.existing or (target.begun if not limited else None)
    gone = require_same_set(images, before, target.out, drop_missing=request.drop_missing, limited=limited)
    if gone and target.existing:
        log.info("images that are no longer there and leave the feature file: %d", gone)
    target, rows = take_stock(target, images, rank)
    return Work(target, images, rows, missing_jobs(rows, images, share_of(rows, rank)))


@dataclass(frozen=True)
class Setup:
    """What computes the views.

    Attributes:
        settings: what decides a view's pixels.
        embedder: the backbone on its device.
        workers: see `embed_jobs`.
        environment: of the rows it computes.
        contents: what the file will hold, with the facts about this backbone and environment.
        fidelity: see `check_fidelity`.
    """

    settings: ViewSettings
    embedder: Embedder
    workers: int
    environment: str
    contents: Contents
    fidelity: Fidelity | None


def set_up(work: Work, request: ExtractRequest, progress: Progress) -> Setup:
    """Load the backbone into its engine, and check it and the rows it will add to; nothing is written."""
    target, rows = work.target, work.rows
    backbone, settled = target.load(), target.settled
    settings = ViewSettings(
        backbone.preprocessing, settled.recipe, settled.seed, request.max_pixels, settled.decoding, settled.augment_on
    )
    if rows.existing is not None:
        require_whole(rows.existing, progress)
    workers = available_cores() if request.workers is None else request.workers
    known, here = rows.known_environments, describe_environment(target.device)
    with torch_threads(threads_a_call(workers)):  # as in the pass: code is compiled for this number
        embedder = make_embedder(target, workers=workers, batch_size=request.batch_size)
        if here not in known and rows.there:
            require_same_rows(rows, work.images.places, settings, embedder, known=sorted(known), where=target.out)
        fidelity = check_fidelity(embedder, work.jobs, settings)
    about = describe(backbone, settled) | {"environments": json.dumps(sorted({*known, here}))}
    return Setup(settings, embedder, workers, here, replace(rows.contents, taps=backbone.taps, about=about), fidelity)


def embed(jobs: Sequence[Job], setup: Setup, seconds: Seconds) -> Generator[Embedded, None, None]:
    """Embed all views of all jobs, and refuse what cannot be stored."""
    storage = setup.contents.spec.storage_dtype
    with torch_threads(threads_a_call(setup.workers)):
        for batch in embed_jobs(jobs, setup.settings, setup.embedder, workers=setup.workers, seconds=seconds):
            require_finite(batch.vectors, batch.rows, storage)
            yield batch


def announce(target: Target) -> str:
    """The backbone, and what its weights may be used for."""
    return "\n  ".join([f"backbone {target.info.name}", *remarks_of(target.info, target.settled)])


def describe_compute(embedder: Embedder, workers: int) -> str:
    """What computes, for a person."""
    size, threads = embedder.batch_size, max(1, workers)
    batch = f"{size} view{'s' * (size != 1)} a batch"
    on_cpu = embedder.device.type == "cpu"
    kind = f"{threads} thread{'s' * (threads != 1)}" if on_cpu else f"{workers} processes that cut views"
    return f"{embedder.engine} on {embedder.device}, {embedder.compute_dtype}, {batch}, {kind}"


def require_finite(vectors: npt.NDArray[np.float32], batch: list[Row], storage: str) -> None:
    """Refuse to store NaN, infinity, or what becomes infinity in the storage dtype.

    Raises:
        FrozenprobeError: names the first image.
    """
    with np.errstate(over="ignore"):
        finite = np.isfinite(vectors.astype(storage)).all(axis=1)
    if finite.all():
        return
    row = int(np.flatnonzero(~finite)[0])
    overflow = bool(np.isfinite(vectors[row]).all())
    raise FrozenprobeError(
        "Finite features",
        found=f"{np.abs(vectors[row]).max():.3g}, beyond float16's 65504" if overflow else "NaN or infinity",
        where=f"{batch[row].path}, view {batch[row].name}",
        remedy="add --storage float32" if overflow else "check the weights, or add --dtype float32",
    )


def with_facts(contents: Contents, target: Target) -> Contents:
    """The contents with the facts of the existing or begun file, else about the backbone."""
    before = target.before
    if before is not None:
        return replace(contents, taps=before.taps, about=before.about)
    return replace(contents, taps=target.load().taps, about=describe(target.load(), target.settled))


def describe(backbone: Backbone, settled: FeatureOptions) -> dict[str, str]:
    """Facts for people, kept in the file."""
    libraries = {name: version(name) for name in ("torch", "torchvision", "numpy", "h5py", "pillow")}
    return {
        "frozenprobe": __version__,
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {number}" for name, number in libraries.items()),
        "licence": backbone.info.licence,
        "pretraining": backbone.info.pretraining,
        "remarks": "; ".join(remarks_of(backbone.info, settled)),
        "weights": backbone.weights_from,
        "weights_file": str(settled.weights or ""),
        "weights_options": weights_options_text(settled.weights_options),
    }


def remarks_of(info: BackboneInfo, settled: FeatureOptions) -> tuple[str, ...]:
    """What is known of the weights and of the pixels; of a local file under an official name only by that name."""
    remarks = [*info.remarks]
    if settled.weights is not None and info.parameters and info.name != ANY_VIT:
        remarks.append(f"the weights come from {settled.weights}: all this holds if they are the official ones")
    if settled.augment_on == "device" and settled.recipe in ("report", "erase"):
        remarks.append("augmented views cut on the device: the report's draws, but not exactly its pixels")
    return tuple(remarks)
