"""Many problems of logistic regression on shared rows: objective, gradient and Hessian of all of them in one go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg.sums import Operand, Table, multiply, parts, sweep, to_residuals
from frozenprobe.system import threads

BIAS_RIDGE = 1e-2  # of the intercepts' mean curvature: not penalised, their Hessian is singular along (1, ..., 1)
LEAST_RIDGE = 1e-7  # of the rows' weight by class: where every image is certain nothing is left but rounding
DUAL = 1.5  # a kernel of n x n is cheaper than two products with n x D as long as n is not much larger than D


@dataclass(frozen=True)
class Curvature:
    """The mean-view problem's Hessian at a point.

    Attributes:
        probabilities: `(n, C)` of the mean views.
        weight: `(n, 1)` of the mean views, times c.
    """

    probabilities: Floats
    weight: Floats

    def apply(self, scores: Floats, rows: slice = slice(None)) -> None:
        """S -> a * (P * S - P (P . S)), in place."""
        probabilities = self.probabilities[rows]
        scores *= probabilities
        scores -= probabilities * scores.sum(axis=1, keepdims=True)
        scores *= self.weight[rows]

    def of_intercepts(self) -> tuple[Doubles, float]:
        """The intercepts' part, `(C, C)`: sum_i a_i (diag(p_i) - p_i p_i^T); and the ridge that makes it invertible.

        In float64: the p (1 - p) of images that are nearly certain would drown in rounding.
        """
        exact = self.probabilities.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)
        weighted = exact * self.weight
        first = weighted.sum(axis=0)
        hessian: Doubles = np.diag(first) - weighted.T @ exact
        ridge = max(BIAS_RIDGE * np.trace(hessian), LEAST_RIDGE * first.sum()) / len(hessian)
        return hessian, float(ridge)


@dataclass
class LogisticProblems:
    """What the solver asks for: sums over rows in float32, or in float64 where rounding is in its way.

    Every problem sees the features x less the mean m of its own rows, which makes the Hessian far better conditioned:
        z = W (x - m) + b = W x + (b - W m)        dF/dW = sum_i r_i (x_i - m)^T = sum_i r_i x_i^T - (sum_i r_i) m^T

    Attributes:
        classes: for each problem the classes that have weight.
        centres: for each problem m, `(D,)`.
        full: all rows.
        mean: a row for each image (and label, should it have several): its mean view, with the weight of all its views.
        curvatures: of each problem, at the point last given to `bend`.
        ridges: of each problem, the penalty on its intercepts that makes its Hessian invertible, there.
    """

    classes: list[Ints]
    centres: list[Floats]
    full: Table
    mean: Table
    curvatures: dict[int, Curvature] = field(init=False, default_factory=dict)
    ridges: dict[int, float] = field(init=False, default_factory=dict)

    @staticmethod
    def of(rows: TrainingRows, weights: Sequence[Doubles]) -> LogisticProblems:
        """Lay out the rows for problems of these row weights."""
        classes = [np.unique(rows.labels[weight > 0]) for weight in weights]
        keys = rows.images * (int(rows.labels.max()) + 1) + rows.labels
        _, first, image, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        mean = np.zeros((len(first), rows.features.shape[1]), dtype=np.float32)
        np.add.at(mean, image, rows.features)
        mean /= count[:, None].astype(np.float32)
        sums: list[Doubles] = [np.bincount(image, weights=weight).astype(np.float64) for weight in weights]
        centres = [weight @ rows.features / weight.sum() for weight in map(np.float32, weights)]
        return LogisticProblems(
            classes,
            centres,
            Table.of(rows.features, rows.labels, weights, classes),
            Table.of(mean, rows.labels[first], sums, classes).whole(),
        )

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
            "bend": lambda operands: [self.bend(each) for each in operands],
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
        for each, loss, slope in zip(operands, losses, self.split(sums.astype(np.float32), operands), strict=True):
            weights = each.at[:, :-1]
            slope[:, :-1] += weights
            slope[:, -1] -= slope[:, -1].mean()  # shifting all intercepts changes nothing; rounding says otherwise
            found.append((float(loss) + dot(weights, weights) / 2, slope))
        return found

    def bend(self, operand: Operand) -> tuple[Doubles, float]:
        """Take the mean-view problem's Hessian here for what follows; the intercepts' part of it, and their ridge."""
        scores = self.mean.features @ self.stacked([operand]).T
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        weight = np.float32(operand.c) * self.mean.weights[operand.problem][:, None]
        curvature = self.curvatures[operand.problem] = Curvature(scores, weight)
        hessian, ridge = curvature.of_intercepts()
        self.ridges[operand.problem] = ridge
        return hessian, ridge

    def multiply(self, operands: Sequence[Operand]) -> list[Floats]:
        """The mean-view problem's Hessian times each direction.

        With S = X V^T:  H V = (a * (P * S - P (P . S)))^T X + V, the intercepts with their ridge in place of 1
        """
        products = self.split(sweep(self.mean, self.stacked(operands), operands, self.bend_rows)[1], operands)
        for each, product in zip(operands, products, strict=True):
            product[:, :-1] += each.at[:, :-1]
            product[:, -1] += np.float32(self.ridges[each.problem]) * each.at[:, -1]
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
        scores = operand.at.T.copy()
        self.curvatures[operand.problem].apply(scores)
        return scores.T

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


def scale_intercepts(at: Floats, ridge: float) -> Floats:
    """The last column over the root of the ridge: variables in which the intercepts' penalty is 1."""
    scaled = at.copy()
    scaled[:, -1] /= np.float32(ridge**0.5)
    return scaled
