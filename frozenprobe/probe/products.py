"""The products of logistic regression over shared rows: objective, gradient and Hessian of many problems in one go."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

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


@dataclass
class LogisticProducts:
    """Answers in float32 on the CPU; losses are summed in float64.

    Every problem sees the features x less the mean m of its own rows, which makes the Hessian far better conditioned:
        z = W (x - m) + b = W x + (b - W m)        dF/dW = sum_i r_i (x_i - m)^T = sum_i r_i x_i^T - (sum_i r_i) m^T

    Attributes:
        classes: for each problem the classes that have weight.
        centres: for each problem m, `(D,)`.
        full: all rows.
        mean: a row for each image (and label, should it have several): its mean view, with the weight of all its views.
        curvature: for each problem the probabilities on mean views at the point last given to `bend`, and the weights.
    """

    classes: list[Ints]
    centres: list[Floats]
    full: Table
    mean: Table
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

    def evaluate(self, table: Table, asked: Sequence[Asked]) -> list[tuple[float, Floats]]:
        """F and its gradient, `(C, D + 1)`, of each on these rows.

        With P = softmax(X W^T), Y one-hot and a the weights times c:
            F = -sum_i a_i log P[i, y_i] + |W|^2 / 2        dF/dW = (a * (P - Y))^T X + W, the intercepts not penalised
        """
        losses = np.zeros(len(asked))
        gradient = np.zeros((sum(len(each.at) for each in asked), table.features.shape[1]), dtype=np.float32)
        stacked = self.stacked(asked).T
        for block in slices(len(table.features), BLOCK):
            scores = table.features[block] @ stacked
            losses += in_threads(lambda *part, block=block: to_residuals(table, block, asked, *part), scores, asked)
            gradient += scores.T @ table.features[block]
        answers = []
        for each, loss, slope in zip(asked, losses, self.split(gradient, asked), strict=True):
            weights = each.at[:, :-1]
            slope[:, :-1] += weights
            answers.append((float(loss) + dot(weights, weights) / 2, slope))
        return answers

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

    def bend(self, asked: Asked) -> Floats:
        """Take the mean-view problem's Hessian at this point for `multiply`; its part of the intercepts, `(C, C)`."""
        scores = self.mean.features @ self.stacked([asked]).T
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        weight = np.float32(asked.c) * self.mean.weights[asked.problem]
        self.curvature[asked.problem] = (scores, weight[:, None])
        weighted = scores * weight[:, None]
        curvature: Floats = np.diag(weighted.sum(axis=0) + np.float32(BIAS_CURVATURE)) - weighted.T @ scores
        return curvature

    def multiply(self, asked: Sequence[Asked]) -> list[Floats]:
        """The mean-view problem's Hessian, at the point last given to `bend`, times each direction.

        With S = X V^T:  H V = (a * (P * S - P (P . S)))^T X + V
        """
        features = self.mean.features
        scores = features @ self.stacked(asked).T

        def bend(rows: slice, number: int, part: Floats) -> float:
            probabilities, weight = (array[rows] for array in self.curvature[asked[number].problem])
            part *= probabilities
            part -= probabilities * part.sum(axis=1, keepdims=True)
            part *= weight
            return 0.0

        in_threads(bend, scores, asked)
        products = self.split((scores.T @ features).astype(np.float32, copy=False), asked)
        for each, product in zip(asked, products, strict=True):
            product[:, :-1] += each.at[:, :-1]
            product[:, -1] += np.float32(BIAS_CURVATURE) * each.at[:, -1]
        return products


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
