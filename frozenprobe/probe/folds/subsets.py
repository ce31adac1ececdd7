"""Nested subsets of the training images for a learning curve: the first few of each class in a drawn order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.folds.deal import cluster_key, split_by

MOST_DRAWS = 5
FEW = 2  # clusters of a class to train on
NEARLY_ALL = 0.75  # a size above this share of all training images would repeat the point with all


def draw_order(clusters: Ints, hashes: Sequence[str], *, seed: int, draw: int) -> Ints:
    """`(N,)` place of each image's cluster in an order that is drawn from seed, draw and content, not from their order.

    Args:
        clusters: `(N,)` images that belong together (copies, groups).
        hashes: content hash of each image.
        seed: of all draws.
        draw: number of the draw.
    """
    keys = [min(cluster_key(f"{draw} {hashes[image]}", seed) for image in images) for images in split_by(clusters)]
    place = np.empty(len(keys), dtype=np.int64)
    place[sorted(range(len(keys)), key=lambda cluster: keys[cluster])] = np.arange(len(keys))
    return place[clusters]


def first_of_each_class(images: Ints, labels: Ints, order: Ints, size: int) -> Ints:
    """Those of `images` in the first `size` clusters of their class; a smaller class keeps all it has.

    A larger size keeps what a smaller one does.

    Args:
        images: indices to choose from.
        labels: `(N,)`.
        order: `(N,)` place of each image's cluster.
        size: clusters of a class at most, from 1 on.
    """
    unit_of, place, _ = places_in_classes(images, labels, order)
    chosen: Ints = images[(place < size)[unit_of]]
    return chosen


def places_in_classes(images: Ints, labels: Ints, order: Ints) -> tuple[Ints, Ints, Ints]:
    """The pairs of a class and one of its clusters: `(n,)` the pair of each image; of each its place, and how many."""
    many = int(order.max()) + 1
    unit, unit_of = np.unique(labels[images] * many + order[images], return_inverse=True)
    label = unit // many
    first, last = np.searchsorted(label, label), np.searchsorted(label, label, side="right")
    return unit_of, np.arange(len(unit)) - first, last - first


def half_of_each_class(images: Ints, labels: Ints, order: Ints) -> Ints:
    """Those of `images` in the first half of the clusters of their class, rounded up.

    Args:
        images: indices to choose from.
        labels: `(N,)`.
        order: `(N,)` place of each image's cluster.
    """
    chosen, place, count = places_in_classes(images, labels, order)
    half: Ints = images[(2 * place < count)[chosen]]
    return half


def training_counts(labels: Ints, clusters: Ints, folds: Ints) -> Ints:
    """Clusters of each class outside each fold: one number for every pair of a fold and a class it can train on."""
    many, counts = int(clusters.max()) + 1, []
    for fold in range(int(folds.max()) + 1):
        kept = folds != fold
        counts.append(np.bincount(np.unique(labels[kept] * many + clusters[kept]) // many))
    together = np.concatenate(counts)
    return together[together > 0]


def typical(counts: Ints, most: int | None = None) -> float:
    """Geometric mean of the counts, each at most `most`: twice the images of every class double it.

    One class of thousands among many of ten hardly moves it, as it hardly moves the accuracy.
    """
    mean = np.exp(np.log(counts if most is None else np.minimum(counts, most)).mean())
    return round(float(mean), 9)  # the mean of 8 and 8 is 8


def learns_from_few(labels: Ints, clusters: Ints, folds: Ints) -> bool:
    """Whether a typical class has two clusters or fewer to train on without a fold."""
    return typical(training_counts(labels, clusters, folds)) <= FEW


def subset_sizes(counts: Ints) -> list[int]:
    """1, 2, 4, 8 ... images a class, as long as they leave out a good part of the training images."""
    powers = (2**power for power in range(int(counts.max()).bit_length()))
    return [size for size in powers if typical(counts, size) <= NEARLY_ALL * typical(counts)]


def draws_of(size: int, counts: Ints) -> int:
    """How often to draw `size` images a class: as often as training once with all of them pays for, at most 5 times."""
    return min(int(counts.sum() // np.minimum(counts, size).sum()), MOST_DRAWS)
