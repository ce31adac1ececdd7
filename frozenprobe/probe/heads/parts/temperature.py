"""One temperature that makes scores honest probabilities, and how honest probabilities are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints, softmax
from frozenprobe.probe.heads.head import LinearModel

LOWEST, HIGHEST = 1e-3, 1e3  # temperatures
LEAD = 5.0  # of the own class over the mean of all where nothing tells how sure to be, in nats
EXACT = 1e-9  # the relative step in the temperature at which the search ends
STEPS = 100
BLOCK = 1 << 16  # scores that are looked at at once
SMALLEST = 1e-15  # chances are raised to this before the logarithm

Scores = npt.NDArray[np.floating]


def fit_temperature(logits: Scores, labels: Ints, weight: Doubles | None = None, *, unknown: float = 0.0) -> float:
    """The temperature T at which softmax(logits / T) has the lowest log-loss (Guo et al. 2017, arXiv:1706.04599).

    With a = 1/T and d_ic = z_ic - z_iy the loss sum_i w_i log sum_c exp(a d_ic) is convex in a. Its slope and curvature
        g = sum_i w_i E_i[d]      h = sum_i w_i (E_i[d^2] - E_i[d]^2)      E_i over the classes, under softmax(a z_i)
    give one root in log a, found by Newton's steps (dg / dlog a = a h) inside a bracket that every sign of g narrows.

    Args:
        logits: `(n, C)` scores of rows that the head was not fitted on, finite.
        labels: `(n,)`.
        weight: `(n,)` of each row; None: 1.
        unknown: so many rows of the mean weight count as images of a class that nobody knows (the mean over all classes
            takes the place of the true one). With 0, scores without one mistake are pushed to certainty.

    Returns:
        T in [1e-3, 1e3], exact to 1e-6 of itself where the optimum is inside.
    """
    scores = logits.astype(np.float64)
    weight = np.ones(len(labels)) if weight is None else weight
    if not len(labels) or weight.sum() <= 0:
        return 1.0
    weight = weight / weight.sum()
    share = unknown / (len(labels) + unknown)
    true = (1 - share) * scores[np.arange(len(labels)), labels] + share * scores.mean(axis=1)
    away = scores - true[:, None]
    low, high = -math.log(HIGHEST), -math.log(LOWEST)
    point, moved = 0.0, math.inf
    for _ in range(STEPS):
        slope, curvature = slope_and_curvature(away, weight, math.exp(point))
        low, high = (point, high) if slope < 0 else (low, point)
        step = -slope / (math.exp(point) * curvature) if curvature > 0 else math.copysign(math.inf, -slope)
        # the bracket is halved where a step would leave it, or shrinks too slowly (as in the tail of a sure separation)
        steady = low < point + step < high and abs(step) <= moved / 2
        following = point + step if steady else (low + high) / 2
        moved, point = abs(following - point), following
        if moved < EXACT:
            break
    return math.exp(-point)


def slope_and_curvature(away: Doubles, weight: Doubles, sharpness: float) -> tuple[float, float]:
    """g and h of `fit_temperature`, summed over blocks of rows that stay in a core's cache."""
    slope = curvature = 0.0
    size = max(1, BLOCK // max(1, away.shape[1]))
    for start in range(0, len(away), size):
        part, share = away[start : start + size], weight[start : start + size]
        chances = softmax(sharpness * part)
        chances *= part
        mean = chances.sum(axis=1)
        slope += float(share @ mean)
        curvature += float(share @ (np.einsum("nc,nc->n", chances, part) - mean * mean))
    return slope, curvature


def apply_temperature(logits: Scores, temperature: float) -> Doubles:
    """softmax(logits / T), `(n, C)`."""
    return softmax(logits / temperature)


def scores_of(model: LinearModel, rows: Floats) -> Floats:
    """`(n, C)` float32 x W^T + b: the scores whose softmax are the model's probabilities."""
    scores: Floats = rows @ model.coefficients.T.astype(np.float32) + model.intercepts.astype(np.float32)
    return scores


def with_temperature(model: LinearModel, temperature: float, **chosen: float) -> LinearModel:
    """The model whose scores are divided by a temperature; it says what else was chosen beside it."""
    return replace(
        model,
        coefficients=model.coefficients / temperature,
        intercepts=model.intercepts / temperature,
        chosen={**chosen, "temperature": temperature},
    )


def temperature_of_lead(scores: Scores, labels: Ints, weight: Doubles) -> float:
    """The temperature at which rows that a model was fitted on are ahead of the mean over all classes by `LEAD`.

    For where nothing held out tells one, as with one image a class. Measured on photos, digits and synthetic sets from
    very easy to hopeless, the log-loss is below that of guessing, and mostly near that of the best temperature.

    Args:
        scores: `(n, C)`.
        labels: `(n,)`.
        weight: `(n,)`.
    """
    ahead = scores[np.arange(len(labels)), labels] - scores.mean(axis=1)
    lead = float(np.average(ahead, weights=weight)) if weight.sum() > 0 else 0.0
    return lead / LEAD if lead > 0 else 1.0


@dataclass(frozen=True)
class Choice:
    """One of several candidates.

    Attributes:
        index: which.
        temperature: of its scores.
        loss: mean log-loss after that temperature, in nats; NaN where no row could tell.
    """

    index: int
    temperature: float
    loss: float

    @property
    def told(self) -> bool:
        """Whether any row could tell."""
        return not math.isnan(self.loss)

    def settle(self, model: LinearModel, rows: Floats, labels: Ints, weight: Doubles, **chosen: float) -> LinearModel:
        """The model at this temperature, or, where none was told, at that of its lead on rows it was fitted on.

        Args:
            model: the candidate, fitted to everything.
            rows: `(n, D)` that it was fitted on.
            labels: `(n,)`.
            weight: `(n,)`.
            chosen: what it is to say of itself beside the temperature.
        """
        temperature = self.temperature
        if not self.told:
            temperature = temperature_of_lead(scores_of(model, rows), labels, weight)
        return with_temperature(model, temperature, **chosen)


def choose_by_loss(candidates: Iterable[Scores], labels: Ints, weight: Doubles, *, unknown: float = 1.0) -> Choice:
    """The candidate whose held-out scores have the lowest log-loss, each after its own temperature.

    A temperature is fitted with an image of unknown class (see `fit_temperature`): a hundred images without a mistake
    are no proof that there is none.

    Args:
        candidates: `(n, C)` scores of rows that they were not fitted on; the middle one is taken where none has weight.
        labels: `(n,)`.
        weight: `(n,)`; 0 for rows that could not be right, since their class was not trained on.
        unknown: images of unknown class; as many as are one piece of evidence, where images are near copies of others.
    """
    told = weight > 0
    labels, weight = labels[told], weight[told]
    found = []
    for index, scores in enumerate(candidates):
        temperature = fit_temperature(scores[told], labels, weight, unknown=unknown)
        chances = apply_temperature(scores[told], temperature)[np.arange(len(labels)), labels]
        loss = float(np.average(-np.log(np.maximum(chances, SMALLEST)), weights=weight)) if told.any() else math.nan
        found.append(Choice(index, temperature, loss))
    return min(found, key=lambda choice: choice.loss) if told.any() else found[len(found) // 2]


def expected_calibration_error(probabilities: Doubles, labels: Ints, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy, over bins of equal width in confidence (Guo et al. 2017); 0 is best.

    Args:
        probabilities: `(n, C)`.
        labels: `(n,)`.
        bins: of the confidence, the highest probability.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(labels), 1))
