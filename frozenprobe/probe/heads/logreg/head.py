"""The logistic regression head: our solver with its certificate, or scikit-learn's as the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import unknown_name
from frozenprobe.probe.arrays import Doubles, softmax
from frozenprobe.probe.heads.head import Convergence, LinearModel, TrainingRows, require_positive
from frozenprobe.probe.heads.logreg.problems import LogisticProblems
from frozenprobe.probe.heads.logreg.solver import Solution, solve_logistic
from frozenprobe.system.threads import one_blas_thread

SOLVERS = ("own", "sklearn")
OWN_TOL, SKLEARN_TOL = 1e-5, 1e-4
ROUNDING = 1.1  # scikit-learn's float32 gradient and ours differ by this factor at most where they are compared


@dataclass(frozen=True)
class LogisticRegressionHead:
    """L2-regularised multinomial logistic regression: min over W, b of  C sum_i w_i loss_i + |W|^2 / 2.

    The rows of an image share its weight of 1, so `c` means the same at any number of views.

    Attributes:
        c: inverse strength of the penalty, > 0.
        tol: of `own`, the bound of (F - F*) / F at which it stops (None: 1e-5); of `sklearn`, the largest component of
            the mean objective's gradient (None: 1e-4).
        max_iter: evaluations (own) or iterations (sklearn) after which it gives up.
        solver: a name of `SOLVERS`.
    """

    c: float = 1.0
    tol: float | None = None
    max_iter: int = 2000
    solver: str = "own"

    def __post_init__(self) -> None:
        for name, value in (("--c", self.c), ("--tol", self.tolerance), ("--max-iter", self.max_iter)):
            require_positive(value, name)
        if self.solver not in SOLVERS:
            raise unknown_name("solver", self.solver, SOLVERS, where="--solver")

    @property
    def tolerance(self) -> float:
        """`tol`, or the solver's own."""
        if self.tol is not None:
            return self.tol
        return OWN_TOL if self.solver == "own" else SKLEARN_TOL

    @property
    def on_path(self) -> float | None:
        """`c`; None for scikit-learn's solver, which fits one at a time."""
        return self.c if self.solver == "own" else None

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve; nothing is random. scikit-learn's ConvergenceWarning is passed on, and recorded."""
        if self.solver == "sklearn":
            return self.fit_sklearn(rows)
        return self.fit_many(rows, [rows.weight], [1.0], [self.c])[0][0]

    def fit_many(
        self, rows: TrainingRows, weights: Sequence[Doubles], factors: Sequence[float], values: Sequence[float]
    ) -> list[list[LinearModel]]:
        """A fit for each vector of row weights and each c, all side by side on the same rows.

        Args:
            rows: what all fits share (their weights are not used).
            weights: for each fit `(n,)`; a row of weight 0 and a class without weight are as if absent.
            factors: for each fit the number its features are multiplied by.
            values: of c, best ascending, in place of the head's own.

        Returns:
            for each vector of weights and each c the model of `factor * features`, a row a class that has weight.
        """
        problems = LogisticProblems.of(rows, weights)
        # |W|^2 / 2 + c loss(W f x) = (|V|^2 / 2 + c f^2 loss(V x)) / f^2  with V = f W
        paths = [[c * factor**2 for c in values] for factor in factors]
        found = solve_logistic(problems, paths, tol=self.tolerance, max_evaluations=self.max_iter)
        return [
            [
                model_of(solution, c=c, factor=factor, total=float(weight.sum()))
                for solution, c in zip(solutions, values, strict=True)
            ]
            for solutions, factor, weight in zip(found, factors, weights, strict=True)
        ]

    def fit_sklearn(self, rows: TrainingRows) -> LinearModel:
        """The reference."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.c, tol=self.tolerance, max_iter=self.max_iter)
        with one_blas_thread():  # asked for again: of what scikit-learn, if only now loaded, brought
            model.fit(rows.features, rows.labels, sample_weight=rows.weight)
        coefficients, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
        if rows.classes == 2:  # scikit-learn has one row then: sigmoid(w x + b) = softmax((0, w x + b))_1
            coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
        objective, gradient_norm, steepest = evaluate(rows, coefficients, intercepts, self.c)
        # the solver also stops where float32 sees no more progress: what counts is the gradient it stopped at
        converged = steepest <= ROUNDING * self.tolerance
        convergence = Convergence(converged, int(model.n_iter_.max()), objective, gradient_norm)
        return LinearModel(coefficients, intercepts, convergence)


def model_of(solution: Solution, *, c: float, factor: float, total: float) -> LinearModel:
    """A solution as the model of features times `factor`, its objective and gradient those of the mean objective."""
    coefficients, intercepts = solution.coefficients / factor, solution.intercepts
    if len(intercepts) == 1:  # two classes: softmax((0, w x + b))
        coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
    scale = 1 / (c * factor**2 * total)
    norm = np.linalg.norm(solution.coefficients)
    convergence = Convergence(
        converged=solution.converged,
        iterations=solution.evaluations,
        objective=solution.objective * scale,
        gradient_norm=solution.gradient_norm * scale * factor,
        gap=solution.gap / solution.objective,
        distance=float((2 * solution.gap) ** 0.5 / norm) if norm else None,
        stuck=solution.stuck,
    )
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
