"""Before the hours are spent: every image hashed and checked, bad ones named at once, and what the file will hold."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.paths import pieces_folder
from frozenprobe.cache.store import Features
from frozenprobe.errors import ImageError, UnreadableImage, some
from frozenprobe.extract.options import ExtractRequest, FeatureOptions
from frozenprobe.extract.ranks.checked import inspect_together
from frozenprobe.extract.ranks.rank import ALONE, Rank, own_cores
from frozenprobe.extract.target import Target
from frozenprobe.extract.views.cut import augmented_name
from frozenprobe.extract.views.decode import check_image
from frozenprobe.images.places import Place, read_image
from frozenprobe.images.read import read_images
from frozenprobe.images.table import ImageTable, limit_training
from frozenprobe.system.csv_tables import Table
from frozenprobe.system.progress import Progress

log = logging.getLogger("frozenprobe")

QUEUED = 1000  # images


@dataclass(frozen=True)
class Inspected:
    """The images, hashed and checked, as the feature file will list them.

    Attributes:
        train: N images.
        test: M images or None.
        class_names: C names.
        sample: the sample submission or None.
        places: where an image of each content hash lies.
        skipped: bad images, as id and reason.
        missing: names of training images that were listed, but are not there.
    """

    train: Split
    test: Split | None
    class_names: tuple[str, ...]
    sample: Table | None
    places: dict[str, Place]
    skipped: list[str]
    missing: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Training and test images."""
        return len(self.train) + len(self.test or ())

    def rows(self, settled: FeatureOptions) -> int:
        """Views of all images at hand; copies of an image share theirs."""
        return len(self.places) * len(settled.test_views) + len(set(self.train.hashes)) * settled.views


def inspect(request: ExtractRequest, target: Target, progress: Progress, rank: Rank = ALONE) -> Inspected:
    """Read the tables, hash every image, and stop at bad ones; ranks share the work.

    Raises:
        ImageError: images that cannot be decoded, all of them named at once.
    """
    train, test, sample = read_images(request.sources)
    announce_images(train, test)
    train, test = limited(train, test, request.limit, target.existing)
    if request.limit is not None:
        log.info("of these for the smoke run: %s", describe_images(train, test))
    places = train.places + (test.places if test is not None else ())
    hashes, bad = check_images(places, request, target, progress, rank)
    for table, what in ((train, "training"), (test, "test")):
        if table is not None:
            stop_at_bad(table, bad, known_ids(target.existing, what), what=what, skip=request.skip_bad)
    hash_of = dict(zip(places, hashes, strict=True))
    kept = train.take([row for row, place in enumerate(train.places) if place not in bad])
    gone = sorted(set(train.class_names) - set(kept.class_names))
    if gone:
        log.warning("no usable image is left of %d classes, which are left out: %s", len(gone), some(gone))
    if len(kept.class_names) < 2:
        raise all_bad(list(bad.values()), "training")
    old = target.before
    if old is not None:
        kept = keep_columns(kept, old, request, target.out)
    return Inspected(
        train=make_split(kept, hash_of, bad),
        test=make_split(test, hash_of, bad) if test is not None else (old.test if old else None),
        class_names=kept.class_names,
        sample=sample or (old.sample if old else None),
        places={hash_of[place]: place for place in places if place not in bad},
        skipped=[f"{place}: {error.found}" for place, error in bad.items()],
        missing=train.missing,
    )


def check_images(
    places: tuple[Place, ...], request: ExtractRequest, target: Target, progress: Progress, rank: Rank
) -> tuple[list[str], dict[Place, ImageError]]:
    """Content hash of every image, and what is wrong with bad ones; where nothing is to be seen, it is said."""
    known = {
        name
        for before in (target.existing, target.begun)
        for _, split, _ in (before.splits if before else [])
        for name, good in zip(split.hashes, split.usable, strict=True)
        if good
    }
    side, threads = target.info.size or 512, own_cores()
    remarks: dict[str, list[Place]] = {}

    def check(part: Sequence[Place], done: int) -> tuple[list[str], dict[Place, ImageError]]:
        return inspect_images(
            part,
            remarks=remarks,
            known=known,
            side=side,
            max_pixels=request.max_pixels,
            threads=threads,
            progress=lambda stage, number, _: progress(stage, done + number, len(places)),
        )

    if rank.is_alone:
        hashes, bad = check(places, 0)
    else:
        conditions = f"{side} {request.max_pixels}"
        folder = pieces_folder(target.out)
        hashes, bad = inspect_together(places, check, folder=folder, rank=rank, conditions=conditions, threads=threads)
    for remark, those in remarks.items():
        counted = f"{len(those):,} image{'s' * (len(those) != 1)}"
        log.warning("next to nothing is to be seen in %s (%s): %s", counted, remark, some(those))
    return hashes, bad


def announce_images(train: ImageTable, test: ImageTable | None) -> None:
    """Say what was found, before any of it is opened, and what looks odd about it."""
    log.info("images: %s", describe_images(train, test))
    single = [name for name, count in zip(train.class_names, class_sizes(train), strict=True) if count == 1]
    if single:
        log.warning("classes of one image, which cannot be scored: %s", some(single))
    both = sorted(map(str, set(train.places) & set(test.places))) if test is not None else []
    if both:
        text = "%d test images are training images, too: does --test name a folder around both? (%s)"
        log.warning(text, len(both), some(both))
    folders = {name.partition("/")[0] for name in test.ids if "/" in name} if test is not None else set()
    same = sorted(folders & set(train.class_names))
    if len(same) > 1:
        text = (
            "test images lie in folders named like classes (%s): their ids keep the folder, no label is taken from it"
        )
        log.info(text, some(same))


def describe_images(train: ImageTable, test: ImageTable | None) -> str:
    """How many there are, and of how many classes."""
    sizes = class_sizes(train)
    least, most = int(sizes.argmin()), int(sizes.argmax())
    each = f"{sizes[least]:,} each"
    if sizes[least] < sizes[most]:
        names = train.class_names
        each = f"from {sizes[least]:,} ({names[least]}) to {sizes[most]:,} ({names[most]})"
    tested = f"{len(test):,} test" if test is not None else "no test images"
    return f"{len(train):,} training in {len(sizes):,} classes, {each}; {tested}"


def class_sizes(table: ImageTable) -> npt.NDArray[np.int64]:
    """`(C,)` images of each class."""
    return np.bincount(table.labels if table.labels is not None else [], minlength=len(table.class_names))


def stop_at_bad(table: ImageTable, bad: dict[Place, ImageError], paid_for: set[str], *, what: str, skip: bool) -> None:
    """Refuse bad images, or, where they may be skipped, those whose rows are paid for and that cannot be read just now.

    Raises:
        ImageError: names all of them at once.
    """
    errors = [(name, bad[place]) for name, place in zip(table.ids, table.places, strict=True) if place in bad]
    lost = [error for name, error in errors if not skip or (name in paid_for and isinstance(error, UnreadableImage))]
    if lost:
        raise all_bad(lost, what)


def planned_contents(target: Target, images: Inspected) -> Contents:
    """What the feature file will hold; taps and facts as in the existing or begun file, if there is one."""
    before = target.before
    augmented = tuple(augmented_name(view) for view in range(1, target.settled.views + 1))
    return Contents(
        spec=target.spec,
        taps=before.taps if before else (),
        test_views=target.settled.test_views,
        augmented_views=augmented,
        class_names=images.class_names,
        train=images.train,
        test=images.test,
        sample=images.sample,
        about=before.about if before else {},
    )


def known_ids(existing: Features | None, what: str) -> set[str]:
    """Ids of the images in the existing file: one that cannot be read for a moment must not cost its rows."""
    split = None if existing is None else existing.train if what == "training" else existing.test
    return set(split.ids) if split is not None else set()


def keep_columns(table: ImageTable, old: Contents, request: ExtractRequest, where: Path) -> ImageTable:
    """The table with the existing file's groups and folds, where the command names no column for them.

    Raises:
        ImageError: an image that the file has no group or fold for.
    """
    typed, before = request.sources.columns, old.train
    return replace(
        table,
        groups=table.groups if typed.group else kept_column("group", table, old, before.groups, where),
        folds=table.folds if typed.fold else kept_column("fold", table, old, before.folds, where),
    )


def kept_column(
    name: str, table: ImageTable, old: Contents, before: tuple[str, ...] | None, where: Path
) -> tuple[str, ...] | None:
    """The existing file's groups or folds of the images in a table; None if it has none."""
    if before is None:
        return None
    known = dict(zip(old.train.ids, before, strict=True))
    unknown = [image for image in table.ids if image not in known]
    if unknown:
        raise ImageError(
            f"A {name} for every image, as the existing feature file has",
            found=f"none for {some(unknown)}",
            where=where,
            remedy=f"name the column with --{name}-column NAME (and the CSV with --train-csv FILE)",
        )
    log.info("%ss are those of the existing feature file", name)
    return tuple(known[image] for image in table.ids)


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


def make_split(table: ImageTable, hashes: dict[Place, str], bad: dict[Place, ImageError]) -> Split:
    """A split of the feature file from a table of images."""
    return Split(
        ids=table.ids,
        hashes=tuple(hashes[place] for place in table.places),
        usable=np.array([place not in bad for place in table.places], dtype=bool),
        labels=table.labels,
        groups=table.groups,
        folds=table.folds,
    )


def inspect_images(
    places: Sequence[Place],
    *,
    remarks: dict[str, list[Place]],
    known: Container[str],
    side: int,
    max_pixels: int,
    threads: int,
    progress: Progress,
) -> tuple[list[str], dict[Place, ImageError]]:
    """SHA-256 of each image's bytes (empty for one that cannot be read), and the images that cannot be used.

    Args:
        places: the images.
        remarks: images of which nothing will be seen are added here, by what `check_image` says of them.
        known: hashes of images that have been decoded before; they are not decoded again.
        side: short side in px that images are resized to.
        max_pixels: width x height allowed.
        threads: Pillow decodes outside Python's lock, so threads share the work.
        progress: called after every image.
    """

    def inspect(place: Place) -> tuple[str, str, ImageError | None]:
        content_hash = remark = ""
        try:
            content = read_image(place)
            content_hash = hashlib.sha256(content).hexdigest()
            if content_hash not in known:
                remark = check_image(content, place, side=side, max_pixels=max_pixels)
        except ImageError as error:
            return content_hash, "", error
        return content_hash, remark, None

    hashes: list[str] = []
    bad: dict[Place, ImageError] = {}
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(places), QUEUED):  # a pool keeps 2 kB for every image that waits
            queued = places[start : start + QUEUED]
            for place, (content_hash, remark, error) in zip(queued, pool.map(inspect, queued), strict=True):
                hashes.append(content_hash)
                if error is not None:
                    bad[place] = error
                if remark:
                    remarks.setdefault(remark, []).append(place)
                progress("checking images", len(hashes), len(places))
    return hashes, bad


def all_bad(errors: Sequence[ImageError], what: str) -> ImageError:
    """One error for all bad images: the first in full, the names of the next, and how many there are."""
    first, *rest = errors
    told = [f"{error.where}{'' if sort_of(error) == sort_of(first) else f' ({error.found})'}" for error in rest]
    others = f"; and {len(rest)} more: {some(told)}" if rest else ""
    return ImageError(f"Whole {what} images", found=f"{first.found}{others}", where=first.where, remedy=first.remedy)


def sort_of(error: ImageError) -> str:
    """What is wrong with an image, without its numbers."""
    return error.found.partition(":")[0].partition("(")[0]
