"""Feature files of one specification -> one file: images joined by id, waiting pieces folded in, conflicts named."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.read import Vectors
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.finish import finished_bytes, require_space
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import LEAST_COSINE, RowStore, least_cosine
from frozenprobe.cache.paths import followed, pieces_folder
from frozenprobe.cache.store import Features, ReadBlock, open_features, open_plan, require_file, write_features
from frozenprobe.errors import FeatureFileError, SpecMismatch, some
from frozenprobe.images.table import index_names
from frozenprobe.system.atomic_files import require_writable
from frozenprobe.system.files import StrPath
from frozenprobe.system.quantities import utc_now

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


class Part(NamedTuple):
    """What an input holds, or what it is going to hold, and the rows of that."""

    path: Path
    contents: Contents
    rows: RowStore


class MergedImage(NamedTuple):
    """One image on its way into the merged file."""

    id: str
    content_hash: str
    usable: bool
    label: str
    group: str | None
    fold: str | None
    part: int


def merge_features(inputs: Sequence[StrPath], *, out: StrPath | None = None, break_lock: bool = False) -> MergeReport:
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
    if isinstance(inputs, (str, os.PathLike)) or not inputs:
        raise FeatureFileError(
            "A list of feature files", found=repr(inputs), where="merge_features", remedy="give a list: [FILE, FILE]"
        )
    named = list({followed(path).absolute(): followed(path) for path in map(Path, inputs)}.values())
    target = followed(Path(out)) if out is not None else named[0]
    for path in named:
        if path.is_dir():
            require_file(path)
    require_writable(target, "name another file with --out FILE")
    with ExitStack() as stack:
        for path in {path.absolute(): path for path in [*named, target]}.values():
            is_written = pieces_folder(path).is_dir() and os.access(path.parent, os.W_OK)
            if is_written or path.absolute() == target.absolute():
                stack.enter_context(writer_lock(path, break_lock=break_lock))
        parts = [part for path in named for part in open_parts(path)]
        for part in parts[1:]:
            remedy = "merge only files of the same specification (frozenprobe info FILE shows it)"
            parts[0].contents.spec.require_equal(part.contents.spec, where=part.path, options={}, remedy=remedy)
        test_views, augmented_views = common_views(parts)
        report = MergeReport(target, named, compared=compare_shared(parts))
        merged, origins = join(parts, test_views, augmented_views)
        report.images, report.augmented_views = merged.images, len(augmented_views)
        report.dropped_views = tuple(sorted({view for part in parts for view in part.contents.views} - {*merged.views}))
        newest = {part.path: part.contents for part in reversed(parts)}.values()
        every = {key for contents in newest for key in contents_of_images(contents)}
        report.left_out = len(every - {*contents_of_images(merged)})
        require_no_loss(target, merged, is_input=target.absolute() in {path.absolute() for path in named})
        require_space(target, finished=finished_bytes(merged))
        write_features(target, merged, block_reader(parts, merged, origins))
        if pieces_folder(target).is_dir():
            keep_plan = bool(report.left_out or report.dropped_views)
            RowStore(target, merged, check=False).discard(keep_plan=keep_plan)
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


def join(
    parts: Sequence[Part], test_views: tuple[str, ...], augmented_views: tuple[str, ...]
) -> tuple[Contents, dict[str, npt.NDArray[np.int64]]]:
    """The merged contents, sorted by id, and for each split the part that each image's rows come from."""
    train = collect(parts, "train", test_views + augmented_views)
    test = collect(parts, "test", test_views)
    if not train:
        raise FeatureFileError(
            "At least one image with all its rows",
            found="none",
            where=some(part.path for part in parts),
            remedy="run the extract command again: it goes on from there",
        )
    class_names, labels = index_names([image.label for image in train])
    first = parts[0].contents
    environments = {each for part in parts for each in part.rows.known_environments}
    merged = Contents(
        spec=first.spec,
        taps=first.taps,
        test_views=test_views,
        augmented_views=augmented_views,
        class_names=class_names,
        train=split_of(train, labels),
        test=split_of(test) if test else None,
        sample=next((part.contents.sample for part in parts if part.contents.sample is not None), None),
        about=first.about | {"environments": json.dumps(sorted(environments)), "created": utc_now()},
    )
    origins = {name: np.array([image.part for image in images]) for name, images in (("train", train), ("test", test))}
    return merged, origins


def collect(parts: Sequence[Part], name: str, views: tuple[str, ...]) -> list[MergedImage]:
    """The images of a split whose rows are all there, sorted by id.

    Raises:
        FeatureFileError: two inputs say different things of one id, or only some of them have groups or folds.
    """
    found: dict[str, MergedImage] = {}
    for number, part in enumerate(parts):
        split = next((split for each, split, _ in part.contents.splits if each == name), None)
        if split is None or not part.rows.views.keys() >= {*views}:
            continue
        ids, hashes = listed(parts[:number], part.path, name)
        for row in np.flatnonzero(part.rows.complete(split, views)).tolist():
            image = image_of(part.contents, split, row, number)
            if image.id not in ids and image.content_hash in hashes:
                continue  # the plan has it under another name, and so, perhaps, in another class
            other = found.setdefault(image.id, image)
            if other._replace(part=number) != image and parts[other.part].path != part.path:
                raise disagreement(other, image, parts)
    for column in ("group", "fold"):
        without = [image for image in found.values() if getattr(image, column) is None]
        if 0 < len(without) < len(found):
            raise FeatureFileError(
                f"A {column} for every image, or for none",
                found=f"none for {some(image.id for image in without)}",
                where=parts[without[0].part].path,
                remedy=f"run extract on this file with --{column}-column NAME first",
            )
    return [found[key] for key in sorted(found)]


def listed(parts: Sequence[Part], path: Path, name: str) -> tuple[set[str], set[str]]:
    """The ids and the content hashes that the plan of a file lists, if it is among the parts."""
    splits = [split for part in parts if part.path == path for each, split, _ in part.contents.splits if each == name]
    return {image for split in splits for image in split.ids}, {code for split in splits for code in split.hashes}


def image_of(contents: Contents, split: Split, row: int, part: int) -> MergedImage:
    """One image of a split."""
    return MergedImage(
        id=split.ids[row],
        content_hash=split.hashes[row],
        usable=bool(split.usable[row]),
        label=contents.class_names[split.labels[row]] if split.labels is not None else "",
        group=split.groups[row] if split.groups else None,
        fold=split.folds[row] if split.folds else None,
        part=part,
    )


def disagreement(one: MergedImage, other: MergedImage, parts: Sequence[Part]) -> FeatureFileError:
    """The error for two images of one name that are not one."""
    columns = ("content_hash", "label", "group", "fold", "usable")
    names = [name for name in columns if getattr(one, name) != getattr(other, name)]
    values = " and ".join(str(getattr(image, names[0])) for image in (one, other))
    return FeatureFileError(
        f"The same {names[0].replace('_', ' ')} of an image in every file",
        found=f"{values} for {one.id}",
        where=f"{parts[one.part].path} and {parts[other.part].path}",
        remedy="rename or correct it in one of the image folders, and run extract there: relabelling costs nothing",
    )


def split_of(images: Sequence[MergedImage], labels: npt.NDArray[np.int64] | None = None) -> Split:
    """Images as a split."""
    groups = tuple(image.group for image in images if image.group is not None)
    folds = tuple(image.fold for image in images if image.fold is not None)
    return Split(
        ids=tuple(image.id for image in images),
        hashes=tuple(image.content_hash for image in images),
        usable=np.array([image.usable for image in images], dtype=bool),
        labels=labels,
        groups=groups or None,
        folds=folds or None,
    )


def block_reader(parts: Sequence[Part], merged: Contents, origins: dict[str, npt.NDArray[np.int64]]) -> ReadBlock:
    """Reads rows of the merged file from the inputs they come from."""

    def read_block(images: slice, split: Split, views: Sequence[str]) -> Vectors:
        origin = origins["train" if split is merged.train else "test"][images]
        ids, hashes, usable = np.array(split.ids[images]), np.array(split.hashes[images]), split.usable[images]
        out: Vectors = np.zeros((len(origin), len(views), merged.dim), dtype=merged.spec.storage_dtype)
        for number in np.unique(origin).tolist():
            here = np.flatnonzero(origin == number)
            wanted = Split(tuple(ids[here].tolist()), tuple(hashes[here].tolist()), usable[here])
            out[here] = parts[number].rows.read_block(slice(None), wanted, views)
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
