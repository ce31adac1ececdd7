"""Near duplicates: pairs of images whose clean features are as close as those of a trivially changed copy.

clean (and hflip) features -> choose_threshold (threshold.py) -> near_duplicates -> clusters that folds must not split
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from frozenprobe.cache.contents import Split
from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats, Ints, count_parts
from frozenprobe.probe.folds.deal import Union, cluster_images, unite_images
from frozenprobe.probe.folds.threshold import Threshold, choose_threshold
from frozenprobe.probe.heads.parts.cosines import ROUNDING, search_pairs
from frozenprobe.probe.heads.parts.scaling import normalise
from frozenprobe.probe.inputs import read_finite
from frozenprobe.probe.options import ProbeOptions

MOST_PAIRS = 2_000_000

NO_PAIRS: Ints = np.zeros((0, 2), dtype=np.int64)
NO_COSINE: Floats = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Clusters:
    """Which training images belong together, and what is nearly the same in the two splits.

    Attributes:
        clusters: `(N,)` images of one number must not be split between folds.
        threshold: cosine from which two images count as near duplicates; None: not looked for.
        reach: the cosine that a trivially changed copy may have: lower than the threshold, where so many different
            photos are as near that the two cannot be told apart; None: not looked for.
        pairs: `(P, 2)` training images that are near duplicates and differ in content, the most similar first; an image
            that is there several times, byte for byte, is named once.
        cosine: `(P,)`.
        apart: classes whose near duplicates are not kept together: all their images would be one cluster, and none
            could be scored.
        chained: pairs whose images are in two clusters, as their chain of pairs reached further than copies do.
        overlap: `(Q, 2)` test image and its nearest training image, where that is a near duplicate that differs in
            content.
        overlap_cosine: `(Q,)`.
    """

    clusters: Ints
    threshold: float | None = None
    reach: float | None = None
    pairs: Ints = field(default_factory=lambda: NO_PAIRS)
    cosine: Floats = field(default_factory=lambda: NO_COSINE)
    apart: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    chained: int = 0
    overlap: Ints = field(default_factory=lambda: NO_PAIRS)
    overlap_cosine: Floats = field(default_factory=lambda: NO_COSINE)


def find_clusters(features: Features, options: ProbeOptions) -> Clusters:
    """Clusters of training images by content, group and near duplicates; and near duplicates among the test images.

    The result depends neither on the order of the images nor on that of the classes: everything is computed on the
    different contents, in the order of their hashes.

    Args:
        features: an opened feature file with labels.
        options: `near_duplicates` says from which cosine on; `views`, `head` and the like change nothing.

    Raises:
        FrozenprobeError: a cosine out of range, or features that are not finite.
    """
    wanted, train = options.near_duplicates, features.train
    if wanted is not None and not 0 <= wanted <= 1:
        raise FrozenprobeError(
            "auto, off, or a cosine above 0 up to 1",
            found=str(wanted),
            where="--near-duplicates",
            remedy="leave it out for auto; the notes name examples with their cosines",
        )
    if train.labels is None or wanted == 0:
        return Clusters(cluster_images(train.hashes, train.groups))
    images = different_contents(train.hashes, train.ids)
    unit = normalise(read_finite(features, "train", (0,))[images, 0])
    if wanted is None:
        chosen = choose_threshold(unit, train.labels[images], read_mirrored(features, images))
    else:
        chosen = Threshold(cosine=wanted, reach=wanted)
    rows, cosine = near_duplicates(unit, chosen.cosine)
    found = Pairs(images, unit, rows, chosen.cosine)
    clusters, apart, chained = join_pairs(train, train.labels, found)
    overlap, overlap_cosine = find_overlap(features, found)
    return Clusters(
        clusters, chosen.cosine, chosen.reach, images[rows], cosine, apart, chained, overlap, overlap_cosine
    )


def read_mirrored(features: Features, images: Ints) -> Floats | None:
    """`(n, D)` features of length 1 of the mirrored view; None if it is not stored."""
    if "hflip" not in features.test_views:
        return None
    return normalise(read_finite(features, "train", (features.test_views.index("hflip"),))[images, 0])


def near_duplicates(clean: Floats, threshold: float) -> tuple[Ints, Floats]:
    """All pairs of rows with a cosine from `threshold` on, the most similar first; equal ones in the order of the rows.

    Memory is bounded: a block of cosines at a time, and where there are more than `MOST_PAIRS` only the most similar.

    Args:
        clean: `(N, D)`.
        threshold: above 0 up to 1.

    Returns:
        `(P, 2)` pairs of rows, the smaller first; `(P,)` their cosines.
    """
    unit = normalise(clean)
    search = search_pairs(unit, unit)
    pairs, cosine = NO_PAIRS, NO_COSINE
    lowest = threshold - ROUNDING
    for block in search.blocks():
        more, their = search.above(block, lowest)
        pairs, cosine = np.concatenate([pairs, more]), np.concatenate([cosine, their])
        if len(pairs) > MOST_PAIRS:
            lowest = float(np.partition(cosine, -MOST_PAIRS)[-MOST_PAIRS])
            pairs, cosine = pairs[cosine >= lowest], cosine[cosine >= lowest]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -cosine))
    return pairs[order], np.minimum(cosine[order], 1)


def different_contents(hashes: tuple[str, ...], ids: tuple[str, ...]) -> Ints:
    """One image of each content, in the order of the hashes: of copies the one with the smallest id."""
    order = sorted(range(len(hashes)), key=lambda image: (hashes[image], ids[image]), reverse=True)
    return np.array(sorted({hashes[image]: image for image in order}.values(), key=lambda image: hashes[image]))


@dataclass(frozen=True)
class Pairs:
    """Near duplicates among the different contents of the training images.

    Attributes:
        images: `(n,)` the image of each content.
        unit: `(n, D)` clean features of length 1.
        rows: `(P, 2)` of `unit`, the most similar first.
        threshold: cosine from which they count.
    """

    images: Ints
    unit: Floats
    rows: Ints
    threshold: float


def join_pairs(split: Split, labels: Ints, found: Pairs) -> tuple[Ints, Ints, int]:
    """Clusters of content, group and near duplicates; classes whose pairs are left apart; pairs that chains left apart.

    A class that near duplicates alone would make one cluster could not be scored: then all pairs with an image of it
    are left apart. Joining less may make other joins possible, so this is repeated until no class is lost.
    """
    before = count_parts(cluster_images(split.hashes, split.groups), labels)
    content = np.unique(np.array(split.hashes), return_inverse=True)[1]  # of each image: the row of `found.unit`
    apart = np.zeros(0, dtype=np.int64)
    while True:
        of_apart = np.isin(np.arange(len(found.unit)), content[np.isin(labels, apart)])
        kept = found.rows[~of_apart[found.rows].any(axis=1)]
        union = unite_images(split.hashes, split.groups)
        chained = join_compact(union, replace(found, rows=kept))
        clusters = union.clusters()
        lost = np.flatnonzero((count_parts(clusters, labels) < 2) & (before >= 2))
        if not len(lost):
            return clusters, apart, chained
        apart = np.union1d(apart, lost)


def join_compact(union: Union, found: Pairs) -> int:
    """Join pairs, the most similar first, as long as no chain of them reaches further than copies of one image can.

    If two copies are each within d of their original, they are within 2 d of each other (the triangle inequality): four
    times as much in 1 - cosine = d^2 / 2. A chain that reaches further joins images that resemble each other only by
    steps, in the end a whole class; it stops there.

    Returns:
        how many pairs were left in two clusters.
    """
    furthest = 1 - 4 * (1 - found.threshold) - ROUNDING
    near = Union(len(found.unit))
    for one, other in found.rows.tolist():
        left, right = near.sets[one], near.sets[other]
        if left is right or (found.unit[left] @ found.unit[right].T).min() < furthest:
            continue
        near.join(one, other)
        union.join(int(found.images[one]), int(found.images[other]))
    clusters = union.clusters()[found.images[found.rows]]
    return int((clusters[:, 0] != clusters[:, 1]).sum())


def find_overlap(features: Features, found: Pairs) -> tuple[Ints, Floats]:
    """Test images with a near duplicate of another content among the training images: `(Q, 2)` and the cosines."""
    test = features.test
    if test is None or not len(test):
        return NO_PAIRS, NO_COSINE
    known = set(features.train.hashes)
    unseen = np.flatnonzero(test.usable & [code not in known for code in test.hashes])
    unit = normalise(read_finite(features, "test", (0,))[unseen, 0])
    nearest, cosine = nearest_above(unit, found.unit, found.threshold)
    close = np.flatnonzero(nearest >= 0)
    return np.stack([unseen[close], found.images[nearest[close]]], axis=1), cosine[close]


def nearest_above(rows: Floats, columns: Floats, threshold: float) -> tuple[Ints, Floats]:
    """`(n,)` of each row the column with the highest cosine, if that is `threshold` or more, else -1; the cosines."""
    search = search_pairs(rows, columns)
    nearest, highest = np.full(len(rows), -1), np.zeros(len(rows), dtype=np.float32)
    for block in search.blocks():
        pairs, cosine = search.above(block, threshold - ROUNDING)
        order = np.lexsort((pairs[:, 1], -cosine, pairs[:, 0]))
        row, first = np.unique(pairs[order, 0], return_index=True)
        nearest[row], highest[row] = pairs[order[first], 1], np.minimum(cosine[order[first]], 1)
    return nearest, highest
