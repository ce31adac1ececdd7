"""What the feature file will hold, which rows of that are missing, and whether anything changes at all."""

from __future__ import annotations

from pathlib import Path

from frozenprobe.cache.pieces import RowStore
from frozenprobe.cache.store import Contents, Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.inspection import Inspected
from frozenprobe.extract.loader import Job, augmented_name
from frozenprobe.extract.target import Target


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


def require_same_set(images: Inspected, existing: Features | None, out: Path) -> int:
    """How many images leave the file because they are no longer there.

    Raises:
        FrozenprobeError: all of them would: this is another set of images, and the file was paid for.
    """
    if existing is None:
        return 0
    there = set(images.train.hashes)
    gone = sum(content_hash not in there for content_hash in existing.train.hashes)
    if gone == len(existing.train):
        raise FrozenprobeError(
            "The training images that the existing feature file was made of, or some of them",
            found="none of them: these are other images",
            where=out,
            remedy="name another file for them with --out FILE (or remove this one)",
        )
    return gone


def missing_jobs(contents: Contents, images: Inspected, rows: RowStore) -> list[Job]:
    """For every image content its views that are nowhere yet, in the order of the images.

    Raises:
        FrozenprobeError: rows are missing of test images that this command was not told of.
    """
    missing = {
        content_hash: tuple(name for name in names if (content_hash, name) not in rows)
        for content_hash, names in contents.rows().items()
    }
    missing = {content_hash: names for content_hash, names in missing.items() if names}
    lost = [content_hash for content_hash in missing if content_hash not in images.paths]
    if lost:
        raise FrozenprobeError(
            "The test images, to compute a view of them that the file does not have",
            found="no test folder",
            where="--test",
            remedy="name the folder with --test DIR",
        )
    return [Job(images.paths[content_hash], content_hash, names) for content_hash, names in missing.items()]


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
