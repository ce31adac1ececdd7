"""Out-of-fold scores of heads with a part of the images -> what the final head, which has all, will score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.folds.subsets import learns_from_few
from frozenprobe.probe.options import DEFAULT_FOLDS
from frozenprobe.probe.result import ProbeResult
from frozenprobe.probe.stats import intervals, metrics
from frozenprobe.probe.stats.growth import ACCURACY, LOSS, Estimate, Scale, grow, measure_growth
from frozenprobe.probe.stats.intervals import Interval


@dataclass(frozen=True)
class FinalHead:
    """What the head trained on all images will score on new ones like them.

    Attributes:
        times: how many times the training images of the heads out of fold it has.
        accuracy: with its interval.
        log_loss: with its interval.
    """

    times: float
    accuracy: Estimate
    log_loss: Estimate


def estimate_final(result: ProbeResult) -> FinalHead | None:
    """Carry the out-of-fold scores on to all images, by what twice the images gave; None: that was not measured.

    The head on half of the images tells how its score grows with their logarithm; `stats.growth` goes on from there,
    with the doubt that goes with it.
    """
    if any(one.halved is None for one in every(result)):
        return None
    held = [np.bincount(one.folds[one.scored], minlength=one.folds.max() + 1) for one in every(result)]
    count = len(result.labels)
    # a head with one cluster of a class has no temperature of its own: its log-loss tells nothing of one that has
    alike = not any(learns_from_few(one.labels, one.clusters, one.folds) for one in every(result))
    training = [count - np.bincount(one.folds[one.folds >= 0]) for one in every(result)]
    seen = sum(int(own @ left) for own, left in zip(held, training, strict=True)) / sum(int(own.sum()) for own in held)
    accuracy = carry(result, metrics.right_of, intervals.accuracy_interval, ACCURACY, times=count / seen)
    loss = carry(result, metrics.losses, intervals.loss_interval, LOSS, times=count / seen, measured=alike)
    if result.finer is None:
        return FinalHead(count / seen, accuracy, loss)
    return FinalHead(
        count / seen,
        either(accuracy, from_finer(result, metrics.right_of, intervals.accuracy_interval, ACCURACY), ACCURACY),
        either(loss, from_finer(result, metrics.losses, intervals.loss_interval, LOSS), LOSS),
    )


def every(result: ProbeResult) -> tuple[ProbeResult, ...]:
    """Its repeats, or itself."""
    return result.repeats or (result,)


def carry(
    result: ProbeResult,
    score: Callable[[Doubles, Ints], Doubles],
    interval: Callable[[Doubles, Ints], Interval],
    scale: Scale,
    *,
    times: float,
    measured: bool = True,
) -> Estimate:
    """One score of the out-of-fold predictions, with `times` the images; `measured`: whether halves tell its growth."""
    halved = [(one, one.halved) for one in every(result) if one.halved is not None]
    fewer, more = (
        np.concatenate([score(getattr(half, name), one.labels[half.images]) for one, half in halved])
        for name in ("fewer", "more")
    )
    clusters = np.concatenate([one.clusters[half.images] for one, half in halved])
    growth = measure_growth(fewer, more, clusters, times=halved[0][1].times if measured else 1.0, scale=scale)
    scored = result.scored_predictions()
    scores = score(scored.oof, scored.labels)
    known = interval(scores, scored.clusters)
    return grow(float(scores.mean()), known, growth, times=times, images=len(scores), scale=scale)


def from_finer(
    result: ProbeResult,
    score: Callable[[Doubles, Ints], Doubles],
    interval: Callable[[Doubles, Ints], Interval],
    scale: Scale,
) -> Estimate:
    """One score of the final blend by the finer folds that chose it, with all images; of few classes, so too good."""
    told = [score(one.finer[one.scored], one.labels[one.scored]) for one in every(result) if one.finer is not None]
    scores, clusters = np.concatenate(told), result.scored_predictions().clusters
    times = DEFAULT_FOLDS / (DEFAULT_FOLDS - 1)
    known = interval(scores, clusters)
    return grow(float(scores.mean()), known, scale.unmeasured, times=times, images=len(scores), scale=scale)


def either(one: Estimate, other: Estimate, scale: Scale) -> Estimate:
    """Between two estimates, of which neither is right: their middle, and all that either holds for possible."""
    middle = scale.back((scale.to(one.value) + scale.to(other.value)) / 2)
    return Estimate(middle, min(one.low, other.low), max(one.high, other.high))
