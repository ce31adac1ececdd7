"""A score with fewer images and with more -> what still more would give: a line over the logarithm, with its doubt."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.stats.intervals import Interval, Z, cluster_sums

# Measured on synthetic sets and photos (benchmarks/bench_coverage.py): from one doubling of the images to the next the
# slope falls to 0.63 to 1 of itself, seldom below 0.5, and rises where images are few.
FLATTENING = 0.4  # a slope s goes on as s exp(-0.4 log(times))
DOUBT = 0.35  # of a slope, as a share of it: one standard deviation
LEAST_DOUBT = 0.2  # and at least
LEAST_TIMES = 1.3  # more than the fewer images, or they tell nothing


@dataclass(frozen=True)
class Growth:
    """How a score grows with the logarithm of the number of images.

    Attributes:
        slope: most likely, on the score's scale, at least 0.
        below: how much less it may be, at the end of a 95 % interval.
        above: how much more.
    """

    slope: float
    below: float
    above: float


@dataclass(frozen=True)
class Scale:
    """On which a score grows by a line, upwards where it gets better.

    Attributes:
        to: score -> place on the line.
        back: and back.
        steepness: of `to`.
        unmeasured: how a score grows where a class has one image to train on, and no slope can be measured.
    """

    to: Callable[[float], float]
    back: Callable[[float], float]
    steepness: Callable[[float], float]
    unmeasured: Growth


ACCURACY = Scale(
    lambda share: math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5),
    lambda place: 1 / (1 + math.exp(-place)) if place > -500 else 0.0,
    lambda share: 1 / (share * (1 - share)),
    Growth(1.1, 1.3, 2.3),
)
LOSS = Scale(
    lambda loss: -math.log(loss) if loss > 0 else math.inf,
    lambda place: math.exp(-place),
    lambda loss: -1 / loss,
    Growth(0.7, 1.4, 3.0),
)


@dataclass(frozen=True)
class Estimate:
    """A number that was not measured, with its 95 % interval."""

    value: float
    low: float
    high: float


def measure_growth(fewer: Doubles, more: Doubles, clusters: Ints, *, times: float, scale: Scale) -> Growth:
    """From the scores of the same images by a head that had `times` the images of the other.

    With the scores f and m, g the scale and D = log(times), the error of the slope is by the delta method that of a sum
    over clusters:
        slope = (g(mean m) - g(mean f)) / D     error = |sum_c sum_i g'(m) (m_i - m) - g'(f) (f_i - f)| / n D

    Args:
        fewer: `(n,)` 0 or 1, or losses.
        more: `(n,)`.
        clusters: `(n,)` images that belong together.
        times: above 1.
        scale: of the score.
    """
    if times < LEAST_TIMES or not len(fewer):
        return scale.unmeasured
    low, high = (inside(float(scores.mean()), scale, len(scores)) for scores in (fewer, more))
    step = math.log(times)
    influence = scale.steepness(high) * (more - more.mean()) - scale.steepness(low) * (fewer - fewer.mean())
    sums, _ = cluster_sums(influence, clusters)
    error = math.sqrt(float(sums @ sums)) / len(fewer) / step
    return growth_of((scale.to(high) - scale.to(low)) / step, error)


def growth_of(slope: float, error: float) -> Growth:
    """The growth behind a slope that was measured with this standard error."""
    slope = max(0.0, slope)
    doubt = Z * math.sqrt((DOUBT * slope) ** 2 + LEAST_DOUBT**2 + error**2)
    return Growth(slope, doubt, doubt)


def inside(mean: float, scale: Scale, images: int) -> float:
    """The mean, for an accuracy no nearer to 0 and 1 than half an image."""
    return min(max(mean, 0.5 / images), 1 - 0.5 / images) if scale is ACCURACY else max(mean, 1e-6)


def grow(mean: float, interval: Interval, growth: Growth, *, times: float, images: int, scale: Scale) -> Estimate:
    """The score with `times` the images: the doubts about the measured one and about its growth, in quadrature.

    Args:
        mean: the score as measured.
        interval: of the score, 95 %.
        growth: of it.
        times: at least 1.
        images: that it was measured on.
        scale: of the score.
    """
    step = math.log(times)
    passed = step * math.exp(-FLATTENING * step)
    start = scale.to(inside(mean, scale, images))
    worst, best = sorted(map(scale.to, interval))
    middle = start + growth.slope * passed
    down = math.hypot(max(start - worst, 0), growth.below * passed)
    up = math.hypot(max(best - start, 0), growth.above * passed)
    low, high = sorted((scale.back(middle - down), scale.back(middle + up)))
    return Estimate(scale.back(middle), low, high)


def spread_of(estimate: Estimate, scale: Scale, draws: Doubles) -> Doubles:
    """Draws from an estimate: the halves of two normal distributions that have its ends as their 95 % interval.

    Args:
        estimate: of an accuracy.
        scale: of it.
        draws: standard normal ones.
    """
    middle = scale.to(min(max(estimate.value, 1e-9), 1 - 1e-9))
    low, high = (scale.to(min(max(end, 1e-9), 1 - 1e-9)) for end in (estimate.low, estimate.high))
    places = middle + np.where(draws < 0, middle - low, high - middle) / Z * draws
    result: Doubles = 1 / (1 + np.exp(-places))
    return result
