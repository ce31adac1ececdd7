"""Linear discriminant analysis with a shrunk covariance, in closed form; the shrinkage chosen on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.parts.inner_folds import Images, leave_folds_out
from frozenprobe.probe.heads.parts.moments import Moments, solve_shifted
from frozenprobe.probe.heads.parts.temperature import choose_by_loss

SHRINKAGES = (0.003, 0.015, 0.05, 0.15, 0.35, 0.6, 0.8, 0.95, 1.0)  # the last is the nearest mean


@dataclass(frozen=True)
class ShrinkageLdaHead:
    """Gaussian classes with one covariance, pooled over the within-class scatter of all views (Friedman 1989).

    The plain posterior is far too sure of itself in many dimensions: a temperature fitted to the scores of inner folds
    of the training images makes it honest, and is part of the model, whether the shrinkage is pinned or not.

    Attributes:
        shrinkage: share s in (0, 1] of the multiple of the identity in the covariance; None: the one with the lowest
            log-loss on the inner folds.
    """

    shrinkage: float | None = None

    def __post_init__(self) -> None:
        if self.shrinkage is not None and not 0 < self.shrinkage <= 1:
            found = str(self.shrinkage)
            raise FrozenprobeError("A number above 0, up to 1", found=found, where="--shrinkage", remedy="such as 0.3")

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve; nothing is random."""
        return fit_chosen(rows, SHRINKAGES if self.shrinkage is None else (self.shrinkage,))


def fit_moments(moments: Moments, shrinkages: Sequence[float]) -> list[LinearModel]:
    """The plain posterior for every shrinkage, solved in float32 if they are several; all classes have weight.

    With S the noise within classes (see `Moments.noise`), m_c the class means, p_c the classes' shares of the weight:
        Sigma = (1 - s) S + s tr(S)/D I       W_c = Sigma^-1 m_c       b_c = log p_c - m_c^T Sigma^-1 m_c / 2
    Means are taken from the mean m of all rows, which shifts all scores of a row alike and keeps them small:
        W_c (x - m) + log p_c - W_c (m_c - m) / 2
    """
    scatter = moments.noise()
    variance = float(np.trace(scatter)) / len(scatter)
    away = moments.means - moments.mean
    log_share = np.log(moments.weight / moments.total_weight)
    solved = solve_shifted(scatter, away.T, [(1 - s, s * variance) for s in shrinkages])
    return [LinearModel(each.T, log_share - (each.T * (moments.mean + away / 2)).sum(axis=1)) for each in solved]


def fit_chosen(rows: TrainingRows, shrinkages: Sequence[float]) -> LinearModel:
    """The shrinkage whose held-out scores, after a temperature, have the lowest log-loss over inner folds.

    With few images a class a fold's fit knows less of the variance within classes than the final one (of 2 images a
    class half of it is left, of 1 nothing), and its scores are as much larger. So its scores are multiplied by its
    variance over the final one's: the temperature is then one for the final scores. A fit that knows no variance tells
    nothing of one that does; where no fit does, see `temperature_of_lead`, and the middle shrinkage is taken.
    """
    images = Images.of(rows)
    everything, scores, known = leave_folds_out(rows, images, fit_moments, shrinkages, needs_variance=True)
    choice = choose_by_loss(scores, images.labels, images.weight * known, unknown=images.repeated(known))
    shrinkage = shrinkages[choice.index]
    (model,) = fit_moments(everything, [shrinkage])
    means, each = everything.means.astype(np.float32), np.arange(rows.classes)
    return choice.settle(model, means, each, everything.weight, shrinkage=shrinkage)
