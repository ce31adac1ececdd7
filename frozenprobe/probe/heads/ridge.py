"""Ridge regression on one-hot targets: a penalty chosen on every image left out, and scores made into probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.heads.head import LinearModel, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.inner_folds import Images, leave_folds_out
from frozenprobe.probe.heads.parts.leave_one_out import Matrix, Smoother
from frozenprobe.probe.heads.parts.moments import Moments, solve_shifted
from frozenprobe.probe.heads.parts.scaling import weighted_mean
from frozenprobe.probe.heads.parts.temperature import choose_by_loss

ALPHAS = tuple(10 ** (step / 2) for step in range(-8, 5))  # 0.0001 to 100
MOST_ROWS = 128  # that are held out together one cluster at a time; larger clusters make inner folds
NOTHING = 1e-10  # eigenvalues so much smaller than the largest are rounding


@dataclass(frozen=True)
class RidgeHead:
    """Weighted least squares with a penalty on W and none on the intercept: one score a class.

        min over W, b of  sum_i w_i |y_i - W x_i - b|^2 + t |W|^2      t = alpha tr(S)/D
        S = sum_i w_i (x_i - m) (x_i - m)^T

    The penalty is counted in mean eigenvalues of the rows' scatter around their mean m, so `alpha` means the same at
    any number of rows and views, any weights and any size of the features. Scores are no logits: a temperature fitted
    to the predictions of every image by a fit without it makes them probabilities, pinned penalty or not.

    Attributes:
        alpha: > 0; None: the one with the lowest log-loss on images left out.
    """

    alpha: float | None = None

    def __post_init__(self) -> None:
        require_positive(self.alpha, "--alpha")

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve; nothing is random."""
        alphas = ALPHAS if self.alpha is None else (self.alpha,)
        classes, rows = rows.classes, rows.take(rows.weight > 0)
        images = Images.of(rows)
        spectrum = Spectrum.of(rows)
        penalties = [alpha * spectrum.unit for alpha in alphas]
        left_out: Iterable[Matrix] = spectrum.smoother.leave_out(images, classes, penalties)
        known = ~images.alone()
        if images.most_rows() > MOST_ROWS:
            _, left_out, known = leave_folds_out(rows, images, fit_moments, alphas)
        choice = choose_by_loss(left_out, images.labels, images.weight * known, unknown=images.repeated(known))
        model = spectrum.solve(rows.labels, classes, penalties[choice.index])
        shown = rows.features[images.first]
        return choice.settle(model, shown, images.labels, images.weight, alpha=alphas[choice.index])


@dataclass(frozen=True)
class Spectrum:
    """Weighted rows around their mean, decomposed.

    Attributes:
        smoother: their fitted values for every penalty.
        basis: `(D, k)`: W^T = basis diag(1 / (l + t)) B^T (s (Y - p)), in the words of `Smoother`.
        mean: m, `(D,)`.
        unit: tr(S) / D, the mean eigenvalue of their scatter.
    """

    smoother: Smoother
    basis: Matrix
    mean: Doubles
    unit: float

    @classmethod
    def of(cls, rows: TrainingRows) -> Spectrum:
        """Decompose X, the rows around their mean times the roots of their weights.

        With D features and at least as many rows:  X^T X = U diag(l) U^T, B = X U, basis = U; in float32 but for the
        decomposition. With fewer rows:  X X^T = Q diag(l) Q^T, B = Q diag(sqrt l), basis = X^T Q diag(1 / sqrt l).
        """
        count, dim = rows.features.shape
        mean = weighted_mean(rows.features, rows.weight / rows.weight.sum())
        root = np.sqrt(rows.weight)
        if count >= dim:
            away = (rows.features - mean.astype(np.float32)) * root.astype(np.float32)[:, None]
            values, turn = np.linalg.eigh((away.T @ away).astype(np.float64))
            smoother = Smoother(away @ turn.astype(np.float32), np.maximum(values, 0), rows.weight)
            return cls(smoother, turn, mean, unit_of(values, dim))
        wide = (rows.features - mean) * root[:, None]
        values, left = np.linalg.eigh(wide @ wide.T)
        kept = values > NOTHING * values[-1]
        basis = left[:, kept] * np.sqrt(values[kept])
        return cls(
            Smoother(basis, values[kept], rows.weight), wide.T @ (basis / values[kept]), mean, unit_of(values, dim)
        )

    def solve(self, labels: Ints, classes: int, penalty: float) -> LinearModel:
        """The least squares for one penalty; the intercept takes the mean row to the classes' shares."""
        shares, projected = self.smoother.project(labels, classes)
        coefficients = (self.basis @ (projected / (self.smoother.values + penalty)[:, None])).T
        return LinearModel(coefficients, shares - coefficients @ self.mean)


def fit_moments(moments: Moments, alphas: Sequence[float]) -> list[LinearModel]:
    """The least squares for every penalty from moments alone, solved in float32 if they are several.

    The scores are no logits: their softmax is no probability before a temperature. With p_c the classes' shares of the
    weight, m_c their means, m the mean of all and T the covariance of the rows:
        W_c = (T + alpha tr(T)/D I)^-1 p_c (m_c - m)      b_c = p_c - W_c m
    """
    covariance = moments.total()
    unit = unit_of(np.diag(covariance), len(covariance))
    shares = moments.weight / moments.total_weight
    right = (shares[:, None] * (moments.means - moments.mean)).T
    solved = solve_shifted(covariance, right, [(1.0, alpha * unit) for alpha in alphas])
    return [LinearModel(each.T, shares - each.T @ moments.mean) for each in solved]


def unit_of(eigenvalues: Doubles, dim: int) -> float:
    """Their mean over D dimensions; 1 if all rows are equal."""
    return float(eigenvalues.sum()) / dim or 1.0
