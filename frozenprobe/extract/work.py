"""What there is to compute, and what computes it: everything up to the first row, shared by extraction and forecast."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Container, Generator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe._version import __version__
from frozenprobe.cache.contents import Contents
from frozenprobe.cache.damage import require_whole
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT, BackboneInfo
from frozenprobe.extract.compute.dtypes import choose_dtype
from frozenprobe.extract.compute.embedder import Embedder, Fidelity
from frozenprobe.extract.compute.environment import describe_environment, require_same_rows
from frozenprobe.extract.compute.loader import Seconds, settle_workers
from frozenprobe.extract.compute.pipeline import Embedded, embed_jobs, torch_threads
from frozenprobe.extract.compute.tuning import LEAST_COSINE, check_fidelity, make_embedder
from frozenprobe.extract.inspect import Inspected, planned_contents
from frozenprobe.extract.options import AUTO, ExtractRequest, FeatureOptions
from frozenprobe.extract.ranks.rank import ALONE, Rank, own_cores, own_shared_memory, threads_a_call
from frozenprobe.extract.ranks.share import share_of, take_stock
from frozenprobe.extract.settle import weights_options_text
from frozenprobe.extract.target import Target
from frozenprobe.extract.views.cut import Job, Row, ViewSettings
from frozenprobe.system.devices import bfloat16_units
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
    target, rows = take_stock(target, lambda now: planned_contents(now, images), rank)
    return Work(target, images, rows, missing_jobs(rows, images, share_of(rows, rank)))


def require_same_set(
    images: Inspected, existing: Contents | None, out: Path, *, drop_missing: bool = False, limited: bool = False
) -> int:
    """How many images leave the finished or begun file because they are no longer there.

    Args:
        images: what is there.
        existing: what the file holds or was going to hold.
        out: the file.
        drop_missing: let more than half of them leave, or any where listed images were not there and skipped.
        limited: this is a smoke run, which must let none leave.

    Raises:
        FrozenprobeError: more than half of the training or of the test images would: a mistyped folder, a disk that is
            not mounted or another set of images is more likely than that, and the file was paid for.
    """
    if existing is None:
        return 0
    lost = 0
    for what, now, before in (("training", images.train, existing.train), ("test", images.test, existing.test)):
        if now is None or before is None:
            continue
        there = set(now.hashes)
        gone = [name for name, code in zip(before.ids, before.hashes, strict=True) if code not in there]
        lost += len(gone)
        others = what == "training" and len(gone) == len(before)
        skipped = gone and what == "training" and images.missing
        if others or (gone and limited) or ((len(gone) > len(before) / 2 or skipped) and not drop_missing):
            way = " (or remove this one and the folder of pieces beside it)" if others else ", or add --drop-missing"
            raise FrozenprobeError(
                f"The {what} images that the existing feature file was made of (or is being made of), or most of them",
                found="none of them: these are other images" if others else f"{len(gone)} missing: {some(gone)}",
                where=out,
                remedy="run without --limit"
                if limited
                else ("bring back those that are listed (is their disk mounted?), or " if skipped else "")
                + "name another file for these with --out FILE"
                + way,
            )
    return lost


def missing_jobs(rows: RowStore, images: Inspected, share: Container[str] | None = None) -> list[Job]:
    """For every image content its views that are nowhere yet, in the order of the images.

    Args:
        rows: those there are.
        images: what is at hand.
        share: the content hashes that are for this process to compute; None: all.

    Raises:
        FrozenprobeError: rows are missing of test images that this command was not told of.
    """
    missing = rows.missing()
    if not missing.keys() <= images.places.keys():
        raise FrozenprobeError(
            "The test images, to compute a view of them that the file does not have",
            found="no test folder",
            where="--test",
            remedy="name the folder with --test DIR",
        )
    return [
        Job(images.places[content_hash], content_hash, names)
        for content_hash, names in missing.items()
        if share is None or content_hash in share
    ]


@dataclass(frozen=True)
class Setup:
    """What computes the views.

    Attributes:
        work: what there is to compute with it.
        settings: what decides a view's pixels.
        embedder: the backbone on its device.
        workers: see `embed_jobs`; as many as there is shared memory for.
        prefetch: likewise.
        environment: of the rows it computes.
        contents: what the file will hold, with the facts about this backbone and environment.
        fidelity: see `check_fidelity`.
        reason: for the compute dtype, where it was chosen here; else empty.
    """

    work: Work
    settings: ViewSettings
    embedder: Embedder
    workers: int
    prefetch: int
    environment: str
    contents: Contents
    fidelity: Fidelity | None
    reason: str


def set_up(work: Work, request: ExtractRequest, progress: Progress, rank: Rank = ALONE) -> Setup:
    """Load the backbone into its engine, and check it and the rows it will add to; nothing is written.

    A bfloat16 that was chosen here, on a CPU, and turns out too far from float32 is given up for that.
    """
    setup, target = prepare(work, request, progress), work.target
    near, dtype = setup.fidelity, setup.embedder.compute_dtype
    if near is None or dtype == "float32" or near.cosine >= LEAST_COSINE:
        return setup
    if not setup.reason or target.device.type != "cpu":
        log.warning(
            "features in %s are far from float32: cosine %.5f (wanted: %s); --dtype float32 is exact",
            *(dtype, near.cosine, LEAST_COSINE),
        )
        return setup
    reason = f"{dtype} gave a cosine of {near.cosine:.5f}, below {LEAST_COSINE}"
    log.warning("%s: going on in float32, which is slower; --dtype %s takes it all the same", reason, dtype)
    exact = replace(target, settled=replace(target.settled, compute_dtype="float32"))
    work.rows.close()
    return replace(prepare(survey(exact, request, work.images, rank), request, progress), reason=reason)


def prepare(work: Work, request: ExtractRequest, progress: Progress) -> Setup:
    """As `set_up`, in the dtype that was asked for or suits device and network."""
    target, rows = work.target, work.rows
    backbone, settled, spec = target.load(), target.settled, target.spec
    settings = ViewSettings(backbone.preprocessing, settled.recipe, settled.seed, request.max_pixels, settled.decoding)
    if rows.existing is not None:
        require_whole(rows.existing, progress)
    wanted = own_cores() if request.workers is None else request.workers
    shared = None if target.device.type == "cpu" else own_shared_memory()  # threads need none
    workers, prefetch = settle_workers(work.jobs, settings, wanted, shared)
    known, here = rows.known_environments, describe_environment(target.device)
    threads = threads_a_call(workers)
    if target.device.type == "cpu" and spec.compute_dtype == "bfloat16" and not bfloat16_units():
        log.warning(
            "this CPU has no units for bfloat16, in which the features of %s are computed: slower than float32; "
            "--dtype float32 --out FILE makes another file",
            target.out,
        )
    with torch_threads(threads):  # as in the pass: code is compiled for this number
        embedder = make_embedder(
            backbone,
            target.device,
            spec.compute_dtype,
            engine=spec.engine,
            threads=threads,
            batch_size=request.batch_size,
            views=work.missing if request.choices.engine in (None, AUTO) else None,
        )
        if here not in known and rows.there:
            require_same_rows(rows, work.images.places, settings, embedder, known=sorted(known), where=target.out)
    with torch_threads(threads if embedder.engine == "compile" else own_cores()):  # nobody else computes meanwhile
        fidelity = check_fidelity(embedder, work.images.places, settings)
    about = describe(backbone, settled) | {"environments": json.dumps(sorted({*known, here}))}
    contents = replace(rows.contents, taps=backbone.taps, about=about)
    _, reason = choose_dtype(settled.compute_dtype, target.device, backbone.network)
    return Setup(work, settings, embedder, workers, prefetch, here, contents, fidelity, reason)


def embed(jobs: Sequence[Job], setup: Setup, seconds: Seconds) -> Generator[Embedded, None, None]:
    """Embed all views of all jobs, and refuse what cannot be stored."""
    storage = setup.contents.spec.storage_dtype
    how = {"workers": setup.workers, "prefetch": setup.prefetch}
    with torch_threads(threads_a_call(setup.workers)):
        for batch in embed_jobs(jobs, setup.settings, setup.embedder, **how, seconds=seconds):
            require_finite(batch.vectors, batch.rows, storage)
            yield batch


def announce(target: Target) -> str:
    """The backbone, and what its weights may be used for."""
    return "\n  ".join([f"backbone {target.info.name}", *remarks_of(target.info, target.settled)])


def describe_compute(setup: Setup) -> str:
    """What computes, for a person."""
    embedder, workers = setup.embedder, setup.workers
    size, threads = embedder.batch_size, max(1, workers)
    batch = f"{size} view{'s' * (size != 1)} a batch"
    on_cpu = embedder.device.type == "cpu"
    kind = f"{threads} thread{'s' * (threads != 1)}" if on_cpu else f"{workers} processes that cut views"
    dtype = embedder.compute_dtype + f" ({setup.reason})" * bool(setup.reason)
    return f"{embedder.engine} on {embedder.device}, {dtype}, {batch}, {kind}"


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
    """The contents with the facts they have, else with those of the existing or begun file, else about the backbone."""
    if contents.about:
        return contents
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
    """What is known of the weights; of a local file under an official name only by that name."""
    remarks = [*info.remarks]
    if settled.weights is not None and info.parameters and info.name != ANY_VIT:
        remarks.append(f"the weights come from {settled.weights}: all this holds if they are the official ones")
    return tuple(remarks)
