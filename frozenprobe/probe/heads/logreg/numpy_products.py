"""The sums over rows of logistic regression on the CPU: numpy in threads of our own.

Every thread takes blocks of rows through product, softmax and product while their scores are in its cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg.problems import Operand, Products, ends, scale_intercepts
from frozenprobe.system import threads

THREAD_ROWS = 512  # rows that a thread works on at once
DUAL = 1.5  # a kernel of n x n is cheaper than two products with n x D as long as n is not much larger than D


@dataclass(frozen=True)
class Segment:
    """Rows next to each other, and the problems in which they have weight."""

    rows: slice
    problems: frozenset[int]


@dataclass(frozen=True)
class Table:
    """Rows with a column of ones, and what each problem sees of them.

    Attributes:
        features: `(n, D + 1)`, rows that have weight in the same problems next to each other.
        labels: for each problem `(n,)` index into the classes it has; 0 for rows without weight.
        weights: for each problem `(n,)` float32.
        segments: of the rows.
        order: `(n,)` which of the given rows each one is.
    """

    features: Floats
    labels: list[Ints]
    weights: list[Floats]
    segments: list[Segment]
    order: Ints

    def exact(self) -> Table:
        """The same rows in float64."""
        return replace(self, features=self.features.astype(np.float64))

    def whole(self) -> Table:
        """The same rows in one segment: of a few rows that costs less than many small products."""
        return replace(self, segments=[Segment(slice(0, len(self.features)), frozenset(range(len(self.weights))))])

    @staticmethod
    def of(features: Floats, labels: Ints, weights: Sequence[Doubles], classes: Sequence[Ints]) -> Table:
        """Lay out rows for problems that have these weights and classes."""
        patterns, kind = np.unique(np.stack(weights, axis=1) > 0, axis=0, return_inverse=True)
        order = np.argsort(kind.ravel(), kind="stable")
        bounds = np.cumsum([0, *np.bincount(kind.ravel(), minlength=len(patterns))]).tolist()
        segments = [
            Segment(slice(start, stop), frozenset(np.flatnonzero(pattern)))
            for (start, stop), pattern in zip(pairwise(bounds), patterns, strict=True)
        ]
        ordered = np.ones((len(features), features.shape[1] + 1), dtype=np.float32)
        np.take(features, order, axis=0, out=ordered[:, :-1])
        local = [np.where(np.isin(labels, own), np.searchsorted(own, labels), 0)[order] for own in classes]
        return Table(ordered, local, [weight[order].astype(np.float32) for weight in weights], segments, order)


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


@dataclass
class LogisticProducts(Products[Table]):
    """Sums over rows in float32 on the CPU; losses are summed in float64.

    Attributes:
        curvature: of each problem, at the point last given to `bend`.
    """

    curvature: dict[int, Curvature] = field(default_factory=dict)

    @staticmethod
    def of(rows: TrainingRows, weights: Sequence[Doubles]) -> LogisticProducts:
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
            Table.of(mean, rows.labels[first], sums, classes).whole(),
        )

    def sum_residuals(self, table: Table, stacked: Floats, operands: Sequence[Operand]) -> tuple[Doubles, Floats]:
        """See `Products`."""
        return sweep(table, stacked.astype(table.features.dtype, copy=False), operands, to_residuals)

    def sum_probabilities(self, stacked: Floats, operand: Operand) -> tuple[Doubles, Doubles]:
        """See `Products`."""
        scores = self.mean.features @ stacked.T
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        weight = np.float32(operand.c) * self.mean.weights[operand.problem][:, None]
        self.curvature[operand.problem] = Curvature(scores, weight)
        exact = scores.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)
        weighted = exact * weight
        return weighted.sum(axis=0), weighted.T @ exact

    def sum_bent(self, stacked: Floats, operands: Sequence[Operand]) -> Floats:
        """See `Products`."""
        return sweep(self.mean, stacked, operands, self.bend_rows)[1]

    def bend_rows(self, table: Table, rows: slice, operand: Operand, scores: Floats) -> float:
        """See `Curvature`; there is no loss to return."""
        self.curvature[operand.problem].apply(scores, rows)
        return 0.0

    @property
    def kinds(self) -> dict[str, Callable[[list[Operand]], list[Any]]]:
        """See `Products`; the last three where `dual` says so."""
        return {"project": self.project, "kernel": self.kernel, "lift": self.lift, **super().kinds}

    # The same Hessian in the span of n mean views: M, `(n, D + 1)`, are the centred mean views with a last column of
    # 1 / sqrt(ridge), which makes the penalty of the intercepts 1, too:
    #     H = I + M^T B M      with  B S = a * (P * S - P (P . S))

    @property
    def dual(self) -> bool:
        """Whether M M^T costs less than M and M^T."""
        count, dim = self.mean.features.shape
        return bool(count <= DUAL * dim)

    @functools.cached_property
    def exact(self) -> Table:
        """See `Products`."""
        return self.full.exact()

    @functools.cached_property
    def gram(self) -> Floats:
        """`(n, n)` inner products of the mean views, not centred."""
        features = self.mean.features[:, :-1]
        return features @ features.T

    def project(self, operands: Sequence[Operand]) -> list[Floats]:
        """(M V^T)^T for each `(C, D + 1)` direction: `(C, n)`."""
        scaled = [replace(each, at=scale_intercepts(each.at, self.ridges[each.problem])) for each in operands]
        return np.split(multiply(self.stacked(scaled), self.mean.features.T), ends(operands))

    def lift(self, operands: Sequence[Operand]) -> list[Floats]:
        """S^T M for each `(C, n)` S: `(C, D + 1)`."""
        parts = self.split(multiply(np.concatenate([each.at for each in operands]), self.mean.features), operands)
        return [scale_intercepts(part, self.ridges[each.problem]) for each, part in zip(operands, parts, strict=True)]

    def kernel(self, operands: Sequence[Operand]) -> list[tuple[Floats, Floats]]:
        """B S and M M^T B S for each `(C, n)` S^T, transposed likewise.

        With m the centre, k = X m and s the sum of a row of (B S)^T:
            M M^T = X X^T - k 1^T - 1 k^T + (|m|^2 + 1 / ridge) 1 1^T
        """
        turned = threads.in_threads(self.bend_turned, operands)
        sums = multiply(np.concatenate(turned), self.gram)
        found = []
        for each, part, product in zip(operands, turned, np.split(sums, ends(operands)), strict=True):
            centre, cross = self.centres[each.problem], self.crosses[each.problem]
            total = part.sum(axis=1, keepdims=True)
            square = np.float32(centre @ centre + 1 / self.ridges[each.problem])
            product += total * (square - cross) - (part @ cross)[:, None]
            found.append((part, product))
        return found

    def bend_turned(self, operand: Operand) -> Floats:
        """(B S)^T for `(C, n)` S^T."""
        scores = operand.at.T.copy()
        self.curvature[operand.problem].apply(scores)
        return scores.T

    @functools.cached_property
    def crosses(self) -> list[Floats]:
        """For each problem k, `(n,)`: the mean views times its centre."""
        return [self.mean.features[:, :-1] @ centre for centre in self.centres]


Change = Callable[[Table, slice, Operand, Floats], float]  # (table, rows, problem, its scores of them) -> loss


def sweep(table: Table, stacked: Floats, operands: Sequence[Operand], change: Change) -> tuple[Doubles, Floats]:
    """S = X W^T by blocks of rows, each problem's columns changed in place -> losses, and S^T X stacked as W is.

    Rows are not multiplied for problems in which they have no weight.
    """
    groups = [group for group in (Group.of(segment, stacked, operands) for segment in table.segments) if group.operands]
    count = threads.thread_count()

    def run(thread: int) -> tuple[Doubles, list[Floats]]:
        losses, sums = np.zeros(len(operands)), [np.zeros_like(group.weights) for group in groups]
        for group, total in zip(groups, sums, strict=True):
            share = -(-(group.rows.stop - group.rows.start) // count)
            for rows in list(slices(group.rows, min(THREAD_ROWS, max(1, share))))[thread::count]:
                features = table.features[rows]
                scores = features @ group.weights.T
                for number, each, own in zip(group.numbers, group.operands, spans(group.operands), strict=True):
                    losses[number] += change(table, rows, each, scores[:, own])
                total += scores.T @ features
        return losses, sums

    losses, result = np.zeros(len(operands)), np.zeros_like(stacked)
    for lost, sums in threads.in_threads(run, range(count)):
        losses += lost
        for group, total in zip(groups, sums, strict=True):
            result[group.columns] += total
    return losses, result


@dataclass(frozen=True)
class Group:
    """The problems that see a segment.

    Attributes:
        rows: of the segment.
        numbers: of the problems among the operands.
        operands: the problems' parts.
        columns: where their weights stand.
        weights: of them, stacked.
    """

    rows: slice
    numbers: list[int]
    operands: list[Operand]
    columns: Ints
    weights: Floats

    @staticmethod
    def of(segment: Segment, stacked: Floats, operands: Sequence[Operand]) -> Group:
        """Those of the operands."""
        numbers = [number for number, each in enumerate(operands) if each.problem in segment.problems]
        parts = spans(operands)
        nothing = np.zeros(0, dtype=np.int64)
        columns = np.concatenate([nothing, *(np.arange(parts[each].start, parts[each].stop) for each in numbers)])
        return Group(segment.rows, numbers, [operands[each] for each in numbers], columns, stacked[columns])


def to_residuals(table: Table, rows: slice, operand: Operand, scores: Floats) -> float:
    """Scores of some rows -> a * (P - Y), in place; returns their loss."""
    labels = table.labels[operand.problem][rows]
    weight = np.float32(operand.c) * table.weights[operand.problem][rows]
    here = np.arange(len(scores))
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[here, labels]
    np.exp(scores, out=scores)
    total = scores.sum(axis=1)
    scores *= (weight / total)[:, None]
    scores[here, labels] -= weight
    return float(weight.astype(np.float64) @ (np.log(total) - own))


def spans(operands: Sequence[Operand]) -> list[slice]:
    """The columns of each problem."""
    bounds = [0, *np.cumsum([len(each.at) for each in operands]).tolist()]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def slices(whole: slice, size: int) -> Iterator[slice]:
    """A slice in pieces."""
    return (slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size))


def multiply(left: Floats, right: Floats) -> Floats:
    """left @ right, the rows of `left` shared among the threads."""
    return np.concatenate(threads.in_threads(lambda part: part @ right, np.array_split(left, threads.thread_count())))
