"""The one pass: images -> batches of views -> backbone -> feature file; only what is missing is computed."""

from __future__ import annotations

import logging
import os
import platform
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe._version import __version__
from frozenprobe.cache.pieces import RowStore
from frozenprobe.cache.store import Contents, Features, Split, write_features
from frozenprobe.errors import FrozenprobeError, ImageError
from frozenprobe.extract.backbones import PERMISSIVE, SWAG_LICENCE, BackboneInfo
from frozenprobe.extract.compute import Embedder, choose_device
from frozenprobe.extract.inspection import Progress, all_bad, inspect_images
from frozenprobe.extract.loader import Job, Row, Seconds, ViewSettings, augmented_name, load_batches
from frozenprobe.extract.network import Backbone
from frozenprobe.extract.settings import ExtractRequest, Settled
from frozenprobe.extract.target import Target, open_target, options_text
from frozenprobe.images import ImageTable, limit_training, read_images
from frozenprobe.tables import Table

log = logging.getLogger("frozenprobe")


@dataclass
class ExtractReport:
    """What an extraction did.

    Attributes:
        path: the feature file.
        images: training and test images in it.
        computed: views that went through the backbone.
        reused: views that were there already.
        skipped: bad images, as id and reason.
        seconds: where the time went; decoding and views are summed over workers.
        elapsed: seconds from start to end.
        written: whether the file changed; False: nothing was left to do.
    """

    path: Path
    images: int = 0
    computed: int = 0
    reused: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    elapsed: float = 0.0
    written: bool = False


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Inspected:
    """The images, hashed and checked, as the feature file will list them.

    Attributes:
        train: N images.
        test: M images or None.
        class_names: C names.
        sample: the sample submission or None.
        paths: a file for each content hash.
        skipped: bad images, as id and reason.
    """

    train: Split
    test: Split | None
    class_names: tuple[str, ...]
    sample: Table | None
    paths: dict[str, Path]
    skipped: list[str]


def extract_features(request: ExtractRequest, progress: Progress = ignore_progress) -> ExtractReport:
    """Compute the features that are missing and publish the feature file.

    Args:
        request: see there.
        progress: called with (stage, done, total).

    Raises:
        FrozenprobeError: images, options, weights or an existing file that do not fit; the message says what to do.
    """
    start = time.perf_counter()
    device = choose_device(request.device)
    target = open_target(request, device)
    tell_licence(target.info)
    images = inspect(request, target, progress)
    rows = RowStore(target.out, target.spec, target.existing)
    contents = plan_contents(target, images)
    jobs = missing_jobs(contents, images, rows)
    report = ExtractReport(target.out, images=len(images.train) + len(images.test or ()), skipped=images.skipped)
    report.computed = sum(len(job.views) for job in jobs)
    report.reused = sum(int(split.usable.sum()) * len(views) for _, split, views in contents.splits) - report.computed
    if jobs:
        compute(jobs, rows, target, request, device=device, seconds=report.seconds, progress=progress)
    begin = time.perf_counter()
    if jobs or not same_contents(contents, target.existing):
        about = describe(target.backbone, target.settled) if target.backbone else contents.about
        contents = replace(contents, dim=rows.dim, about=about | {"created": utc_now()})
        write_features(target.out, contents, rows.read_block)
        report.written = True
    rows.discard()
    report.seconds.writing += time.perf_counter() - begin
    report.elapsed = time.perf_counter() - start
    return report


def tell_licence(info: BackboneInfo) -> None:
    """Say what the weights may be used for, and what they have seen."""
    log.info("backbone %s; licence of the weights: %s", info.name, info.licence)
    if info.licence == SWAG_LICENCE:
        log.info("  for commercial use take another backbone, such as %s", PERMISSIVE)
    log.info("  pre-training data: %s", info.pretraining)
    if info.imagenet_labels:
        log.info(
            "  ImageNet's 1000 labels shaped these features: classes like those (dogs, birds, vehicles, household\n"
            "  things) score higher than classes unlike them, and test images taken from ImageNet would not be unseen"
        )


def inspect(request: ExtractRequest, target: Target, progress: Progress) -> Inspected:
    """Read the tables, hash every image, and stop at bad ones.

    Raises:
        ImageError: images that cannot be decoded, all of them named at once.
    """
    train, test, sample = read_images(request.sources)
    train, test = limited(train, test, request.limit, target.existing)
    known = {
        name
        for _, split, _ in (target.existing.splits if target.existing else [])
        for name, good in zip(split.hashes, split.usable, strict=True)
        if good
    }
    paths = train.paths + (test.paths if test is not None else ())
    hashes, bad = inspect_images(
        paths,
        known=known,
        side=target.info.size or 512,
        max_pixels=request.max_pixels,
        threads=os.cpu_count() or 1,
        progress=progress,
    )
    for table, what in ((train, "training"), (test, "test")):
        errors = [bad[path] for path in table.paths if path in bad] if table is not None else []
        if errors and not request.skip_bad:
            raise all_bad(errors, what)
    by_path = dict(zip(paths, hashes, strict=True))
    kept = train.take([row for row, path in enumerate(train.paths) if path not in bad])
    if len(kept.class_names) < 2:
        raise all_bad(list(bad.values()), "training")
    old = target.existing
    return Inspected(
        train=make_split(kept, by_path, bad),
        test=make_split(test, by_path, bad) if test is not None else (old.test if old else None),
        class_names=kept.class_names,
        sample=sample or (old.sample if old else None),
        paths={by_path[path]: path for path in paths if path not in bad},
        skipped=[f"{path}: {error.found}" for path, error in bad.items()],
    )


def limited(
    train: ImageTable, test: ImageTable | None, limit: int | None, existing: Features | None
) -> tuple[ImageTable, ImageTable | None]:
    """The tables of a smoke run, without ever dropping images that the existing file has."""
    if limit is None:
        return train, test
    chosen = set(limit_training(train, limit).ids) | set(existing.train.ids if existing else ())
    train = train.take([row for row, name in enumerate(train.ids) if name in chosen])
    if test is None:
        return train, test
    chosen = set(test.ids[:limit]) | set(existing.test.ids if existing and existing.test else ())
    return train, test.take([row for row, name in enumerate(test.ids) if name in chosen])


def make_split(table: ImageTable, hashes: dict[Path, str], bad: dict[Path, ImageError]) -> Split:
    """A split of the feature file from a table of images."""
    return Split(
        ids=table.ids,
        hashes=tuple(hashes[path] for path in table.paths),
        usable=np.array([path not in bad for path in table.paths], dtype=bool),
        labels=table.labels,
        groups=table.groups,
        folds=table.folds,
    )


def plan_contents(target: Target, images: Inspected) -> Contents:
    """What the file will hold; dimension and facts as in the existing file, if there is one."""
    augmented = tuple(augmented_name(view) for view in range(1, target.settled.views + 1))
    return Contents(
        spec=target.spec,
        dim=target.existing.dim if target.existing else 0,
        test_views=target.settled.test_views,
        augmented_views=augmented,
        class_names=images.class_names,
        train=images.train,
        test=images.test,
        sample=images.sample,
        about=target.existing.about if target.existing else {},
    )


def missing_jobs(contents: Contents, images: Inspected, rows: RowStore) -> list[Job]:
    """For every image content its views that are nowhere yet, in the order of the images.

    Raises:
        FrozenprobeError: rows are missing of test images that this command was not told of.
    """
    views: dict[str, dict[str, None]] = {}
    for _, split, names in contents.splits:
        for content_hash in np.array(split.hashes)[split.usable].tolist():
            missing = [name for name in names if (content_hash, name) not in rows]
            if missing:
                views.setdefault(content_hash, {}).update(dict.fromkeys(missing))
    lost = [content_hash for content_hash in views if content_hash not in images.paths]
    if lost:
        raise FrozenprobeError(
            "The test images, to compute a view of them that the file does not have",
            found="no test folder",
            where="--test",
            remedy="name the folder with --test DIR",
        )
    return [Job(images.paths[content_hash], content_hash, tuple(names)) for content_hash, names in views.items()]


def compute(
    jobs: list[Job],
    rows: RowStore,
    target: Target,
    request: ExtractRequest,
    *,
    device: torch.device,
    seconds: Seconds,
    progress: Progress,
) -> None:
    """Run every missing view through the backbone; each batch becomes a piece on disk at once."""
    backbone = target.load()
    embedder = Embedder(backbone, device, target.dtype)
    settings = ViewSettings(backbone.preprocessing, target.settled.recipe, target.settled.seed, request.max_pixels)
    workers = request.workers
    if workers is None:
        workers = (os.cpu_count() or 1) if device.type != "cpu" else 0
    done, total = 0, sum(len(job.views) for job in jobs)
    progress("embedding views", done, total)
    for batch in load_batches(jobs, settings, batch_size=request.batch_size, workers=workers, seconds=seconds):
        begin = time.perf_counter()
        vectors = embedder.embed(np.stack([row.view.pixels for row in batch]), [row.view.erased for row in batch])
        seconds.backbone += time.perf_counter() - begin
        begin = time.perf_counter()
        require_finite(vectors, batch, target.settled.storage)
        rows.add([row.content_hash for row in batch], [row.name for row in batch], vectors)
        seconds.writing += time.perf_counter() - begin
        done += len(batch)
        progress("embedding views", done, total)
    if embedder.overflowed:
        log.info("%d of %d views overflowed float16 and were computed in float32", embedder.overflowed, total)


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


def same_contents(contents: Contents, existing: Features | None) -> bool:
    """Whether the existing file already says all this (its rows are equal because its specification is)."""
    if existing is None:
        return False
    return index_of(contents) == index_of(existing)


def index_of(contents: Contents) -> list[object]:
    """Everything in a file but rows and facts, as plain values."""
    index: list[object] = [contents.views, contents.test_views, contents.class_names]
    index.append(None if contents.sample is None else (contents.sample.columns, contents.sample.rows))
    for _, split, _ in contents.splits:
        labels = None if split.labels is None else split.labels.tolist()
        index.append((split.ids, split.hashes, split.usable.tolist(), labels, split.groups, split.folds))
    return index


def describe(backbone: Backbone, settled: Settled) -> dict[str, str]:
    """Facts for people, kept in the file."""
    libraries = {name: version(name) for name in ("torch", "torchvision", "numpy", "h5py", "pillow")}
    return {
        "frozenprobe": __version__,
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {number}" for name, number in libraries.items()),
        "licence": backbone.info.licence,
        "pretraining": backbone.info.pretraining,
        "weights": backbone.weights_from,
        "weights_file": str(settled.weights or ""),
        "weights_options": options_text(settled.weights_options),
    }


def utc_now() -> str:
    """The time in UTC, ISO 8601 to the microsecond, so that text order is time order."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def render_report(report: ExtractReport) -> str:
    """What an extraction did, for a person."""
    lines = [f"features {report.path}"]
    if report.skipped:
        lines.append(f"bad images, skipped: {len(report.skipped)}")
        lines += [f"  {text}" for text in report.skipped]
    if not report.written:
        return "\n".join([*lines, f"nothing left to do: all {report.reused} views of {report.images} images are there"])
    spent = report.seconds
    lines.append(
        f"{report.images} images: {report.computed} views computed, {report.reused} reused, in {report.elapsed:.1f} s"
        + (f" ({report.computed / report.elapsed:.1f} views/s)" if report.computed else "")
    )
    lines.append(
        f"seconds in decoding {spent.decoding:.1f}, views {spent.views:.1f}, backbone {spent.backbone:.1f}, "
        f"writing {spent.writing:.1f}"
    )
    return "\n".join(lines)
