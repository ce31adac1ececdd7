"""One-vs-rest linear support vector machine, all classes and inner folds in one batched Newton solve, calibrated."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.folds.deal import assign_folds
from frozenprobe.probe.heads.head import Convergence, LinearModel, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.inner_folds import Images, known_elsewhere
from frozenprobe.probe.heads.parts.temperature import fit_temperature
from frozenprobe.system.threads import in_threads

INNER_FOLDS = 3
UNKNOWN = 1.0  # images of a class that nobody knows: bounds the certainty that a few images can show
MACHINES = 128  # machines solved at once in a thread: bounds the memory
CG_STEPS = 100
EASY, LOOSE = 10.0, 1e-2  # C |x|^2 to start at, and the tolerance on the way


@dataclass(frozen=True)
class LinearSvmHead:
    """scikit-learn's LinearSVC (squared hinge): for every class  min |w|^2 / 2 + C sum_i v_i max(0, 1 - y_i w x_i)^2.

    y_i is 1 for the class, -1 for the rest, v_i are the rows' weights, and x_i ends in a 1 whose w is penalised, too.
    The scores are no probabilities: they are divided by a temperature fitted on scores of inner folds of the clusters
    of the training rows (Guo et al. 2017, arXiv:1706.04599).

    Attributes:
        c: inverse strength of the penalty, > 0; rows of the `global` scaling have |x|^2 = D.
        tol: how far from the optimum the objective may be, as a share of itself, by the estimate of a Newton step
            (half its slope along the step), at which the solver takes that step and stops.
        max_iter: Newton steps after which it gives up.
    """

    c: float = 0.01
    tol: float = 1e-3
    max_iter: int = 50

    def __post_init__(self) -> None:
        for name, value in (("--c", self.c), ("--tol", self.tol), ("--max-iter", self.max_iter)):
            require_positive(value, name, remedy="give one, such as 0.01")

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Solve for all rows, and for all but each inner fold: the same columns with held-out rows of weight 0."""
        images = Images.of(rows)
        inner = inner_folds(rows, images, seed)
        fold = inner[images.index]
        count = int(fold.max()) + 1
        costs = np.stack([rows.weight, *(rows.weight * (fold != held) for held in range(count))])
        machines = solve(rows, (self.c * costs).astype(np.float32), tol=self.tol, max_iter=self.max_iter)
        weights = machines.weights.reshape(count + 1, rows.classes, -1)
        scores = np.empty((len(fold), rows.classes), dtype=np.float32)
        for held in range(count):
            val = fold == held
            scores[val] = rows.features[val] @ weights[held + 1, :, :-1].T + weights[held + 1, :, -1]
        known = known_elsewhere(images.labels, inner)
        seen = known[images.index]
        unknown = UNKNOWN * len(fold) / len(inner) * images.repeated(known)  # counted in rows
        temperature = fit_temperature(scores[seen], rows.labels[seen], rows.weight[seen], unknown=unknown)
        model = weights[0].astype(np.float64) / temperature
        convergence = certify(rows, weights[0], machines, c=self.c)
        return LinearModel(model[:, :-1], model[:, -1], convergence)


@dataclass(frozen=True)
class Machines:
    """Solved machines.

    Attributes:
        weights: `(problems * C, D + 1)`; the last column belongs to the constant.
        converged: `(problems * C,)` bool.
        iterations: Newton steps of the slowest block.
    """

    weights: Floats
    converged: npt.NDArray[np.bool_]
    iterations: int


def inner_folds(rows: TrainingRows, images: Images, seed: int) -> Ints:
    """`(N,)` inner fold of each image: clusters dealt class by class, in an order drawn from seed and content."""
    content = [hashlib.sha256(row.tobytes()).hexdigest() for row in rows.features[images.first]]
    count = min(INNER_FOLDS, int(images.clusters.max()) + 1)
    if count < 2:
        return np.zeros(len(content), dtype=np.int64)
    return assign_folds(images.labels, images.clusters, content, folds=count, seed=seed)


def solve(rows: TrainingRows, costs: Floats, *, tol: float, max_iter: int) -> Machines:
    """Every class of every problem (a row of `costs`, `(problems, n)`: C times the rows' weights).

    Newton's method for many problems on the same rows. The Hessian of a machine with the active rows A (those with a
    loss) is  H = I + 2 X_A^T diag(cost) X_A.  Products with it are two products with X for all machines at once, so it
    is solved by conjugate gradients, in the basis in which the same sum over *all* rows is diagonal: there
        M = 1 / (1 + 2 share eigenvalues)       share: of the cost that is active
    is a good preconditioner (25 products with X in place of 288 on photos at C = 0.01).
    """
    extended = np.hstack([rows.features, np.ones((len(rows.labels), 1), dtype=np.float32)])
    basis, eigenvalues = diagonal_basis(extended, costs[0])
    reduced = extended @ basis
    sides = np.where(rows.labels == np.arange(rows.classes)[:, None], np.float32(1), np.float32(-1))
    total = len(costs) * rows.classes
    weights = np.zeros((total, reduced.shape[1]), dtype=np.float32)
    converged = np.zeros(total, dtype=bool)

    def solve_block(start: int) -> int:
        block = np.arange(start, min(start + MACHINES, total))
        problem = Problem(reduced, sides[block % rows.classes], costs[block // rows.classes], eigenvalues)
        for easing in easings(float(eigenvalues.sum() / rows.weight.sum())):
            near_enough = max(tol, LOOSE) if easing < 1 else tol
            share = np.float32(easing)
            eased = replace(problem, costs=share * problem.costs, eigenvalues=share * problem.eigenvalues)
            weights[block], converged[block], steps = newton(eased, weights[block], tol=near_enough, max_iter=max_iter)
        return steps

    iterations = max(in_threads(solve_block, range(0, total, MACHINES)))
    return Machines(weights @ basis.T, converged, iterations)


def easings(hardness: float) -> list[float]:
    """Shares of C to solve for one after the other, the last one 1: each finds most active rows of the next.

    Measured at C |x|^2 = 1000 (7,200 rows x 1,024, 100 classes, inner folds, one thread): 28 s, from zero 70.
    The hardness is C |x|^2 of a mean row.
    """
    steps = max(0, math.ceil(2 * math.log10(max(hardness, 1e-9) / EASY)))
    return [10 ** (-step / 2) for step in range(steps, -1, -1)]


def diagonal_basis(rows: Floats, cost: Floats) -> tuple[Floats, Floats]:
    """`(D, d)` orthonormal columns that span the rows and make rows^T diag(cost) rows diagonal, and its diagonal."""
    if len(rows) >= rows.shape[1]:
        eigenvalues, basis = np.linalg.eigh((rows * cost[:, None]).T @ rows)
        return basis, np.maximum(eigenvalues, 0)
    span = np.linalg.qr(rows.T)[0]
    basis, eigenvalues = diagonal_basis(rows @ span, cost)
    return span @ basis, eigenvalues


@dataclass(frozen=True)
class Problem:
    """Some machines on the same rows.

    Attributes:
        rows: `(n, d)`.
        sides: `(m, n)`, 1 or -1.
        costs: `(m, n)`.
        eigenvalues: `(d,)` of rows^T diag(cost) rows, which is diagonal.
    """

    rows: Floats
    sides: Floats
    costs: Floats
    eigenvalues: Floats

    def take(self, which: Ints) -> Problem:
        """Only some of the machines."""
        return Problem(self.rows, self.sides[which], self.costs[which], self.eigenvalues)


def newton(
    problem: Problem, weights: Floats, *, tol: float, max_iter: int
) -> tuple[Floats, npt.NDArray[np.bool_], int]:
    """Weights `(m, d)` from those to start at, which machines have converged, and the steps taken.

    With r = max(0, 1 - y f), f = X w:   gradient = w - 2 X^T (cost y r)
    """
    count = len(problem.sides)
    weights = weights.copy()
    converged, steps = np.zeros(count, dtype=bool), 0
    start = np.ones(count, dtype=np.float32)
    while steps < max_iter and not converged.all():
        live = np.flatnonzero(~converged)
        part, w = problem.take(live), weights[live]
        scores = w @ part.rows.T
        slack = np.maximum(0, 1 - part.sides * scores)
        gradient = w - 2 * (part.costs * part.sides * slack) @ part.rows
        norms = np.linalg.norm(gradient, axis=1)
        if steps == 0:
            start = np.maximum(norms, np.finfo(np.float32).tiny)
        enough = np.minimum(0.1, np.sqrt(norms / start[live])) * norms / 2
        direction = conjugate_gradients(part, slack > 0, -gradient, enough)
        weights[live] = w + line_search(part, w, scores, direction)[:, None] * direction
        objective = np.square(w).sum(axis=1) / 2 + (part.costs * np.square(slack)).sum(axis=1)
        converged[live] = -(gradient * direction).sum(axis=1) / 2 <= tol * objective
        steps += 1
    return weights, converged, steps


def conjugate_gradients(problem: Problem, active: npt.NDArray[np.bool_], target: Floats, enough: Floats) -> Floats:
    """`(m, d)` solutions of H x = target, each until its residual is as short as `enough`, `(m,)`.

    A machine that is done leaves the batch: going on, its residual would shrink to denormal numbers, 10 times slower.
    """
    costs = 2 * problem.costs * active
    share = costs.sum(axis=1) / np.maximum(2 * problem.costs.sum(axis=1), np.finfo(np.float32).tiny)
    shrink = 1 / (1 + 2 * share[:, None] * problem.eigenvalues)
    solution = np.zeros_like(target)
    live = np.flatnonzero(np.linalg.norm(target, axis=1) > enough)  # a target of zeros, as equal rows have, is solved
    residual, costs, shrink, enough = target[live], costs[live], shrink[live], enough[live]
    along = shrink * residual
    height = (residual * along).sum(axis=1)
    for _ in range(CG_STEPS if len(live) else 0):
        bent = along + (costs * (along @ problem.rows.T)) @ problem.rows
        step = (height / (along * bent).sum(axis=1))[:, None]
        solution[live] += step * along
        residual = residual - step * bent
        far = np.linalg.norm(residual, axis=1) > enough
        if not far.any():
            break
        if not far.all():
            live, residual, along, height = live[far], residual[far], along[far], height[far]
            costs, shrink, enough = costs[far], shrink[far], enough[far]
        nearer = shrink * residual
        before, height = height, (residual * nearer).sum(axis=1)
        along = nearer + (height / before)[:, None] * along
    return solution


def line_search(problem: Problem, weights: Floats, scores: Floats, direction: Floats) -> Floats:
    """`(m,)` how far to go: Newton's steps along the line, where the objective is piecewise quadratic."""
    slope = problem.sides * (direction @ problem.rows.T)
    start, bend = (weights * direction).sum(axis=1), np.square(direction).sum(axis=1)
    length = np.ones(len(weights), dtype=np.float32)
    for _ in range(8):
        slack = np.maximum(0, 1 - problem.sides * scores - length[:, None] * slope)
        first = start + length * bend - 2 * (problem.costs * slack * slope).sum(axis=1)
        second = bend + 2 * (problem.costs * (slack > 0) * np.square(slope)).sum(axis=1)
        length = length - first / np.maximum(second, np.finfo(np.float32).tiny)  # a direction of zeros
    return length


def certify(rows: TrainingRows, weights: Floats, machines: Machines, *, c: float) -> Convergence:
    """How far the machines of all rows got: objective and gradient summed over the classes, per unit of weight."""
    total = rows.weight.sum()
    sides = np.where(rows.labels[:, None] == np.arange(rows.classes), 1, -1)
    slack = np.maximum(0, 1 - sides * (rows.features @ weights[:, :-1].T + weights[:, -1]))
    objective = np.square(weights, dtype=np.float64).sum() / 2 + c * (rows.weight @ np.square(slack)).sum()
    pull = (2 * c * rows.weight[:, None] * sides * slack).astype(np.float32)
    slope = np.hstack([weights[:, :-1] - pull.T @ rows.features, weights[:, -1:] - pull.sum(axis=0)[:, None]])
    gradient_norm = float(np.linalg.norm(slope) / total)
    return Convergence(bool(machines.converged.all()), machines.iterations, float(objective / total), gradient_norm)
