"""What a user should know about images, classes and views before believing a number."""

from __future__ import annotations

import math

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.errors import some
from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.folds.deal import NEVER
from frozenprobe.probe.folds.duplicates import Clusters
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import ProbeOptions

GUESSED = 0.05  # probability from which an accuracy is called chance


def make_notes(
    features: Features, options: ProbeOptions, unscored: Ints, views: Views, *, folds: Ints, torn: int
) -> list[str]:
    """What the user should know about images, classes and views.

    Args:
        features: an opened feature file.
        options: of the probe.
        unscored: classes that are not scored.
        views: which views were used for what.
        folds: `(N,)`.
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
        owner = dict(zip(reversed(split.hashes), reversed(split.ids), strict=True))
        tested = zip(features.test.ids, features.test.hashes, strict=True)
        seen = [f"{name} ({owner[code]})" for name, code in tested if code in contents]
        if seen:
            notes.append(f"{len(seen)} test images are training images, byte for byte: {some(seen)}")
        bad = [name for name, good in zip(features.test.ids, features.test.usable, strict=True) if not good]
        if bad:
            notes.append(f"{len(bad)} test images could not be decoded and are answered by class shares: {some(bad)}")
    if split.groups is not None:
        notes.append(f"{len(set(split.groups))} groups" + ("" if torn else "; no group is split between folds"))
    if split.folds is not None and options.folds is None:
        notes.append("folds are those of the fold column")
    if (folds == NEVER).any() and split.labels is not None:
        absent = np.setdiff1d(split.labels, split.labels[folds != NEVER])
        notes.append(
            f"{(folds == NEVER).sum()} training images have fold -1: trained on in every fold, never scored"
            + (
                f"; no image is scored of {some(features.class_names[label] for label in absent)}"
                if len(absent)
                else ""
            )
        )
    if torn:
        notes.append(
            f"the fold column splits {torn} clusters (copies or near duplicates, or a group) between folds: held-out "
            "images were in part trained on, and the scores are too high"
        )
    if options.head in HEADS and HEADS[options.head].augmented_only:
        predicted_on = ", ".join(features.test_views[index] for index in views.test)
        notes.append(f"trained on augmented views only; test images answered on {predicted_on}")
    return notes


def note_guessing(predicted: Ints, labels: Ints, clusters: Ints, *, scale: str | None) -> list[str]:
    """That out-of-fold predictions are no better than guesses, if they are not; else nothing.

    Args:
        predicted: `(n,)` of the scored images.
        labels: `(n,)`.
        clusters: `(n,)` images that belong together.
        scale: the scaling.
    """
    chance = float((np.bincount(labels, minlength=int(predicted.max()) + 1) / len(labels))[predicted].mean())
    accuracy = float((predicted == labels).mean())
    sizes = np.bincount(clusters).astype(np.float64)  # images of a cluster are right or wrong together
    error = math.sqrt(chance * (1 - chance) * np.square(sizes).sum()) / sizes.sum()
    p_value = math.erfc((accuracy - chance) / (math.sqrt(2) * error)) / 2 if error else 1.0
    if p_value <= GUESSED:
        return []
    return [
        f"NO BETTER THAN GUESSING: {accuracy:.1%} right out of fold, where {chance:.1%} would be if these "
        f"predictions had nothing to do with the images (p = {p_value:.2f}): the head has learned nothing that "
        "shows" + ("; it may be the size of the features: try --scale standard" if scale == "none" else "")
    ]


def note_duplicates(features: Features, found: Clusters, *, torn: int) -> list[str]:
    """What the user should know about images that are nearly, but not byte for byte, the same.

    Args:
        features: an opened feature file with labels.
        found: its clusters.
        torn: clusters that the user's fold column splits between folds.
    """
    split, names, notes = features.train, features.class_names, []
    if len(found.pairs):
        notes.append(
            f"{len(np.unique(found.pairs))} training images have near duplicates (a cosine of {found.threshold:.3f} or "
            "more between clean features)" + ("" if torn else "; near duplicates stay in one fold")
        )
    if found.threshold is not None and found.reach is not None and found.reach < found.threshold and not torn:
        notes.append(
            f"different images are as close as changed copies: a copy may have a cosine of {found.reach:.3f}, but only "
            f"{found.threshold:.6f} or more counts, so copies may lie in two folds; name series of photos with "
            "extract --group-column, or a cosine with --near-duplicates"
        )
    labels = np.zeros(len(split), dtype=np.int64) if split.labels is None else split.labels
    across = np.flatnonzero(labels[found.pairs[:, 0]] != labels[found.pairs[:, 1]])
    if len(across):
        examples = some(
            f"{split.ids[one]} ({names[labels[one]]}) and {split.ids[other]} ({names[labels[other]]})"
            for one, other in found.pairs[across].tolist()
        )
        notes.append(
            f"{len(across)} pairs of near duplicates lie in two classes, their labels may contradict: {examples}"
        )
    if len(found.apart) and not torn:
        notes.append(
            f"near duplicates of {len(found.apart)} classes do not stay in one fold, as it would hold all images of "
            f"the class; their scores are too high: {some(names[label] for label in found.apart)}"
        )
    if found.chained and not torn:
        notes.append(
            f"{found.chained} pairs of near duplicates may lie in two folds, at the ends of chains that reach further "
            "than copies of one image do"
        )
    if len(found.overlap) and features.test is not None:
        test = features.test.ids
        pairs = zip(found.overlap.tolist(), found.overlap_cosine, strict=True)
        examples = some(f"{test[one]} ({split.ids[other]}, {cosine:.3f})" for (one, other), cosine in pairs)
        notes.append(f"{len(found.overlap)} test images are near duplicates of training images: {examples}")
    return notes
