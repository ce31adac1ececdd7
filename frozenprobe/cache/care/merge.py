"""Feature files of one specification -> one file: images joined by id, waiting pieces folded in, conflicts named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.care.joining import Part, join
from frozenprobe.cache.container.read import Vectors
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.agreement import LEAST_COSINE, least_cosine
from frozenprobe.cache.growing.finish import finished_bytes, require_space
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.paths import followed, pieces_folder
from frozenprobe.cache.store import Features, ReadBlock, open_features, open_plan, require_file, write_features
from frozenprobe.errors import FeatureFileError, SpecMismatch, some

COMPARED = 64  # rows that two files share, and that are compared


@dataclass
class MergeReport:
    """What a merge did.

    Attributes:
        path: the file that was written.
        inputs: the files that were joined.
        images: training and test images in it.
        augmented_views: of every training image.
        dropped_views: views that not every input has.
        left_out: images whose rows are not all there yet.
        compared: rows that two files share, which were compared.
    """

    path: Path
    inputs: list[Path]
    images: int = 0
    augmented_views: int = 0
    dropped_views: tuple[str, ...] = ()
    left_out: int = 0
    compared: int = 0


def merge_features(inputs: Sequence[Path], *, out: Path | None = None, break_lock: bool = False) -> MergeReport:
    """Join feature files of one specification, each with the rows that wait beside it.

    An image is taken as soon as all its rows exist; the merged file has the views that every input has.

    Args:
        inputs: feature files, finished or being made; one is enough if rows wait beside it.
        out: the file to write; None: the first input, which must not lose anything by it.
        break_lock: write even if another process holds the lock.

    Raises:
        SpecMismatch: another specification, or shared rows with a cosine below 0.999.
        FeatureFileError: images, labels, groups or folds that contradict each other, or a file that would lose images.
        FileInUse: somebody is writing one of the files.
    """
    inputs = list({followed(path).absolute(): followed(path) for path in inputs}.values())
    target = followed(out) if out is not None else inputs[0]
    with ExitStack() as stack:
        for path in {path.absolute(): path for path in [*inputs, target]}.values():
            is_written = pieces_folder(path).is_dir() and os.access(path.parent, os.W_OK)
            if is_written or path.absolute() == target.absolute():
                stack.enter_context(writer_lock(path, break_lock=break_lock))
        parts = [part for path in inputs for part in open_parts(path)]
        for part in parts[1:]:
            remedy = "merge only files of the same specification (frozenprobe info FILE shows it)"
            parts[0].contents.spec.require_equal(part.contents.spec, where=part.path, options={}, remedy=remedy)
        test_views, augmented_views = common_views(parts)
        report = MergeReport(target, list(inputs), compared=compare_shared(parts))
        merged, origins = join(parts, test_views, augmented_views)
        report.images, report.augmented_views = merged.images, len(augmented_views)
        report.dropped_views = tuple(sorted({view for part in parts for view in part.contents.views} - {*merged.views}))
        newest = {part.path: part.contents for part in reversed(parts)}.values()
        every = {key for contents in newest for key in contents_of_images(contents)}
        report.left_out = len(every - {*contents_of_images(merged)})
        require_no_loss(target, merged, is_input=target.absolute() in {path.absolute() for path in inputs})
        require_space(target, finished=finished_bytes(merged))
        write_features(target, merged, block_reader(parts, merged, origins))
        clean_up(target, merged, keep_plan=bool(report.left_out or report.dropped_views))
    return report


def open_parts(path: Path) -> Iterator[Part]:
    """What a file is going to hold, if rows wait beside it, and what it holds: where they differ, the plan is newer."""
    features = open_features(path) if path.is_file() else None
    plan = open_plan(path)
    if plan is not None and (features is None or plan.spec == features.spec):
        rows = RowStore(path, plan, features)
        yield Part(path, plan, rows)
        if rows.there == rows.total and (features is None or {*features.views} <= {*plan.views}):
            return  # killed when everything was computed: the plan is what the file will be
    if features is not None:
        yield Part(path, features, RowStore(path, features, features, check=False))
    elif plan is None:
        require_file(path)


def common_views(parts: Sequence[Part]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The test-time and augmented views that every input has, finished where there is a finished file."""
    finished = {part.path for part in parts if isinstance(part.contents, Features)}
    counted = [part.contents for part in parts if isinstance(part.contents, Features) or part.path not in finished]
    test_views = [view for view in counted[0].test_views if all(view in each.test_views for each in counted)]
    augmented = [view for view in counted[0].augmented_views if all(view in each.augmented_views for each in counted)]
    return tuple(test_views), tuple(augmented)


def compare_shared(parts: Sequence[Part]) -> int:
    """Compare rows that are in several inputs; returns how many.

    Raises:
        SpecMismatch: the cosine of two rows that should be one is below 0.999.
    """
    compared = 0
    for number, part in enumerate(parts):
        for other in parts[:number]:
            for key in shared_rows(part.rows, other.rows) if other.path != part.path else []:
                compared += 1
                near = least_cosine(part.rows.row(*key), other.rows.row(*key), part.contents.taps)
                if not near >= LEAST_COSINE:
                    raise SpecMismatch(
                        f"Equal rows for equal images (cosine {LEAST_COSINE} or more)",
                        found=f"cosine {near:.4f} for the image of content {key[0][:12]}, view {key[1]}",
                        where=f"{other.path} and {part.path}",
                        remedy="extract the images of one of them again where the other was made",
                    )
    return compared


def shared_rows(one: RowStore, other: RowStore) -> list[tuple[str, str]]:
    """About 64 rows that both have, spread over the images that both have."""
    hashes = np.intersect1d(one.hashes, other.hashes)
    chosen = hashes[:: max(1, len(hashes) // COMPARED)].tolist()
    keys = [(code.decode(), view) for code in chosen for view in one.views]
    both = [key for key in keys if key in one and key in other]
    return both[:: max(1, len(both) // COMPARED)]


def block_reader(parts: Sequence[Part], merged: Contents, origins: dict[str, npt.NDArray[np.int64]]) -> ReadBlock:
    """Reads rows of the merged file from the inputs they come from."""

    def read_block(images: slice, split: Split, views: Sequence[str]) -> Vectors:
        origin = origins["train" if split is merged.train else "test"][images]
        ids, hashes, usable = np.array(split.ids[images]), np.array(split.hashes[images]), split.usable[images]
        out: Vectors = np.zeros((len(origin), len(views), merged.dim), dtype=merged.spec.storage_dtype)
        for number in np.unique(origin).tolist():
            here = np.flatnonzero(origin == number)
            asked = Split(tuple(ids[here].tolist()), tuple(hashes[here].tolist()), usable[here])
            out[here] = parts[number].rows.read_block(slice(None), asked, views)
        return out

    return read_block


def require_no_loss(target: Path, merged: Contents, *, is_input: bool) -> None:
    """Refuse to replace a file by one that has less, and to write where another file is being made.

    Raises:
        FeatureFileError: names what would be lost.
    """
    lost: list[str] = []
    if not is_input and pieces_folder(target).is_dir():
        lost.append("the rows that wait beside it")
    if target.is_file():
        existing = open_features(target)
        if existing.spec != merged.spec:
            lost.append("all its features, which are of another specification")
        part = slice(2 if is_input else 3)  # its own plan may have another content for an image, another file may not
        there = {image[part] for image in contents_of_images(merged)}
        lost += [f"{image[0]} image {image[1]}" for image in contents_of_images(existing) if image[part] not in there]
        lost += [f"view {view}" for view in sorted({*existing.views} - {*merged.views})]
    if lost:
        raise FeatureFileError(
            "To keep all that the file has",
            found=f"a merged file without {some(lost)}",
            where=target,
            remedy="write the merged file under another name with --out FILE; or run the extract command again, which "
            "finishes what was begun and computes what is missing",
        )


def contents_of_images(contents: Contents) -> Iterator[tuple[str, str, str]]:
    """(split, id, content hash) of every image."""
    for name, split, _ in contents.splits:
        yield from ((name, *image) for image in zip(split.ids, split.hashes, strict=True))


def clean_up(target: Path, merged: Contents, *, keep_plan: bool) -> None:
    """Delete the pieces beside the merged file whose rows are all in it, and the plan if nothing of it is left."""
    if pieces_folder(target).is_dir():
        RowStore(target, merged, check=False).discard(keep_plan=keep_plan)


def render_merge(report: MergeReport) -> str:
    """What a merge did, for a person."""
    lines = [f"features {report.path}"]
    lines.append(
        f"{report.images} images with {report.augmented_views} augmented views a training image, "
        f"from {some(report.inputs)}; {report.compared} shared rows compared"
    )
    if report.dropped_views:
        lines.append(f"views that not every file has are left out: {some(report.dropped_views)}")
    if report.left_out:
        lines.append(f"{report.left_out} images are left out: their rows are not all there yet (run extract again)")
    return "\n".join(lines)
