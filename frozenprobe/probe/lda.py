"""Linear discriminant analysis with a shrunk covariance, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads import LinearModel, TrainingRows
from frozenprobe.probe.scaling import Doubles


@dataclass(frozen=True)
class ShrinkageLdaHead:
    """Gaussian classes with one covariance, pooled over the within-class scatter of all views (Friedman 1989).

    Attributes:
        shrinkage: share s in (0, 1] of the multiple of the identity in the covariance.
    """

    shrinkage: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            found = str(self.shrinkage)
            raise FrozenprobeError("A number above 0, up to 1", found=found, where="--shrinkage", remedy="such as 0.3")

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve; nothing is random.

        With w the rows' weights, m_c the weighted class means, p_c the classes' shares of the weight:
            S = sum_i w_i (x_i - m_y) (x_i - m_y)^T / sum w      Sigma = (1 - s) S + s tr(S)/D I
            W_c = Sigma^-1 m_c                                    b_c = log p_c - m_c^T Sigma^-1 m_c / 2
        """
        class_weight, means, covariance = pool_classes(rows, self.shrinkage)
        coefficients = np.linalg.solve(covariance, means.T).T.astype(np.float64, copy=False)
        intercepts = np.log(class_weight / class_weight.sum()) - (coefficients * means).sum(axis=1) / 2
        return LinearModel(coefficients, intercepts.astype(np.float64))


def pool_classes(rows: TrainingRows, shrinkage: float) -> tuple[Doubles, Doubles, Doubles]:
    """`(C,)` weight and `(C, D)` mean of the classes, and Sigma, their shrunk common covariance, `(D, D)`."""
    weight = rows.weight.astype(np.float32)
    dim = rows.features.shape[1]
    class_weight = np.bincount(rows.labels, weights=rows.weight)
    means = np.zeros((rows.classes, dim), dtype=np.float32)
    np.add.at(means, rows.labels, rows.features * weight[:, None])
    means /= class_weight[:, None].astype(np.float32)
    centred = (rows.features - means[rows.labels]) * np.sqrt(weight / weight.sum())[:, None]
    covariance = (centred.T @ centred).astype(np.float64)
    variance = np.trace(covariance) / dim or 1.0
    covariance *= 1 - shrinkage
    covariance.flat[:: dim + 1] += shrinkage * variance
    return class_weight.astype(np.float64), means.astype(np.float64), covariance
