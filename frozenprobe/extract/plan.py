"""What the feature file will hold, and which rows of that are missing."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.extract.inspect import Inspected
from frozenprobe.extract.target import Target
from frozenprobe.extract.views.cut import Job, augmented_name


def plan_contents(target: Target, images: Inspected) -> Contents:
    """What the file will hold; taps and facts as in the existing or begun file, if there is one."""
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


def require_same_set(
    images: Inspected, existing: Contents | None, out: Path, *, drop_missing: bool = False, limited: bool = False
) -> int:
    """How many images leave the finished or begun file because they are no longer there.

    Args:
        images: what is there.
        existing: what the file holds or was going to hold.
        out: the file.
        drop_missing: let more than half of them leave.
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
        if others or (gone and limited) or (len(gone) > len(before) / 2 and not drop_missing):
            way = " (or remove this one and the folder of pieces beside it)" if others else ", or add --drop-missing"
            raise FrozenprobeError(
                f"The {what} images that the existing feature file was made of (or is being made of), or most of them",
                found="none of them: these are other images" if others else f"{len(gone)} missing: {some(gone)}",
                where=out,
                remedy="run without --limit" if limited else "name another file for these with --out FILE" + way,
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
