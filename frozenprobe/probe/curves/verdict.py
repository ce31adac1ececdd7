"""What a curve says: how many views are enough, and what twice the photos would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.curves.curve import Curve, size_text
from frozenprobe.probe.curves.points import Interval, interval_of
from frozenprobe.probe.curves.powerlaw import fit_power_law

FEWEST = 3  # points that a law of three numbers is fitted to
TOLERATED = 0.02  # a law may miss a point by this much more than the point's own interval allows


@dataclass(frozen=True)
class Enough:
    """The smallest number of views from which on none is shown to be worse than the best.

    Attributes:
        views: that number.
        best: number of views with the highest accuracy; the smaller one of equals.
        deficit: accuracy of `best` minus that of `views`.
        deficit_interval: 95 %, paired.
        loss_worse: whether the log-loss at `views` is shown to be higher than at the number with the lowest.
        best_loss: the number of views with the lowest log-loss.
    """

    views: int
    best: int
    deficit: float
    deficit_interval: Interval
    loss_worse: bool
    best_loss: int


@dataclass(frozen=True)
class Forecast:
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
class NoForecast:
    """Why nothing is extrapolated."""

    reason: str


def enough_views(curve: Curve) -> Enough:
    """Find the smallest number of views from which on no paired difference to the best is shown: intervals hold 0.

    "Not shown" is not "none": the interval says how large a difference these images could not see.
    """
    drawn, points = curve.resampled, curve.points
    best = int(np.argmax([point.accuracy for point in points]))
    calm = int(np.argmin([point.log_loss for point in points]))
    gaps = [interval_of(drawn.accuracy[:, best] - column) for column in drawn.accuracy.T]
    chosen = max((index + 1 for index, (lower, _) in enumerate(gaps[:best]) if lower > 0), default=0)
    return Enough(
        views=int(points[chosen].at),
        best=int(points[best].at),
        deficit=points[best].accuracy - points[chosen].accuracy,
        deficit_interval=gaps[chosen],
        loss_worse=interval_of(drawn.log_loss[:, chosen] - drawn.log_loss[:, calm])[0] > 0,
        best_loss=int(points[calm].at),
    )


def forecast(curve: Curve) -> Forecast | NoForecast:
    """Fit the power law to the curve and to each of its resamples, and read it at twice the last size.

    Curves are flatter at the smallest sizes than a power law (Hestness et al. 2017: the small-data region). Nobody
    knows where that ends, so the interval holds the fits without the smallest size, too, where enough points are left.
    """
    points, drawn = curve.points, curve.resampled
    if len(points) < FEWEST:
        return NoForecast(f"it takes {FEWEST} sizes, there are {len(points)}")
    sizes = np.array([point.at for point in points])
    errors = np.array([1 - point.accuracy for point in points])
    if errors[-1] > errors[0]:
        return NoForecast("accuracy does not rise with the images")
    weight = 1 / (drawn.accuracy.var(axis=0) + (0.5 / drawn.images) ** 2)  # no point is known better than half an image
    law = fit_power_law(sizes, errors, weight)
    for point, error in zip(points, errors, strict=True):
        missed = abs(float(law.error(point.at)) - error)
        if missed > (point.interval[1] - point.interval[0]) / 2 + TOLERATED:
            where = size_text(point.at)
            return NoForecast(
                f"no power law fits: the best one misses the accuracy at {where} by {100 * missed:.1f} points"
            )
    at, gains = points[-1].at, []
    for start in range(len(points) - FEWEST + 1)[:2]:
        laws = fit_power_law(sizes[start:], 1 - drawn.accuracy[:, start:], weight[start:])
        gains.append(laws.error(at) - laws.error(2 * at))
    return Forecast(
        at=at,
        gain=float(law.error(at) - law.error(2 * at)),
        interval=interval_of(np.concatenate(gains)),
        floor=float(law.floor),
        scale=float(law.scale),
        exponent=float(law.exponent),
    )
