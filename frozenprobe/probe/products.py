"""The products of logistic regression over shared rows: objective, gradient and Hessian of many problems in one go."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.scaling import Doubles, Floats

Ints = npt.NDArray[np.int64]

BLOCK = 16384  # rows whose scores are in memory at once
SLICE = 256  # rows that a thread works on at once: their scores stay in its cache
BIAS_CURVATURE = 1e-3  # the intercepts are not penalised: their Hessian is singular along (1, ..., 1)


@dataclass(frozen=True)
class Rows:
    """What all problems share.

    Attributes:
        features: `(n, D)` float32.
        labels: `(n,)` class of each row, 0 to C - 1.
        images: `(n,)` which image a row is a view of.
    """

    features: Floats
    labels: Ints
    images: Ints


@dataclass(frozen=True)
class Asked:
    """One problem's part of a product.

    Attributes:
        problem: its number.
        c: multiplies its weights.
        at: `(C, D + 1)` weights or direction, the intercepts (of centred features) last.
    """

    problem: int
    c: float
    at: Floats


@dataclass(frozen=True)
class Table:
    """Rows with a column of ones, and what each problem sees of them.

    Attributes:
        features: `(n, D + 1)`.
        labels: for each problem `(n,)` index into the classes it has; 0 for rows without weight.
        weights: for each problem `(n,)` float32.
    """

    features: Floats
    labels: list[Ints]
    weights: list[Floats]

    @staticmethod
    def of(features: Floats, labels: Ints, weights: Sequence[Doubles], classes: Sequence[Ints]) -> Table:
        """Lay out rows for problems that have these weights and classes."""
        ones = np.ones((len(features), 1), dtype=np.float32)
        local = [np.where(np.isin(labels, own), np.searchsorted(own, labels), 0) for own in classes]
        return Table(np.hstack([features, ones]), local, [weight.astype(np.float32) for weight in weights])


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
    """

    classes: list[Ints]
    centres: list[Floats]
    full: T
    mean: T

    @abstractmethod
    def sum_residuals(self, table: T, stacked: Floats, asked: Sequence[Asked]) -> tuple[Doubles, Floats]:
        """Each problem's sum of losses, and all their (a * (P - Y))^T X, stacked as the weights are."""

    @abstractmethod
    def sum_curvatures(self, stacked: Floats, asked: Asked) -> Floats:
        """Keep P = softmax(X W^T) of the mean views for `sum_bent`; sum_i a_i (diag(p_i) - p_i p_i^T), `(C, C)`."""

    @abstractmethod
    def sum_bent(self, stacked: Floats, asked: Sequence[Asked]) -> Floats:
        """Of the mean views (a * (P * S - P (P . S)))^T X with S = X V^T, stacked as the directions V are."""

    def evaluate(self, table: T, asked: Sequence[Asked]) -> list[tuple[float, Floats]]:
        """F and its gradient, `(C, D + 1)`, of each on these rows.

        With P = softmax(X W^T), Y one-hot and a the weights times c:
            F = -sum_i a_i log P[i, y_i] + |W|^2 / 2        dF/dW = (a * (P - Y))^T X + W, the intercepts not penalised
        """
        losses, sums = self.sum_residuals(table, self.stacked(asked), asked)
        answers = []
        for each, loss, slope in zip(asked, losses, self.split(sums, asked), strict=True):
            weights = each.at[:, :-1]
            slope[:, :-1] += weights
            answers.append((float(loss) + dot(weights, weights) / 2, slope))
        return answers

    def bend(self, asked: Asked) -> Floats:
        """Take the mean-view problem's Hessian at this point for `multiply`; its part of the intercepts, `(C, C)`."""
        curvature = self.sum_curvatures(self.stacked([asked]), asked)
        return curvature + np.float32(BIAS_CURVATURE) * np.eye(len(curvature), dtype=np.float32)

    def multiply(self, asked: Sequence[Asked]) -> list[Floats]:
        """The mean-view problem's Hessian, at the point last given to `bend`, times each direction.

        With S = X V^T:  H V = (a * (P * S - P (P . S)))^T X + V
        """
        products = self.split(self.sum_bent(self.stacked(asked), asked), asked)
        for each, product in zip(asked, products, strict=True):
            product[:, :-1] += each.at[:, :-1]
            product[:, -1] += np.float32(BIAS_CURVATURE) * each.at[:, -1]
        return products

    def stacked(self, asked: Sequence[Asked]) -> Floats:
        """The weights of all, for features that are not centred."""
        stacked = np.concatenate([each.at for each in asked])
        for each, part in zip(asked, np.split(stacked, ends(asked)), strict=True):
            part[:, -1] -= part[:, :-1] @ self.centres[each.problem]
        return stacked

    def split(self, sums: Floats, asked: Sequence[Asked]) -> list[Floats]:
        """Sums of r x^T over features that are not centred -> each problem's, over centred ones."""
        parts = np.split(sums, ends(asked))
        for each, part in zip(asked, parts, strict=True):
            part[:, :-1] -= np.outer(part[:, -1], self.centres[each.problem])
        return parts


@dataclass
class LogisticProducts(Products[Table]):
    """Sums over rows in float32 on the CPU; losses are summed in float64.

    Attributes:
        curvature: for each problem the probabilities on mean views at the point last given to `bend`, and the weights.
    """

    curvature: dict[int, tuple[Floats, Floats]] = field(default_factory=dict)

    @staticmethod
    def of(rows: Rows, weights: Sequence[Doubles]) -> LogisticProducts:
        """Lay out the rows for problems of these row weights."""
        classes = [np.unique(rows.labels[weight > 0]) for weight in weights]
        keys = rows.images * (int(rows.labels.max()) + 1) + rows.labels
        _, first, image, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        mean = np.zeros((len(first), rows.features.shape[1]), dtype=np.float32)
        np.add.at(mean, image, rows.features)
        mean /= count[:, None].astype(np.float32)
        sums: list[Doubles] = [np.bincount(image, weights=weight).astype(np.float64) for weight in weights]
        centres = [weight @ rows.features / weight.sum() for weight in map(np.float32, weights)]
        return LogisticProducts(
            classes,
            centres,
            Table.of(rows.features, rows.labels, weights, classes),
            Table.of(mean, rows.labels[first], sums, classes),
        )

    def sum_residuals(self, table: Table, stacked: Floats, asked: Sequence[Asked]) -> tuple[Doubles, Floats]:
        """See `Products`."""
        losses, sums = np.zeros(len(asked)), np.zeros_like(stacked)
        for block in slices(len(table.features), BLOCK):
            scores = table.features[block] @ stacked.T
            losses += in_threads(lambda *part, block=block: to_residuals(table, block, asked, *part), scores, asked)
            sums += scores.T @ table.features[block]
        return losses, sums

    def sum_curvatures(self, stacked: Floats, asked: Asked) -> Floats:
        """See `Products`."""
        scores = self.mean.features @ stacked.T
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        weight = np.float32(asked.c) * self.mean.weights[asked.problem][:, None]
        self.curvature[asked.problem] = (scores, weight)
        weighted = scores * weight
        curvature: Floats = np.diag(weighted.sum(axis=0)) - weighted.T @ scores
        return curvature

    def sum_bent(self, stacked: Floats, asked: Sequence[Asked]) -> Floats:
        """See `Products`."""
        scores = self.mean.features @ stacked.T

        def bend(rows: slice, number: int, part: Floats) -> float:
            probabilities, weight = (array[rows] for array in self.curvature[asked[number].problem])
            part *= probabilities
            part -= probabilities * part.sum(axis=1, keepdims=True)
            part *= weight
            return 0.0

        in_threads(bend, scores, asked)
        return (scores.T @ self.mean.features).astype(np.float32, copy=False)


def to_residuals(table: Table, block: slice, asked: Sequence[Asked], rows: slice, number: int, scores: Floats) -> float:
    """Scores of some rows of a block -> a * (P - Y), in place; returns their loss."""
    each = asked[number]
    labels = table.labels[each.problem][block][rows]
    weight = np.float32(each.c) * table.weights[each.problem][block][rows]
    here = np.arange(len(scores))
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[here, labels]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    scores *= (weight / total)[:, None]
    scores[here, labels] -= weight
    return float(weight.astype(np.float64) @ (np.log(total) - own))


def ends(asked: Sequence[Asked]) -> Ints:
    """Where the columns of one problem end and those of the next begin."""
    return np.cumsum([len(each.at) for each in asked])[:-1]


def slices(count: int, size: int) -> Iterator[slice]:
    """0 to count in pieces."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def in_threads(work: Callable[[slice, int, Floats], float], scores: Floats, asked: Sequence[Asked]) -> Doubles:
    """Call `work(rows, number, part)` for slices of rows and each problem's columns of the scores; sums."""
    bounds = [0, *ends(asked).tolist(), scores.shape[1]]

    def run(rows: slice) -> list[float]:
        return [work(rows, number, scores[rows, bounds[number] : bounds[number + 1]]) for number in range(len(asked))]

    pieces = list(slices(len(scores), SLICE))
    found = list(pool().map(run, pieces) if THREADS > 1 and len(pieces) > 1 else map(run, pieces))
    total: Doubles = np.sum(found, axis=0)
    return total


def dot(one: Floats, other: Floats) -> float:
    """The inner product of two arrays."""
    return float(np.vdot(one, other))


THREADS = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
POOL: list[ThreadPoolExecutor] = []


def pool() -> ThreadPoolExecutor:
    """The threads, made when they are first needed."""
    if not POOL:
        POOL.append(ThreadPoolExecutor(THREADS))
    return POOL[0]
