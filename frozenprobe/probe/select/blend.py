"""Out-of-fold predictions of several heads -> a weight each: their blend and its temperature in one convex problem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints, softmax
from frozenprobe.probe.heads.parts.temperature import fit_temperature

STEPS = 60
EXACT = 1e-7  # what a step may still promise to take off the mean log-loss
HALVINGS = 30
BLOCK = 1 << 17  # logits that are looked at at once: they stay in a core's cache
RIDGE = 1e-9  # on the curvature: two equal heads share their weight in any way

Logits = npt.NDArray[np.floating]


def fit_stack(
    logits: Sequence[Logits],
    labels: Ints,
    weight: Doubles | None = None,
    *,
    prior: float = 1.0,
    temperatures: Doubles | None = None,
) -> Doubles:
    """`(m,)` weights >= 0 with the lowest log-loss of softmax(sum_m weight_m logits_m) (Wolpert 1992; Breiman 1996).

    One head's weight is the inverse of its temperature (Guo et al. 2017). With z_i (m x C) the logits of image i less
    those of its true class, P_i = softmax(weights z_i) and a_m the weight of each head alone:
        loss = mean_i w_i log sum_c exp(weights z_ic) + prior / n sum_m ((weight_m - a_m / m) / a_m)^2 / 2
    minimised over weights >= 0 by Newton's method on those that are free (Bertsekas 1982). The prior draws towards
    equal shares of every head at its own temperature: it decides when images are few.

    Args:
        logits: m times `(n, C)` of images that no head was fitted on.
        labels: `(n,)`.
        weight: w, `(n,)` of each image, above 0; None: 1.
        prior: images that the prior weighs as much as; of one head, images of a class that nobody knows.
        temperatures: `(m,)` of each head alone, if they are known: those that `fit_temperature` finds.
    """
    weight = np.ones(len(labels)) if weight is None else weight / weight.mean()
    if temperatures is None:
        temperatures = np.array([fit_temperature(each, labels, weight, unknown=prior) for each in logits])
    alone = 1 / temperatures
    if len(alone) == 1:
        return alone
    away = np.empty((len(alone), *logits[0].shape), dtype=np.float32)
    for own, each, sure in zip(away, logits, alone, strict=True):
        own[...] = sure * (each - np.take_along_axis(each, labels[:, None], axis=1))
    return alone * minimise(away, weight, np.full(len(alone), 1 / len(alone)), prior / max(len(labels), 1))


def minimise(away: Logits, share: Doubles, start: Doubles, strength: float) -> Doubles:
    """Newton's method on the free weights, from `start`, with a quadratic prior of this strength around it."""
    weights = start.copy()
    value, slope, curvature = evaluate(away, share, weights, start, strength)
    for _ in range(STEPS):
        free = (weights > 0) | (slope < 0)
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)] + RIDGE * np.eye(int(free.sum())), -slope[free])
        if -(slope @ step) <= EXACT:
            break
        length = 1.0
        for _ in range(HALVINGS):
            moved = np.maximum(weights + length * step, 0)
            found = evaluate(away, share, moved, start, strength)
            if found[0] <= value + 1e-4 * slope @ (moved - weights):
                break
            length /= 2
        else:
            break
        weights, (value, slope, curvature) = moved, found
    return weights


def evaluate(
    away: Logits, share: Doubles, weights: Doubles, centre: Doubles, strength: float
) -> tuple[float, Doubles, Doubles]:
    """Mean log-loss with its prior, its gradient and its Hessian, summed over blocks of images.

    Args:
        away: `(m, n, C)` logits less those of the true class.
        share: `(n,)` weights of the images, 1 in the mean.
        weights: `(m,)` at which.
        centre: `(m,)` of the prior.
        strength: of the prior.
    """
    count, images, classes = away.shape
    size = max(1, BLOCK // (count * classes))
    loss, slope, curvature = 0.0, np.zeros(count), np.zeros((count, count))
    for start in range(0, images, size):
        part, own = away[:, start : start + size].astype(np.float64), share[start : start + size]
        scores = np.tensordot(weights, part, axes=1)
        top = scores.max(axis=1)
        powers = np.exp(scores - top[:, None])
        total = powers.sum(axis=1)
        loss += float(own @ (np.log(total) + top))
        weighted = part * (powers / total[:, None])
        means = weighted.sum(axis=2)
        weighted *= own[:, None]
        curvature += weighted.reshape(count, -1) @ part.reshape(count, -1).T - own * means @ means.T
        slope += means @ own
    moved = weights - centre
    loss = loss / images + strength * float(moved @ moved) / 2
    return loss, slope / images + strength * moved, curvature / images + strength * np.eye(count)


def blend(logits: Logits, weights: Doubles) -> Doubles:
    """softmax(sum_m weight_m logits_m), `(n, C)`."""
    return softmax(np.tensordot(weights, logits, axes=1))
