"""What a user should know about images, classes and views before believing a number."""

from __future__ import annotations

from frozenprobe.cache.store import Features
from frozenprobe.errors import some
from frozenprobe.probe.heads import Ints
from frozenprobe.probe.options import HEADS, ProbeOptions
from frozenprobe.probe.views import Views


def make_notes(features: Features, options: ProbeOptions, unscored: Ints, views: Views, *, torn: int) -> list[str]:
    """What the user should know about images, classes and views.

    Args:
        features: an opened feature file.
        options: of the probe.
        unscored: classes that are not scored.
        views: which views were used for what.
        torn: clusters (copies of an image, groups) that the user's fold column splits between folds.
    """
    split, notes = features.train, []
    if len(unscored):
        names = some(features.class_names[label] for label in unscored)
        notes.append(
            f"{len(unscored)} classes are trained on but not scored, their images all fall in one fold: {names}"
        )
    copies = len(split) - len(set(split.hashes))
    if copies:
        notes.append(
            f"{copies} training images are copies of others, byte for byte"
            + ("" if torn else "; copies stay in one fold")
        )
    contents = set(split.hashes)
    labelled = set(zip(split.hashes, [] if split.labels is None else split.labels.tolist(), strict=True))
    if len(labelled) > len(contents):
        notes.append(f"{len(labelled) - len(contents)} of these copies lie in another class: their labels contradict")
    if features.test is not None:
        seen = [name for name, code in zip(features.test.ids, features.test.hashes, strict=True) if code in contents]
        if seen:
            notes.append(f"{len(seen)} test images are training images, byte for byte: {some(seen)}")
        bad = [name for name, good in zip(features.test.ids, features.test.usable, strict=True) if not good]
        if bad:
            notes.append(f"{len(bad)} test images could not be decoded and are answered by class shares: {some(bad)}")
    if split.groups is not None:
        notes.append(f"{len(set(split.groups))} groups" + ("" if torn else "; no group is split between folds"))
    if split.folds is not None and options.folds is None:
        notes.append("folds are those of the fold column")
    if torn:
        notes.append(
            f"the fold column splits {torn} clusters (copies of one image, or a group) between folds: held-out images "
            "were in part trained on, and the scores are too high"
        )
    if options.head in HEADS and HEADS[options.head].augmented_only:
        answer = ", ".join(features.test_views[index] for index in views.answer)
        notes.append(f"trained on augmented views only; test images answered on {answer}")
    return notes
