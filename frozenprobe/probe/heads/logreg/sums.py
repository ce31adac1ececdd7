"""The sums over rows that logistic regression needs: numpy in threads of our own.

Every thread takes blocks of rows through product, softmax and product while their scores are in its cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.system import threads

THREAD_ROWS = 512  # rows that a thread works on at once, and more of rows so short
BLOCK = 2**20  # so that features and scores of a block have fewer numbers than this
ALONE = 2**22  # multiplications that one thread has done before two have shared them and the interpreter
FEW = 64  # rows of W, up to which BLAS is much faster at X W^T than at W X^T


@dataclass(frozen=True)
class Operand:
    """One problem's part of a product.

    Attributes:
        problem: its number.
        c: multiplies its weights.
        at: `(C, D + 1)` weights or direction, the intercepts (of centred features) last; of two classes `(1, D + 1)`.
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
        labels: for each problem `(n,)` index into the classes it has; 0 for rows of other classes.
        weights: for each problem `(n,)`.
        segments: of the rows.
        order: `(n,)` which of the given rows each one is.
    """

    features: Floats
    labels: list[Ints]
    weights: list[Doubles]
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
        kind = np.zeros(len(labels), dtype=np.int64)
        for weight in weights:  # numbers the sets of problems in which rows have weight
            kind = 2 * kind + (weight > 0)
            kind = np.unique(kind, return_inverse=True)[1] if kind.min() < kind.max() else np.zeros_like(kind)
        order = np.argsort(kind, kind="stable")
        first = np.flatnonzero(np.diff(kind[order], prepend=-1))
        segments = [
            Segment(slice(start, stop), frozenset(n for n, weight in enumerate(weights) if weight[order[start]] > 0))
            for start, stop in pairwise([*first.tolist(), len(labels)])
        ]
        ordered = np.empty((len(features), features.shape[1] + 1), dtype=np.float32)
        ordered[:, -1] = 1
        if len(first) == 1:
            ordered[:, :-1] = features
        else:
            for rows in slices(slice(0, len(features)), THREAD_ROWS):  # no second copy of everything
                ordered[rows, :-1] = features[order[rows]]
        local = []
        for own in classes:
            index = np.zeros(int(labels.max()) + 1, dtype=np.int64)
            index[own] = np.arange(len(own))
            local.append(index[labels[order]])
        return Table(ordered, local, [weight[order] for weight in weights], segments, order)


Change = Callable[
    [Table, slice, Operand, Floats], float
]  # (table, rows, problem, its `(C, rows)` scores of them) -> loss


def sweep(table: Table, stacked: Floats, operands: Sequence[Operand], change: Change) -> tuple[Doubles, Floats]:
    """S = W X^T by blocks of rows of X, each problem's part changed in place -> losses, and S X stacked as W is.

    Rows are not multiplied for problems in which they have no weight.
    """
    groups = [group for group in (Group.of(segment, stacked, operands) for segment in table.segments) if group.operands]
    count = threads.thread_count() if table.features.size * len(stacked) > ALONE else 1
    size = max(THREAD_ROWS, BLOCK // (table.features.shape[1] + 8 * len(stacked)))  # scores are gone over 8 times

    def run(thread: int) -> tuple[Doubles, list[Floats]]:
        losses, sums = np.zeros(len(operands)), [np.zeros_like(group.weights) for group in groups]
        for group, total in zip(groups, sums, strict=True):
            share = -(-(group.rows.stop - group.rows.start) // count)
            for rows in list(slices(group.rows, min(size, max(1, share))))[thread::count]:
                features = table.features[rows]
                scores = scores_of(features, group.weights)
                for number, each, own in zip(group.numbers, group.operands, spans(group.operands), strict=True):
                    losses[number] += change(table, rows, each, scores[own])
                total += scores @ features
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
    columns: Ints | slice
    weights: Floats

    @staticmethod
    def of(segment: Segment, stacked: Floats, operands: Sequence[Operand]) -> Group:
        """Those of the operands."""
        numbers = [number for number, each in enumerate(operands) if each.problem in segment.problems]
        if len(numbers) == len(operands):
            return Group(segment.rows, numbers, [*operands], slice(None), stacked)
        bounds = spans(operands)
        nothing = np.zeros(0, dtype=np.int64)
        columns = np.concatenate([nothing, *(np.arange(bounds[each].start, bounds[each].stop) for each in numbers)])
        return Group(segment.rows, numbers, [operands[each] for each in numbers], columns, stacked[columns])


def scores_of(features: Floats, weights: Floats) -> Floats:
    """W X^T, `(C, rows)`, each class's scores next to each other: sums over few classes are fast along them."""
    if len(weights) > FEW:
        return weights @ features.T
    return np.ascontiguousarray((features @ weights.T).T)


def to_residuals(table: Table, rows: slice, operand: Operand, scores: Floats) -> float:
    """Scores of some rows -> a * (P - Y), in place; returns their loss.

    With e the exponentials and r the part of all classes but y in their sum:  P_y - 1 = -r,  loss = -log(1 - r), and
    of images that are nearly certain neither is the difference of two numbers that are nearly equal.
    """
    labels = table.labels[operand.problem][rows]
    weight = operand.c * table.weights[operand.problem][rows].astype(scores.dtype)
    if len(scores) == 1:
        return to_binary_residuals(scores[0], labels, weight)
    here = labels, np.arange(scores.shape[1])
    scores -= scores.max(axis=0)
    own = scores[here]
    np.exp(scores, out=scores)
    right = scores[here]
    scores[here] = 0
    rest = scores.sum(axis=0)
    total = rest + right
    scores *= weight / total
    rest /= total
    scores[here] = -weight * rest
    loss = np.where(rest < 0.5, -np.log1p(-np.minimum(rest, 0.5)), np.log(total) - own)
    return float(weight.astype(np.float64) @ loss)


def to_binary_residuals(scores: Floats, labels: Ints, weight: Floats) -> float:
    """The same for two classes: `(rows,)` scores of the second against the first."""
    side = 2 * labels.astype(scores.dtype) - 1
    margin = side * scores
    small = np.exp(-np.abs(margin))
    rest = np.where(margin > 0, small, 1) / (1 + small)
    loss = np.log1p(small) - np.minimum(margin, 0)
    np.multiply(-side * weight, rest, out=scores)
    return float(weight.astype(np.float64) @ loss)


def to_probabilities(scores: Floats) -> None:
    """Scores `(C, rows)` -> softmax, of two classes `(1, rows)` -> the second one's probability; in place."""
    top = scores.max(axis=0, initial=0 if len(scores) == 1 else -np.inf)
    scores -= top
    np.exp(scores, out=scores)
    total = scores.sum(axis=0)
    scores /= total + np.exp(-top) if len(scores) == 1 else total


def parts(stacked: Floats, operands: Sequence[Operand]) -> list[Floats]:
    """The rows of each problem, of what is stacked as their weights are."""
    return [stacked[own] for own in spans(operands)]


def spans(operands: Sequence[Operand]) -> list[slice]:
    """The columns of each problem."""
    bounds = accumulate((len(each.at) for each in operands), initial=0)
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def slices(whole: slice, size: int) -> Iterator[slice]:
    """A slice in pieces."""
    return (slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size))


def multiply(left: Floats, right: Floats) -> Floats:
    """left @ right, the rows of `left` shared among the threads."""
    return np.concatenate(threads.in_threads(lambda part: part @ right, np.array_split(left, threads.thread_count())))
