"""Many problems of logistic regression on shared rows: objective, gradient and Hessian of all of them in one go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints

BIAS_RIDGE = 1e-2  # of the intercepts' mean curvature: not penalised, their Hessian is singular along (1, ..., 1)
LEAST_RIDGE = 1e-7  # of the rows' weight by class: where every image is certain nothing is left but rounding


@dataclass(frozen=True)
class Operand:
    """One problem's part of a product.

    Attributes:
        problem: its number.
        c: multiplies its weights.
        at: `(C, D + 1)` weights or direction, the intercepts (of centred features) last.
    """

    problem: int
    c: float
    at: Floats


T = TypeVar("T")  # a table, where the products are made


@dataclass
class Products(ABC, Generic[T]):
    """What the solver asks for; where the sums over rows are made is left to `LogisticProducts` and `TorchProducts`.

    Every problem sees the features x less the mean m of its own rows, which makes the Hessian far better conditioned:
        z = W (x - m) + b = W x + (b - W m)        dF/dW = sum_i r_i (x_i - m)^T = sum_i r_i x_i^T - (sum_i r_i) m^T

    Attributes:
        classes: for each problem the classes that have weight.
        centres: for each problem m, `(D,)`.
        full: all rows.
        mean: a row for each image (and label, should it have several): its mean view, with the weight of all its views.
        ridges: of each problem, the penalty on its intercepts that makes its Hessian invertible, at the point last
            given to `bend`.
    """

    classes: list[Ints]
    centres: list[Floats]
    full: T
    mean: T
    ridges: dict[int, float] = field(init=False, default_factory=dict)

    @abstractmethod
    def sum_residuals(self, table: T, stacked: Floats, operands: Sequence[Operand]) -> tuple[Doubles, Floats]:
        """Each problem's sum of losses, and all their (a * (P - Y))^T X, stacked as the weights are.

        In the precision of the table.
        """

    @abstractmethod
    def sum_probabilities(self, stacked: Floats, operand: Operand) -> tuple[Doubles, Doubles]:
        """Keep P = softmax(X W^T) of the mean views for `sum_bent`; sum_i a_i p_i, `(C,)`, and sum_i a_i p_i p_i^T.

        In float64: the p (1 - p) of images that are nearly certain would drown in rounding.
        """

    @abstractmethod
    def sum_bent(self, stacked: Floats, operands: Sequence[Operand]) -> Floats:
        """Of the mean views (a * (P * S - P (P . S)))^T X with S = X V^T, stacked as the directions V are."""

    @property
    @abstractmethod
    def exact(self) -> T:
        """All rows in float64, for problems that rounding keeps from their tolerance."""

    def evaluate(self, table: T, operands: Sequence[Operand]) -> list[tuple[float, Floats]]:
        """F and its gradient, `(C, D + 1)`, of each on these rows.

        With P = softmax(X W^T), Y one-hot and a the weights times c:
            F = -sum_i a_i log P[i, y_i] + |W|^2 / 2        dF/dW = (a * (P - Y))^T X + W, the intercepts not penalised
        """
        losses, sums = self.sum_residuals(table, self.stacked(operands), operands)
        found = []
        for each, loss, slope in zip(operands, losses, self.split(sums.astype(np.float32), operands), strict=True):
            weights = each.at[:, :-1]
            slope[:, :-1] += weights
            slope[:, -1] -= slope[:, -1].mean()  # shifting all intercepts changes nothing; rounding says otherwise
            found.append((float(loss) + dot(weights, weights) / 2, slope))
        return found

    def bend(self, operand: Operand) -> tuple[Doubles, float]:
        """Take the mean-view problem's Hessian here for what follows; the intercepts' part of it, and their ridge."""
        first, second = self.sum_probabilities(self.stacked([operand]), operand)
        curvature: Doubles = np.diag(first) - second
        ridge = float(max(BIAS_RIDGE * np.trace(curvature), LEAST_RIDGE * first.sum()) / len(curvature))
        self.ridges[operand.problem] = ridge
        return curvature, ridge

    def multiply(self, operands: Sequence[Operand]) -> list[Floats]:
        """The mean-view problem's Hessian times each direction.

        With S = X V^T:  H V = (a * (P * S - P (P . S)))^T X + V, the intercepts with their ridge in place of 1
        """
        products = self.split(self.sum_bent(self.stacked(operands), operands), operands)
        for each, product in zip(operands, products, strict=True):
            product[:, :-1] += each.at[:, :-1]
            product[:, -1] += np.float32(self.ridges[each.problem]) * each.at[:, -1]
        return products

    @property
    def kinds(self) -> dict[str, Callable[[list[Operand]], list[Any]]]:
        """What serves the requests of each kind, the cheap kinds first."""
        return {
            "bend": lambda operands: [self.bend(each) for each in operands],
            "multiply": self.multiply,
            "mean": lambda operands: self.evaluate(self.mean, operands),
            "full": lambda operands: self.evaluate(self.full, operands),
            "exact": lambda operands: self.evaluate(self.exact, operands),
        }

    @property
    def dual(self) -> bool:
        """Whether `project`, `kernel` and `lift` are there, and better than `multiply`: see `LogisticProducts`."""
        return False

    def stacked(self, operands: Sequence[Operand]) -> Floats:
        """The weights of all, for features that are not centred."""
        stacked = np.concatenate([each.at for each in operands])
        for each, part in zip(operands, np.split(stacked, ends(operands)), strict=True):
            part[:, -1] -= part[:, :-1] @ self.centres[each.problem]
        return stacked

    def split(self, sums: Floats, operands: Sequence[Operand]) -> list[Floats]:
        """Sums of r x^T over features that are not centred -> each problem's, over centred ones."""
        parts = np.split(sums, ends(operands))
        for each, part in zip(operands, parts, strict=True):
            part[:, :-1] -= np.outer(part[:, -1], self.centres[each.problem])
        return parts


def ends(operands: Sequence[Operand]) -> Ints:
    """Where the columns of one problem end and those of the next begin."""
    return np.cumsum([len(each.at) for each in operands])[:-1]


def dot(one: Floats, other: Floats) -> float:
    """The inner product of two arrays."""
    return float(np.vdot(one, other))


def scale_intercepts(at: Floats, ridge: float) -> Floats:
    """The last column over the root of the ridge: variables in which the intercepts' penalty is 1."""
    scaled = at.copy()
    scaled[:, -1] /= np.float32(ridge**0.5)
    return scaled
