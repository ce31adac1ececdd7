"""What a curve says: how many views are enough, and by how accuracy rises what twice the photos would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.curves.curve import Curve, size_text
from frozenprobe.probe.curves.points import Point
from frozenprobe.probe.stats.growth import ACCURACY, Estimate, Growth, grow, growth_of, inside
from frozenprobe.probe.stats.intervals import DEPENDENCE, Interval, interval_of

FEWEST = 3  # sizes: two tell a slope, and a third whether it could have been foretold
HALF = 0.6  # a size of at most so much of another tells how its accuracy grows
REFUSED = 3.0  # a forecast of the last size that is off by so many times its interval is none


@dataclass(frozen=True)
class Enough:
    """The smallest number of views from which on none is shown to be worse than the best.

    Attributes:
        views: that number.
        best: number of views with the highest accuracy; the smaller one of equals.
        deficit: accuracy of `best` minus that of `views`.
        deficit_interval: 95 %, paired.
    """

    views: int
    best: int
    deficit: float
    deficit_interval: Interval


@dataclass(frozen=True)
class Extrapolation:
    """What twice the images of every class would give: an extrapolation.

    Attributes:
        at: images a class of the last point.
        since: of the point from which on the rise was measured.
        gain: of accuracy, from `at` to twice as many.
        interval: 95 %, of the gain.
        widened: by how much the interval is wider, because the smaller sizes did not foretell the last one; else 1.
    """

    at: float
    since: float
    gain: float
    interval: Interval
    widened: float


@dataclass(frozen=True)
class NoExtrapolation:
    """Why nothing is extrapolated."""

    reason: str


def enough_views(curve: Curve) -> Enough:
    """Find the smallest number of views from which on no paired difference to the best is shown: intervals hold 0.

    "Not shown" is not "none": the interval says how large a difference these images could not see.
    """
    drawn, points = curve.resampled, curve.points
    best = int(np.argmax([point.accuracy for point in points]))
    gaps = [interval_of(drawn.accuracy[:, best] - column) for column in drawn.accuracy.T]
    chosen = max((index + 1 for index, (lower, _) in enumerate(gaps[:best]) if lower > 0), default=0)
    return Enough(
        views=int(points[chosen].at),
        best=int(points[best].at),
        deficit=points[best].accuracy - points[chosen].accuracy,
        deficit_interval=gaps[chosen],
    )


def extrapolate(curve: Curve) -> Extrapolation | NoExtrapolation:
    """Carry the last accuracy on to twice its size, by the rise from half of it; see `stats.growth`.

    It is tried on the curve first: the rise up to half of the last size has to foretell the last accuracy. Where that
    lies outside the interval, all intervals are widened until it does not; far outside, nothing is foretold.
    """
    points = curve.points
    if len(points) < FEWEST:
        return NoExtrapolation(f"it takes {FEWEST} sizes, there are {len(points)}")
    if points[-1].accuracy < points[0].accuracy:
        return NoExtrapolation("accuracy does not rise with the images")
    last = len(points) - 1
    middle = half_of(points, last)
    first = half_of(points, middle)
    foretold = foretell(curve, first, middle, times=points[last].at / points[middle].at)
    off = missed_by(foretold, points[last].accuracy - points[middle].accuracy)
    if off > REFUSED:
        at = f"that at {size_text(points[last].at)}, {points[last].accuracy:.1%}"
        return NoExtrapolation(f"the accuracies up to {size_text(points[middle].at)} do not foretell {at}")
    found = foretell(curve, middle, last, times=2, widened=max(1.0, off))
    return Extrapolation(
        at=points[last].at,
        since=points[middle].at,
        gain=found.value,
        interval=(found.low, found.high),
        widened=max(1.0, off),
    )


def half_of(points: Sequence[Point], index: int) -> int:
    """The largest of the sizes before this one that are well below it; the smallest, if none is."""
    below = [number for number in range(index) if points[number].at <= HALF * points[index].at]
    return below[-1] if below else 0


def foretell(curve: Curve, first: int, last: int, *, times: float, widened: float = 1.0) -> Estimate:
    """What accuracy gains from one point to `times` its size, by the rise from another one; its interval `widened`.

    The error of the rise is that of the resamples, and DEPENDENCE as for any accuracy out of fold.
    """
    points, drawn = curve.points, curve.resampled
    images, step = drawn.images, math.log(points[last].at / points[first].at) if first != last else 0.0
    if not step:
        growth = ACCURACY.unmeasured
    else:
        start, end = (ACCURACY.to(inside(points[number].accuracy, ACCURACY, images)) for number in (first, last))
        columns = np.clip(drawn.accuracy[:, [first, last]], 0.5 / images, 1 - 0.5 / images)
        rises = np.diff(np.log(columns / (1 - columns)), axis=1)
        growth = growth_of((end - start) / step, math.sqrt(DEPENDENCE) * float(rises.std()) / step)
    growth = Growth(growth.slope, widened * growth.below, widened * growth.above)
    share = points[last].accuracy
    found = grow(share, (share, share), growth, times=times, images=images, scale=ACCURACY)
    return Estimate(found.value - share, found.low - share, found.high - share)


def missed_by(foretold: Estimate, gain: float) -> float:
    """How far off a forecast is, in halves of its interval."""
    half = foretold.high - foretold.value if gain > foretold.value else foretold.value - foretold.low
    return abs(gain - foretold.value) / half if half else 0.0
