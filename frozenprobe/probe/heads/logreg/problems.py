"""Many problems of logistic regression on shared rows: objective, gradient and Hessian of all of them in one go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg.metric import Metric, scale_intercepts
from frozenprobe.probe.heads.logreg.sums import (
    Operand,
    Table,
    multiply,
    parts,
    scores_of,
    sweep,
    to_probabilities,
    to_residuals,
)
from frozenprobe.system import threads

BIAS_RIDGE = 1e-2  # of the intercepts' mean curvature: not penalised, their Hessian is singular along (1, ..., 1)
LEAST_RIDGE = 1e-7  # of the rows' weight by class: where every image is certain nothing is left but rounding
ROUNDING = 8
WORTH = 3.5  # steps that the Hessian's approximation saves, at the least, where it is made
DUAL = 1.5  # a kernel of n x n is cheaper than two products with n x D as long as n is not much larger than D


@dataclass(frozen=True)
class Curvature:
    """The mean-view problem's Hessian at a point.

    Attributes:
        probabilities: `(C, n)` of the mean views; of two classes `(1, n)`, the second one's.
        weight: `(n,)` of the mean views, times c.
    """

    probabilities: Floats
    weight: Floats

    def apply(self, scores: Floats, rows: slice = slice(None)) -> None:
        """S -> a * (P * S - P (P . S)), in place, each row of S a class."""
        probabilities = self.probabilities[:, rows]
        scores *= probabilities
        scores -= probabilities * scores.sum(axis=0)
        scores *= self.weight[rows]

    def of_intercepts(self) -> tuple[Doubles, float]:
        """The intercepts' part, `(C, C)`: sum_i a_i (diag(p_i) - p_i p_i^T); and the ridge that makes it invertible.

        Its rows sum to 0, so what is on the diagonal is told by the rest, of which each is a sum of numbers that are
        not negative: the p (1 - p) of images that are nearly certain would drown in rounding.
        """
        weighted = self.probabilities * self.weight
        mass = float(weighted.sum(dtype=np.float64))
        if len(weighted) == 1:
            hessian = np.array([[weighted[0].astype(np.float64) @ (1.0 - self.probabilities[0])]])
        else:
            hessian = -(weighted @ self.probabilities.T).astype(np.float64)
            np.fill_diagonal(hessian, 0.0)
            np.fill_diagonal(hessian, -hessian.sum(axis=1))
        ridge = max(BIAS_RIDGE * np.trace(hessian), LEAST_RIDGE * mass) / len(hessian)
        return hessian, float(ridge)


@dataclass
class LogisticProblems:
    """What the solver asks for: sums over rows in float32, or in float64 where rounding is in its way.

    Every problem sees the features x less the mean m of its own rows, which makes the Hessian far better conditioned:
        z = W (x - m) + b = W x + (b - W m)        dF/dW = sum_i r_i (x_i - m)^T = sum_i r_i x_i^T - (sum_i r_i) m^T

    Two classes have one row, z the second one's score against the first.

    Attributes:
        classes: for each problem the classes that have weight.
        centres: for each problem m, `(D,)`.
        full: all rows.
        mean: a row for each image (and label, should it have several): its mean view, with the weight of all its views;
            `full` itself where every image has one view.
        curvatures: of each problem, at the point last given to `bend`.
        ridges: of each problem, the penalty on its intercepts that makes its Hessian invertible, there.
        metrics: of each problem, the Hessian's approximation at the point last given to `weigh`.
    """

    classes: list[Ints]
    centres: list[Floats]
    full: Table
    mean: Table
    curvatures: dict[int, Curvature] = field(init=False, default_factory=dict)
    ridges: dict[int, float] = field(init=False, default_factory=dict)
    metrics: dict[int, Metric] = field(init=False, default_factory=dict)

    @staticmethod
    def of(rows: TrainingRows, weights: Sequence[Doubles]) -> LogisticProblems:
        """Lay out the rows for problems of these row weights."""
        count = int(rows.labels.max()) + 1
        classes = [np.flatnonzero(np.bincount(rows.labels, weights=weight, minlength=count)) for weight in weights]
        centres = [weight @ rows.features / weight.sum() for weight in map(np.float32, weights)]
        full = Table.of(rows.features, rows.labels, weights, classes)
        keys = rows.images * count + rows.labels
        order = np.argsort(keys, kind="stable")
        first = np.flatnonzero(np.diff(keys[order], prepend=-1))
        if len(first) == len(keys):
            return LogisticProblems(classes, centres, full, full)
        mean = np.add.reduceat(rows.features[order], first, axis=0)
        mean /= np.diff(first, append=len(keys))[:, None].astype(np.float32)
        sums: list[Doubles] = [np.add.reduceat(weight[order], first) for weight in weights]
        means = Table.of(mean, rows.labels[order[first]], sums, classes).whole()
        return LogisticProblems(classes, centres, full, means)

    def rounding(self, operand: Operand, objective: float) -> float:
        """By how much rounding may have changed the gradient, `ROUNDING` times what it does to a number at a time.

        With r = 1 - P_y of an image, which is no more than its loss, and signs that are as good as random:
            |error|^2 <= sum_i (eps a_i r_i |x_i|)^2 <= eps^2 max |x|^2 max a sum_i a_i loss_i
        """
        heaviest = operand.c * float(self.full.weights[operand.problem].max())
        return float(ROUNDING * np.finfo(operand.at.dtype).eps * self.longest * (heaviest * objective) ** 0.5)

    @functools.cached_property
    def longest(self) -> float:
        """max |x|, the column of ones included."""
        features = self.full.features
        return float(np.sqrt(np.einsum("ij,ij->i", features, features).max()))

    @functools.cached_property
    def heaviest(self) -> list[int]:
        """For each problem the class that weighs most."""
        table = self.full
        return [int(np.bincount(*each).argmax()) for each in zip(table.labels, table.weights, strict=True)]

    def renewal(self, problem: int, rows: int) -> int | None:
        """Steps after which another `weigh` pays, if steps are made on so many rows; None: not even the first does.

        Counted in multiplications; with what an eigendecomposition, reading the rows, and any step at all take of them.
        """
        images, dim = self.mean.features.shape
        classes = len(self.start(problem))
        step = 4 * rows * dim * (classes + 20) + 10_000_000
        weigh = images * (dim**2 + classes**2) + 40 * (dim**3 + classes**3) + 50_000_000
        return max(8, 4 * weigh // step) if weigh <= WORTH * step else None

    def start(self, problem: int) -> Floats:
        """`(C, D + 1)`: no weights, and the intercepts that are the best then."""
        table = self.full
        mass = np.bincount(table.labels[problem], weights=table.weights[problem], minlength=len(self.classes[problem]))
        logs = np.log(mass)
        logs = logs[1:] - logs[:1] if len(logs) == 2 else logs - logs.mean()
        point = np.zeros((len(logs), len(self.centres[problem]) + 1), dtype=np.float32)
        point[:, -1] = logs
        return point

    @functools.cached_property
    def exact(self) -> Table:
        """All rows in float64, for problems that rounding keeps from their tolerance."""
        return self.full.exact()

    @property
    def kinds(self) -> dict[str, Callable[[list[Operand]], list[Any]]]:
        """What serves the requests of each kind, the cheap kinds first; the first three where `dual` says so."""
        return {
            "project": self.project,
            "kernel": self.kernel,
            "lift": self.lift,
            "scale": lambda operands: threads.in_threads(self.scale, operands),
            "weigh": lambda operands: threads.in_threads(self.weigh, operands),
            "bend": lambda operands: threads.in_threads(self.bend, operands),
            "multiply": self.multiply,
            "mean": lambda operands: self.evaluate(self.mean, operands),
            "full": lambda operands: self.evaluate(self.full, operands),
            "exact": lambda operands: self.evaluate(self.exact, operands),
        }

    def evaluate(self, table: Table, operands: Sequence[Operand]) -> list[tuple[float, Floats]]:
        """F and its gradient, `(C, D + 1)`, of each on these rows.

        With P = softmax(X W^T), Y one-hot and a the weights times c:
            F = -sum_i a_i log P[i, y_i] + |W|^2 / 2        dF/dW = (a * (P - Y))^T X + W, the intercepts not penalised
        """
        stacked = self.stacked(operands).astype(table.features.dtype, copy=False)
        losses, sums = sweep(table, stacked, operands, to_residuals)
        found = []
        for each, loss, slope in zip(operands, losses, self.split(sums, operands), strict=True):
            weights = each.at[:, :-1]
            slope[:, :-1] += weights
            if (
                len(slope) > 1
            ):  # shifting all intercepts changes nothing; what rounding says otherwise hurts least there
                slope[self.heaviest[each.problem], -1] -= slope[:, -1].sum()
            found.append((float(loss) + dot(weights, weights) / 2, slope))
        return found

    def bend(self, operand: Operand) -> tuple[Doubles, float]:
        """Take the mean-view problem's Hessian here for what follows; the intercepts' part of it, and their ridge."""
        weight = (operand.c * self.mean.weights[operand.problem]).astype(np.float32)
        curvature = self.curvatures[operand.problem] = Curvature(self.probabilities(operand), weight)
        hessian, ridge = curvature.of_intercepts()
        self.ridges[operand.problem] = ridge
        return hessian, ridge

    def probabilities(self, operand: Operand) -> Floats:
        """`(C, n)` of the mean views."""
        scores = scores_of(self.mean.features, self.stacked([operand]).astype(np.float32, copy=False))
        to_probabilities(scores)
        return scores

    def weigh(self, operand: Operand) -> None:
        """Take the Hessian's approximation here for what `scale` is asked for."""
        hessian, ridge = self.bend(operand)
        curvature = self.curvatures[operand.problem]
        self.metrics[operand.problem] = Metric.of(
            self.mean.features[:, :-1],
            self.centres[operand.problem],
            curvature.probabilities,
            curvature.weight,
            hessian,
            ridge,
        )

    def scale(self, operand: Operand) -> Floats:
        """The inverse of that approximation times a direction."""
        return self.metrics[operand.problem].invert(operand.at)

    def multiply(self, operands: Sequence[Operand]) -> list[Floats]:
        """The mean-view problem's Hessian times each direction.

        With S = X V^T:  H V = (a * (P * S - P (P . S)))^T X + V, the intercepts with their ridge in place of 1
        """
        products = self.split(sweep(self.mean, self.stacked(operands), operands, self.bend_rows)[1], operands)
        for each, product in zip(operands, products, strict=True):
            product[:, :-1] += each.at[:, :-1]
            product[:, -1] += self.ridges[each.problem] * each.at[:, -1]
        return products

    def bend_rows(self, table: Table, rows: slice, operand: Operand, scores: Floats) -> float:
        """See `Curvature`; there is no loss to return."""
        self.curvatures[operand.problem].apply(scores, rows)
        return 0.0

    # The same Hessian in the span of n mean views: M, `(n, D + 1)`, are the centred mean views with a last column of
    # 1 / sqrt(ridge), which makes the penalty of the intercepts 1, too:
    #     H = I + M^T B M      with  B S = a * (P * S - P (P . S))

    @property
    def dual(self) -> bool:
        """Whether M M^T costs less than M and M^T."""
        count, dim = self.mean.features.shape
        return bool(count <= DUAL * dim)

    @functools.cached_property
    def gram(self) -> Floats:
        """`(n, n)` inner products of the mean views, not centred."""
        features = self.mean.features[:, :-1]
        return features @ features.T

    def project(self, operands: Sequence[Operand]) -> list[Floats]:
        """(M V^T)^T for each `(C, D + 1)` direction: `(C, n)`."""
        scaled = [replace(each, at=scale_intercepts(each.at, self.ridges[each.problem])) for each in operands]
        return parts(multiply(self.stacked(scaled), self.mean.features.T), operands)

    def lift(self, operands: Sequence[Operand]) -> list[Floats]:
        """S^T M for each `(C, n)` S: `(C, D + 1)`."""
        lifted = self.split(multiply(np.concatenate([each.at for each in operands]), self.mean.features), operands)
        return [scale_intercepts(part, self.ridges[each.problem]) for each, part in zip(operands, lifted, strict=True)]

    def kernel(self, operands: Sequence[Operand]) -> list[tuple[Floats, Floats]]:
        """B S and M M^T B S for each `(C, n)` S^T, transposed likewise.

        With m the centre, k = X m and s the sum of a row of (B S)^T:
            M M^T = X X^T - k 1^T - 1 k^T + (|m|^2 + 1 / ridge) 1 1^T
        """
        turned = threads.in_threads(self.bend_turned, operands)
        sums = multiply(np.concatenate(turned), self.gram)
        found = []
        for each, part, product in zip(operands, turned, parts(sums, operands), strict=True):
            centre, cross = self.centres[each.problem], self.crosses[each.problem]
            total = part.sum(axis=1, keepdims=True)
            square = np.float32(centre @ centre + 1 / self.ridges[each.problem])
            product += total * (square - cross) - (part @ cross)[:, None]
            found.append((part, product))
        return found

    def bend_turned(self, operand: Operand) -> Floats:
        """(B S)^T for `(C, n)` S^T."""
        scores = operand.at.copy()
        self.curvatures[operand.problem].apply(scores)
        return scores

    @functools.cached_property
    def crosses(self) -> list[Floats]:
        """For each problem k, `(n,)`: the mean views times its centre."""
        return [self.mean.features[:, :-1] @ centre for centre in self.centres]

    def stacked(self, operands: Sequence[Operand]) -> Floats:
        """The weights of all, for features that are not centred."""
        stacked = np.concatenate([each.at for each in operands])
        for each, part in zip(operands, parts(stacked, operands), strict=True):
            part[:, -1] -= part[:, :-1] @ self.centres[each.problem]
        return stacked

    def split(self, sums: Floats, operands: Sequence[Operand]) -> list[Floats]:
        """Sums of r x^T over features that are not centred -> each problem's, over centred ones."""
        split = parts(sums, operands)
        for each, part in zip(operands, split, strict=True):
            part[:, :-1] -= np.outer(part[:, -1], self.centres[each.problem])
        return split


def dot(one: Floats, other: Floats) -> float:
    """The inner product of two arrays."""
    return float(np.vdot(one, other))
