"""Image-grouped, class-stratified folds: what must not be split between folds is one cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Ints

NEVER = -1  # the fold of images that are trained on in every fold, and never held out


def cluster_images(hashes: Sequence[str], groups: Sequence[str] | None) -> Ints:
    """`(N,)` cluster of each image: images of equal content or equal group belong together, transitively.

    Args:
        hashes: content hash of each image.
        groups: patient, site, session ... of each image, or None.
    """
    return unite_images(hashes, groups).clusters()


def unite_images(hashes: Sequence[str], groups: Sequence[str] | None) -> Union:
    """The sets of images of equal content or group, to which more may be joined; arguments as of `cluster_images`."""
    union = Union(len(hashes))
    for column in (hashes, groups) if groups is not None else (hashes,):
        first: dict[str, int] = {}
        for image, value in enumerate(column):
            union.join(first.setdefault(value, image), image)
    return union


class Union:
    """Disjoint sets of images, joined two at a time, that know their members.

    Args:
        count: of the images; each starts alone.

    Attributes:
        sets: of each image the images that belong with it, itself included: one list, shared by all its members.
    """

    def __init__(self, count: int) -> None:
        self.sets = [[image] for image in range(count)]

    def join(self, one: int, other: int) -> None:
        """Make one set of two. The smaller is moved into the larger, so an image moves at most log2(count) times."""
        small, large = sorted((self.sets[one], self.sets[other]), key=len)
        if small is not large:
            large += small
            for image in small:
                self.sets[image] = large

    def clusters(self) -> Ints:
        """`(count,)` number of each image's set, in the order of their first images."""
        number: dict[int, int] = {}
        return np.array([number.setdefault(id(each), len(number)) for each in self.sets], dtype=np.int64)


def assign_folds(labels: Ints, clusters: Ints, hashes: Sequence[str], *, folds: int, seed: int) -> Ints:
    """`(N,)` fold of each image, 0 to folds - 1.

    Clusters are dealt out, larger ones first, then class by class, otherwise in an order drawn from the seed and their
    content: each goes to the fold that has the smallest share of the cluster's classes so far, then the fewest images.
    Without groups and copies, folds differ by at most one image, also in each class. The result depends neither on the
    order of the images nor on the order or names of the classes.

    Args:
        labels: `(N,)` class of each image.
        clusters: `(N,)` cluster of each image.
        hashes: content hash of each image.
        folds: K, at least 2.
        seed: of the drawn order.

    Raises:
        FrozenprobeError: fewer than two folds, or fewer clusters than folds.
    """
    count = int(clusters.max()) + 1
    if count < 2:
        raise FrozenprobeError(
            "At least two different images, or groups of images", found="one", where="--train", remedy="add images"
        )
    if not 2 <= folds <= count:
        raise FrozenprobeError(
            f"2 to {count} folds (there are {count} different images or groups of images)",
            found=str(folds),
            where="--folds",
            remedy="choose a number in this range",
        )
    members = split_by(clusters)
    keys = [min(cluster_key(hashes[image], seed) for image in images) for images in members]
    first: dict[int, bytes] = {}  # the smallest key in each class: an order of classes that knows no names
    for key, images in zip(keys, members, strict=True):
        for label in labels[images].tolist():
            first[label] = min(key, first.get(label, key))
    class_key = [min(first[label] for label in labels[images].tolist()) for images in members]
    order = sorted(range(count), key=lambda cluster: (-len(members[cluster]), class_key[cluster], keys[cluster]))
    per_class = np.bincount(labels)
    shares = np.zeros((folds, len(per_class)))
    sizes = np.zeros(folds)
    fold_of = np.empty(len(labels), dtype=np.int64)
    for cluster in order:
        images = members[cluster]
        classes, times = np.unique(labels[images], return_counts=True)
        burden = (shares[:, classes] * (times / per_class[classes])).sum(axis=1).round(9)
        fold = int(np.lexsort((sizes, burden))[0])
        shares[fold, classes] += times / per_class[classes]
        sizes[fold] += len(images)
        fold_of[images] = fold
    return fold_of


def folds_from_column(column: Sequence[str]) -> Ints:
    """`(N,)` fold of each image from the user's own names of folds, numbered in sorted order.

    -1 stays -1: always trained on, never held out, as in scikit-learn's PredefinedSplit. Beside such images one fold is
    enough.

    Raises:
        FrozenprobeError: fewer than two different folds.
    """
    names = sorted(set(column))
    number = {name: place for place, name in enumerate(name for name in names if not is_never_held_out(name))}
    if len(names) < 2 or not number:
        raise FrozenprobeError(
            "At least two different folds in the fold column, and one that is not -1 (trained on, never scored)",
            found=f"only {', '.join(map(repr, names))}",
            where="the fold column of the CSV",
            remedy="fill the column, or leave it out: extract without --fold-column, or probe --folds 5",
        )
    return np.array([number.get(name, NEVER) for name in column], dtype=np.int64)


def is_never_held_out(name: str) -> bool:
    """Whether a fold's name is -1, however a spreadsheet writes it: `-1.0`, ` -1`."""
    try:
        return float(name) == NEVER
    except ValueError:
        return False


def unscored_classes(labels: Ints, folds: Ints) -> Ints:
    """Classes that some fold would have to predict without having seen one image of them (all in one cluster, say)."""
    tested = folds != NEVER
    held = np.zeros((int(labels.max()) + 1, int(folds.max()) + 1), dtype=np.int64)
    np.add.at(held, (labels[tested], folds[tested]), 1)
    return np.flatnonzero(held.max(axis=1) == np.bincount(labels))


def split_clusters(clusters: Ints, folds: Ints) -> Ints:
    """Clusters with images in more than one fold: `assign_folds` leaves none, a user's own folds may."""
    places = np.unique(np.stack([clusters, folds]), axis=1)
    return np.flatnonzero(np.bincount(places[0]) > 1)


def split_by(clusters: Ints) -> list[Ints]:
    """The images of each cluster."""
    order = np.argsort(clusters, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)


def cluster_key(content_hash: str, seed: int) -> bytes:
    """Where an image stands in the drawn order."""
    return hashlib.sha256(f"{seed} {content_hash}".encode()).digest()
