"""The sums over rows that logistic regression needs: numpy in threads of our own.

Every thread takes blocks of rows through product, softmax and product while their scores are in its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.system import threads

THREAD_ROWS = 512  # rows that a thread works on at once


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
        bounds = spans(operands)
        nothing = np.zeros(0, dtype=np.int64)
        columns = np.concatenate([nothing, *(np.arange(bounds[each].start, bounds[each].stop) for each in numbers)])
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


def parts(stacked: Floats, operands: Sequence[Operand]) -> list[Floats]:
    """The rows of each problem, of what is stacked as their weights are."""
    return [stacked[own] for own in spans(operands)]


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
