"""Repeated cross-validations of the same images -> accuracies, paired differences and their bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.stats.intervals import Interval, accuracy_interval, interval_of
from frozenprobe.probe.stats.metrics import right_of

RESAMPLES = 2000


@dataclass(frozen=True)
class Trial:
    """Which out-of-fold predictions of one cross-validation are right. Their probabilities are not told: a curve's own
    head cannot be calibrated with one image a class (LDA's log-loss is then far above that of guessing).

    Attributes:
        right: `(N,)` 1 or 0; NaN for images that are not scored.
        converged: False if a fit stopped before its tolerance.
    """

    right: Doubles
    converged: bool


@dataclass(frozen=True)
class Point:
    """What the cross-validations of one point of a curve say. Intervals are 95 %.

    Attributes:
        at: where it lies: augmented views, or images a class trained on.
        accuracy: out of fold, mean over the cross-validations.
        interval: of the accuracy.
        difference: accuracy minus that of the last point, on the same images.
        difference_interval: of the difference, paired.
        draws: cross-validations it is the mean of.
        unconverged: how many of those have a fit that did not reach its tolerance.
    """

    at: float
    accuracy: float
    interval: Interval
    difference: float
    difference_interval: Interval
    draws: int
    unconverged: int


@dataclass(frozen=True)
class Resampled:
    """P points bootstrapped together: a row is one resample of the images, the same for all points.

    Attributes:
        accuracy: `(resamples, P)`.
        images: that were scored.
        clusters: of those images.
    """

    accuracy: Doubles
    images: int
    clusters: int


def judge(oof: Doubles, labels: Ints, scored: npt.NDArray[np.bool_], *, converged: bool) -> Trial:
    """Compare `(N, C)` out-of-fold probabilities with the truth."""
    return Trial(np.where(scored, right_of(oof, labels), np.nan), converged)


def measure(
    at: Sequence[float], trials: Sequence[Sequence[Trial]], clusters: Ints
) -> tuple[tuple[Point, ...], Resampled]:
    """The points of a curve, and their bootstrap.

    Args:
        at: `(P,)` where the points lie.
        trials: P lists of cross-validations, each to be averaged.
        clusters: `(N,)` images that belong together.
    """
    drawn = resample(trials, clusters)
    accuracies = [float(np.nanmean([trial.right for trial in row])) for row in trials]
    points = tuple(
        Point(
            at=float(where),
            accuracy=accuracy,
            interval=wider(accuracy_interval(*mean_right(row, clusters)), interval_of(column)),
            difference=accuracy - accuracies[-1],
            difference_interval=interval_of(column - drawn.accuracy[:, -1]),
            draws=len(row),
            unconverged=sum(not trial.converged for trial in row),
        )
        for where, row, accuracy, column in zip(at, trials, accuracies, drawn.accuracy.T, strict=True)
    )
    return points, drawn


def resample(trials: Sequence[Sequence[Trial]], clusters: Ints) -> Resampled:
    """Bootstrap P lists of cross-validations.

    Clusters of images and the cross-validations of a list are drawn with replacement, each independently of the other
    (Owen 2007, "The pigeonhole bootstrap"). All lists see the same draws, so differences between columns are paired.
    """
    right = np.array([trial.right for row in trials for trial in row])
    scored = ~np.isnan(right)
    seen = scored.any(axis=0)
    _, cluster = np.unique(clusters[seen], return_inverse=True)
    sums = [[np.bincount(cluster, weights=row[seen]) for row in np.nan_to_num(values)] for values in (right, scored)]
    cells = np.array(sums)  # (right, images) x cross-validations x clusters
    many = cells.shape[2]
    rng = np.random.default_rng([0, 3])
    drawn = np.empty((RESAMPLES, 2, len(right)))
    for sample in drawn:
        sample[:] = cells @ np.bincount(rng.integers(many, size=many), minlength=many)
    chance = np.random.default_rng([0, 4]).random((RESAMPLES, 1, max(map(len, trials))))
    accuracy, start = np.empty((RESAMPLES, len(trials))), 0
    for column, length in enumerate(map(len, trials)):
        pick = start + (chance[:, :, :length] * length).astype(np.int64)  # lists of one length pick alike
        hits, images = np.take_along_axis(drawn, pick, axis=2).sum(axis=2).T
        accuracy[:, column] = hits / np.maximum(images, 1)  # a tiny resample may score no image
        start += length
    return Resampled(accuracy, images=int(seen.sum()), clusters=many)


def wider(one: Interval, other: Interval) -> Interval:
    """From the lower of their ends to the higher: that of the images, and that of the draws as well."""
    return min(one[0], other[0]), max(one[1], other[1])


def mean_right(trials: Sequence[Trial], clusters: Ints) -> tuple[Doubles, Ints]:
    """How often each scored image is right, and its cluster."""
    right = np.array([trial.right for trial in trials])
    seen = ~np.isnan(right).all(axis=0)
    return np.nanmean(right[:, seen], axis=0), clusters[seen]
