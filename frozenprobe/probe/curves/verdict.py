"""What a curve says: how many views are enough, and by the power law of learning curves what twice the photos give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles
from frozenprobe.probe.curves.curve import Curve, size_text
from frozenprobe.probe.curves.points import Interval
from frozenprobe.probe.stats.intervals import interval_of

FEWEST = 3  # points that a law of three numbers is fitted to
TOLERATED = 0.02  # a law may miss a point by this much more than the point's own interval allows
# Measured exponents lie between 0.07 and 1 (Hestness et al. 2017, arXiv:1712.00409; Rosenfeld et al. 2020,
# arXiv:1909.12673), and 1 is the fast rate of learning theory. A larger one would let a few points promise a plateau.
EXPONENTS = np.linspace(0.01, 1, 100)


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
class PowerLaw:
    """The law error(n) = a + b n^-c, or many of them fitted at once: arrays of one shape.

    Attributes:
        floor: a, at least 0: the error that no number of images takes away.
        scale: b, at least 0.
        exponent: c, one of `EXPONENTS`.
    """

    floor: Doubles
    scale: Doubles
    exponent: Doubles

    def error(self, size: float) -> Doubles:
        """a + b n^-c at n = `size`, above 0."""
        result: Doubles = self.floor + self.scale * size**-self.exponent
        return result


@dataclass(frozen=True)
class Extrapolation:
    """What twice the images of every class would give: an extrapolation.

    Attributes:
        at: images a class of the last point.
        gain: of accuracy, from `at` to twice as many.
        interval: 95 %, of the gain: every resample is fitted again, with and without the smallest size.
        floor: a of error(n) = a + b n^-c.
        scale: b.
        exponent: c.
    """

    at: float
    gain: float
    interval: Interval
    floor: float
    scale: float
    exponent: float


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
    """Fit the power law to the curve and to each of its resamples, and read it at twice the last size.

    Curves are flatter at the smallest sizes than a power law (Hestness et al. 2017: the small-data region). Nobody
    knows where that ends, so the interval holds the fits without the smallest size, too, where enough points are left.
    """
    points, drawn = curve.points, curve.resampled
    if len(points) < FEWEST:
        return NoExtrapolation(f"it takes {FEWEST} sizes, there are {len(points)}")
    sizes = np.array([point.at for point in points])
    errors = np.array([1 - point.accuracy for point in points])
    if errors[-1] > errors[0]:
        return NoExtrapolation("accuracy does not rise with the images")
    weight = 1 / (drawn.accuracy.var(axis=0) + (0.5 / drawn.images) ** 2)  # no point is known better than half an image
    law = fit_power_law(sizes, errors, weight)
    for point, error in zip(points, errors, strict=True):
        missed = abs(float(law.error(point.at)) - error)
        if missed > (point.interval[1] - point.interval[0]) / 2 + TOLERATED:
            by = f"at {size_text(point.at)} by {100 * missed:.1f} points"
            return NoExtrapolation(f"no power law fits: the best one misses the accuracy {by}")
    at, gains = points[-1].at, []
    for start in range(len(points) - FEWEST + 1)[:2]:
        laws = fit_power_law(sizes[start:], 1 - drawn.accuracy[:, start:], weight[start:])
        gains.append(laws.error(at) - laws.error(2 * at))
    return Extrapolation(
        at=at,
        gain=float(law.error(at) - law.error(2 * at)),
        interval=interval_of(np.concatenate(gains)),
        floor=float(law.floor),
        scale=float(law.scale),
        exponent=float(law.exponent),
    )


def fit_power_law(sizes: Doubles, errors: Doubles, weight: Doubles) -> PowerLaw:
    """The law nearest to the points, exactly over a and b, by a grid over c.

    For a given c, with z_p = n_p^-c, least squares over a and b is the line through the points (z_p, e_p):
        b = (W Sze - Sz Se) / (W Szz - Sz^2)     a = (Se - b Sz) / W     Szz = sum w z^2, W = sum w, and so on.
    The sum of squares is convex, so where a or b comes out below 0, the best point lies on that edge:
        a = 0: b = Sze / Szz                     b = 0: a = Se / W

    Args:
        sizes: `(P,)` numbers of images a class, above 0, at least two of them different.
        errors: `(..., P)` one curve or many.
        weight: `(P,)` above 0: 1 / variance of each point's error.
    """
    z = sizes ** -EXPONENTS[:, None]  # (c, P)
    share = weight / weight.sum()  # so W = 1
    sz, szz = z @ share, np.square(z) @ share
    se, sze = (errors @ share)[..., None], (errors * share) @ z.T  # (..., 1), (..., c)
    scale = (sze - sz * se) / (szz - np.square(sz))
    floor = se - scale * sz
    scale = np.where(floor < 0, sze / szz, scale)
    floor = np.where(scale < 0, se, np.maximum(floor, 0))
    scale = np.maximum(scale, 0)
    missed = np.square(errors[..., None, :] - floor[..., None] - scale[..., None] * z) @ share
    best = missed.argmin(axis=-1)[..., None]
    floor, scale = (np.take_along_axis(values, best, axis=-1)[..., 0] for values in (floor, scale))
    return PowerLaw(floor, scale, EXPONENTS[best[..., 0]])
