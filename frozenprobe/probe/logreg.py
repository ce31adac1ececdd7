"""L2-regularised multinomial logistic regression by scikit-learn, with its gradient as the measure of convergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads import Convergence, LinearModel, TrainingRows, softmax
from frozenprobe.probe.scaling import Doubles

ROUNDING = 1.1  # the solver's float32 gradient and ours differ by this factor at most where they are compared


@dataclass(frozen=True)
class LogisticRegressionHead:
    """scikit-learn's LogisticRegression (lbfgs): min over W, b of  C sum_i w_i loss_i + |W|^2 / 2.

    The rows of an image share its weight of 1, so `c` means the same at any number of views.

    Attributes:
        c: inverse strength of the penalty, > 0.
        tol: largest component of the gradient of the mean objective at which the solver stops.
        max_iter: iterations after which it gives up.
    """

    c: float = 1.0
    tol: float = 1e-4
    max_iter: int = 2000

    def __post_init__(self) -> None:
        for name, value in (("--c", self.c), ("--tol", self.tol), ("--max-iter", self.max_iter)):
            if not 0 < value < float("inf"):
                raise FrozenprobeError("A number above 0", found=str(value), where=name, remedy="give one, such as 1.0")

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve; nothing is random. scikit-learn's ConvergenceWarning is passed on, and recorded."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.c, tol=self.tol, max_iter=self.max_iter)
        model.fit(rows.features, rows.labels, sample_weight=rows.weight)
        coefficients, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if rows.classes == 2:  # scikit-learn has one row then: sigmoid(w x + b) = softmax((0, w x + b))_1
            coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
        objective, gradient_norm, steepest = evaluate(rows, coefficients, intercepts, self.c)
        # the solver also stops where float32 sees no more progress: what counts is the gradient it stopped at
        converged = steepest <= ROUNDING * self.tol
        convergence = Convergence(converged, int(model.n_iter_.max()), objective, gradient_norm)
        return LinearModel(coefficients, intercepts, convergence)


def evaluate(rows: TrainingRows, coefficients: Doubles, intercepts: Doubles, c: float) -> tuple[float, float, float]:
    """The mean objective, the Euclidean norm of its gradient, and the gradient's largest component.

    With P = softmax(X W^T + b), Y one-hot, w the rows' weights and s = sum w:
        objective = -(1/s) sum_i w_i log P[i, y_i] + |W|^2 / (2 C s)
        dW = (1/s) (w * (P - Y))^T X + W / (C s)        db = (1/s) (w * (P - Y))^T 1
    """
    total = rows.weight.sum()
    probabilities = softmax(rows.features @ coefficients.T.astype(np.float32) + intercepts)
    here = np.arange(len(rows.labels)), rows.labels
    loss = -np.log(np.maximum(probabilities[here], 1e-300))
    objective = rows.weight @ loss / total + np.square(coefficients).sum() / (2 * c * total)
    residual = probabilities
    residual[here] -= 1
    residual *= rows.weight[:, None] / total
    slope = residual.T.astype(np.float32) @ rows.features + coefficients / (c * total)
    if rows.classes == 2:  # the first row is fixed at 0
        residual, slope = residual[:, 1:], slope[1:]
    gradient = np.concatenate([slope.ravel(), residual.sum(axis=0)])
    return float(objective), float(np.linalg.norm(gradient)), float(np.abs(gradient).max())
