"""From which cosine on images are near duplicates: how far copies reach, and how near different photos come."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.parts.cosines import COSINES_AT_ONCE, row_blocks
from frozenprobe.system.threads import in_threads

MIRRORED = 0.05  # quantile of the cosines between an image and its mirror image
CLASS_SAMPLE = 200  # images of a class that say how far apart two of a class are
CHANCE = 0.01  # of the images may have a different photo as a near duplicate
ASKED = 1000  # images whose neighbours tell how near different photos come
NEIGHBOURS = 5  # of each
WIDER = 1.5  # times the reach: neighbours up to there are counted, however many
SMALLEST, STEPS = 1e-6, 1000  # of the reach: what is tried for a threshold, down to rounding
COSINES_OF_THREAD = COSINES_AT_ONCE // 8  # a few numbers are computed of each
POWERS = (0.5, 100.0)  # half the number of dimensions that photos differ in


@dataclass(frozen=True)
class Threshold:
    """Where near duplicates begin.

    Attributes:
        cosine: from which two images count as near duplicates.
        reach: the cosine that a trivially changed copy may have; below `cosine`, if different photos come as near.
    """

    cosine: float
    reach: float


def choose_threshold(unit: Floats, labels: Ints, mirror: Floats | None) -> Threshold:
    """From the features alone: as far as copies reach, unless too many different photos are as near by chance.

    Expected are at most `CHANCE` of the images, or two, with a near duplicate that is another photo. The number of
    images matters: among ten times as many the nearest is nearer.

    Args:
        unit: `(n, D)` clean features of length 1.
        labels: `(n,)`.
        mirror: `(n, D)` likewise of the mirrored view, or None.
    """
    reach = copies_reach(unit, labels, mirror)
    if not reach:
        return Threshold(1.0, 1.0)
    strangers, allowed = find_strangers(unit, labels, reach), max(CHANCE, 2 / len(unit))
    parts = np.geomspace(1, SMALLEST, STEPS)  # of the reach
    shares = np.array([share_by_chance(strangers, part) for part in parts])
    part = parts[np.flatnonzero(shares <= allowed)[0]] if (shares <= allowed).any() else 0.0
    return Threshold(1 - reach * float(part), 1 - reach)


def copies_reach(unit: Floats, labels: Ints, mirror: Floats | None) -> float:
    """1 - cosine that a trivially changed copy may have; arguments as of `choose_threshold`.

    An image and its mirror image show how far a change that makes no new photo carries: d = 1 - cosine, at the 95 %
    quantile. That is too far where mirroring changes the picture (text, digits), and too near for a backbone that does
    not see it at all; so d is held between 1/16 and 1/6 of t, how far apart two images of one class typically are. In
    Euclidean terms (|a - b|^2 = 2 d for unit vectors) that is 0.25 to 0.41 of the way to another photo of the class.
    Without a mirrored view: 1/8.

    Measured on 810 photos of 81 classes: the mirror said 0.949, t/6 said 0.950, t/8 0.962. Above 0.950 are 83 to 100 %
    of copies re-encoded at JPEG quality 60, brightened by 20 %, made half as large, turned by 3 degrees or cropped by
    3 % a side, 11 % of those cropped by 8 %; and ten pairs of photos, all bursts of one scene.
    The cosine is of the vectors as they are: centred first, as many copies are found for as many pairs of photos, and
    a pair's cosine would depend on all other images.
    """
    samples = (unit[np.flatnonzero(labels == label)[:CLASS_SAMPLE]] for label in np.unique(labels))
    within = [np.median((own @ own.T)[np.triu_indices(len(own), 1)]) for own in samples if len(own) > 1]
    typical = max(0.0, 1 - float(np.median(within))) if within else 0.0
    if mirror is None:
        return typical / 8
    moved = 1 - float(np.quantile(np.einsum("nd,nd->n", unit, mirror), MIRRORED))
    return float(np.clip(moved, typical / 16, typical / 6))


@dataclass(frozen=True)
class Strangers:
    """Different photos around each of some images, as points of even density around it.

    Among points of even density in d dimensions the number within a distance r grows as r^d, which is (1 - cosine)^h
    with h = d/2, and chance is Poisson's: none is that near with probability exp(-number).

    Attributes:
        power: h, of all images.
        number: `(n,)` expected within the reach of copies.
    """

    power: float
    number: Doubles


def share_by_chance(strangers: dict[str, Strangers], part: float) -> float:
    """Of the images, with a different photo within this part of the reach of copies.

    Both ways to count tell too many where density is not even after all: by kind, where a class is a few images of
    which some are outside; all alike, where classes are far from each other. So the smaller number is taken.
    """
    own, other, mixed = (strangers[kind].number * part ** strangers[kind].power for kind in ("own", "other", "any"))
    return float(min(-np.expm1(-own - other).mean(), -np.expm1(-mixed).mean()))


def find_strangers(unit: Floats, labels: Ints, reach: float) -> dict[str, Strangers]:
    """What lies just beyond the reach of copies, where copies do not count, says how many different photos lie within.

    Args:
        unit: `(n, D)`.
        labels: `(n,)`.
        reach: 1 - cosine, above 0.

    Returns:
        Those of the image's `own` class, of `other` classes, and of `any`.
    """
    asked = np.linspace(0, len(unit) - 1, min(ASKED, len(unit))).astype(np.int64)
    blocks = [asked[block] for block in row_blocks(len(asked), len(unit), COSINES_OF_THREAD)]

    def look(block: Ints) -> list[Rings]:
        distance = 1 - unit[block] @ unit.T
        distance[distance <= reach] = np.inf
        distance[np.arange(len(block)), block] = np.inf
        own = labels[block][:, None] == labels
        return [rings(np.where(seen, distance, np.inf), reach) for seen in (own, ~own, True)]

    kinds = zip(*in_threads(look, blocks), strict=True)
    return dict(zip(("own", "other", "any"), map(count_inside, kinds), strict=True))


Rings = tuple[Doubles, Doubles, Ints]


def rings(distance: Floats, reach: float) -> Rings:
    """The ring around the reach of copies up to each image's `NEIGHBOURS`-th neighbour there, or wider.

    Args:
        distance: `(n, m)` 1 - cosine, infinite where it does not count.
        reach: the inner radius.

    Returns:
        `(n,)` log(outer / inner radius); `(n,)` sum of log(outer radius / distance) of the images inside the ring;
        `(n,)` their number.
    """
    nearest = np.partition(distance, min(NEIGHBOURS, distance.shape[1]) - 1, axis=1)[:, :NEIGHBOURS]
    outer = np.max(nearest, axis=1, where=np.isfinite(nearest), initial=WIDER * reach)[:, None]
    inside: npt.NDArray[np.bool_] = distance < outer
    logs = np.log(outer / distance, where=inside, out=np.zeros(distance.shape))
    return np.log(outer[:, 0] / reach, dtype=np.float64), logs.sum(axis=1), inside.sum(axis=1)


def count_inside(found: Iterable[Rings]) -> Strangers:
    """What the rings say of the space inside them."""
    width, spread, count = (np.concatenate(each) for each in zip(*found, strict=True))
    power = fit_power(width, spread, count)
    return Strangers(power, count / np.expm1(np.minimum(power * width, 700)))


def fit_power(width: Doubles, spread: Doubles, count: Ints) -> float:
    """h by maximum likelihood: in a ring of width L, log(outer radius / distance) averages 1/h - L/(e^hL - 1).

    Levina and Bickel's estimator (2004) of the dimension, for points that are seen only beyond an inner radius.

    Args:
        width: `(n,)` L of each ring.
        spread: `(n,)` the sum of these logarithms.
        count: `(n,)` of how many points.
    """
    low, high = POWERS
    for _ in range(50):
        power = np.sqrt(low * high)
        expected = (count * (1 / power - width / np.expm1(np.minimum(power * width, 700)))).sum()
        low, high = (power, high) if expected > spread.sum() else (low, power)
    return float(low)
