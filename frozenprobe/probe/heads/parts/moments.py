"""First and second moments of feature rows by class: what LDA and ridge need of any set of images, without the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.parts.scaling import Scaling, scaling_from, without_rounding
from frozenprobe.system.threads import one_blas_thread

MULTIPLIED_ROWS = 4096  # rows multiplied in float32 at once
SPREAD = 500  # rows that tell where most of them are
LARGEST = 120  # power of two that float32 divides by
NOTHING = 1e-9  # a weight or a variance that subtraction left over: so much smaller than what it was taken from
ROUNDING = 1e-12  # a variance within classes, as a share of all, that rows in float32 cannot tell from none


@dataclass(frozen=True)
class Moments:
    """Weighted sums over feature rows x, of a class or of all; moments of disjoint rows add, and subtract again.

    Attributes:
        weight: `(C,)` sum of w, by class.
        sums: `(C, D)` sum of w (x - origin), by class.
        second: `(D, D)` sum of w (x - origin) (x - origin)^T over all rows.
        origin: `(D,)`, near the rows, where rounding is small; no result depends on it otherwise.
    """

    weight: Doubles
    sums: Doubles
    second: Doubles
    origin: Doubles

    @classmethod
    def of(cls, features: Floats, labels: Ints, weight: Doubles, *, classes: int, origin: Doubles) -> Moments:
        """The moments of rows: products of a block in float32, sums over blocks in float64.

        Sums and squares of single features are float64 throughout: a constant feature must not look as if it varied.
        So is what lies between the classes, for float32's rounding of it would drown rows close around their means:
            sum w x x^T = sum w (x - m_y) (x - m_y)^T + sum_c s_c s_c^T / w_c    s_c, w_c: sum and weight of class c

        Args:
            features: `(n, D)`.
            labels: `(n,)`, 0 to C - 1.
            weight: `(n,)`.
            classes: C.
            origin: `(D,)`; the mean of the rows, or of some of them, is a good one.
        """
        dim = features.shape[1]
        start_at = origin.astype(np.float32)  # rounded here, so that everything below means the same point
        total = cls(np.zeros(classes), np.zeros((classes, dim)), np.zeros((dim, dim)), start_at.astype(np.float64))
        squares = np.zeros(dim)
        for start in range(0, len(features), MULTIPLIED_ROWS):
            order = start + np.argsort(labels[start : start + MULTIPLIED_ROWS], kind="stable")
            label, share, away = labels[order], weight[order], features[order] - start_at
            first = np.flatnonzero(np.diff(label, prepend=-1))
            weighed = away * share[:, None]
            sums, own = np.add.reduceat(weighed, first, axis=0), np.add.reduceat(share, first)[:, None]
            own[own == 0] = 1
            total.weight[...] += np.bincount(label, weights=share, minlength=classes)
            total.sums[label[first]] += sums
            squares += np.einsum("nd,nd->d", weighed, away)
            away -= np.repeat((sums / own).astype(np.float32), np.diff(first, append=len(label)), axis=0)
            size = power_of_two(away)  # float32 squares neither 1e20 nor 1e-24
            away *= (np.sqrt(share) / size).astype(np.float32)[:, None]
            between = sums / np.sqrt(own)
            total.second[...] += size**2 * (away.T @ away).astype(np.float64) + between.T @ between
        total.second.flat[:: dim + 1] = squares
        return total

    @property
    def classes(self) -> int:
        """C."""
        return len(self.weight)

    @property
    def total_weight(self) -> float:
        """Sum of w."""
        return float(self.weight.sum())

    @property
    def mean(self) -> Doubles:
        """`(D,)` mean of all rows."""
        mean: Doubles = self.origin + self.sums.sum(axis=0) / self.total_weight
        return mean

    @property
    def variance(self) -> Doubles:
        """`(D,)` of all rows; one that is but rounding is 0."""
        square = np.diag(self.second) / self.total_weight
        variance = square - np.square(self.sums.sum(axis=0) / self.total_weight)
        return without_rounding(np.where(variance > NOTHING * square, variance, 0), self.mean)

    @property
    def means(self) -> Doubles:
        """`(C, D)` mean of each class; the origin where a class has no weight."""
        return self.origin + self.sums / np.where(self.weight > 0, self.weight, 1)[:, None]

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of rows; they have one origin."""
        return replace(
            self, weight=self.weight + other.weight, sums=self.sums + other.sums, second=self.second + other.second
        )

    def __sub__(self, other: Moments) -> Moments:
        """The moments without those of `other`, which are in them; what only rounding leaves is nothing."""
        weight, sums, second = self.weight - other.weight, self.sums - other.sums, self.second - other.second
        gone = weight <= NOTHING * self.weight
        still = np.diag(second) <= NOTHING * np.diag(self.second)
        weight[gone], sums[gone] = 0, 0
        sums[:, still], second[still], second[:, still] = 0, 0, 0
        return replace(self, weight=weight, sums=sums, second=second)

    def within(self) -> Doubles:
        """`(D, D)` scatter of rows around the mean of their class, over the total weight.

        sum w (x - m_y) (x - m_y)^T = sum w x x^T - sum_c s_c s_c^T / w_c,  s_c the sum and w_c the weight of class c

        A feature of which only rounding is left, as with one row a class, has none.
        """
        part = self.sums / np.sqrt(np.where(self.weight > 0, self.weight, 1))[:, None]
        scatter: Doubles = part.T @ part
        np.subtract(self.second, scatter, out=scatter)
        scatter /= self.total_weight
        none = np.diag(scatter) <= ROUNDING * np.diag(self.second) / self.total_weight
        scatter[none], scatter[:, none] = 0, 0
        return scatter

    @property
    def within_variance(self) -> float:
        """Mean over the features of the variance within classes; 0 where no two rows of a class differ."""
        square = np.diag(self.second)
        part = (np.square(self.sums) / np.where(self.weight > 0, self.weight, 1)[:, None]).sum(axis=0)
        left = square - part
        return float(left[left > ROUNDING * square].sum()) / (self.total_weight * len(left))

    def noise(self) -> Doubles:
        """`(D, D)` what rows of one class are taken to differ by, with a positive trace: their scatter.

        Where no two rows of a class differ, as with one row a class, nothing tells it: the mean variance of all rows
        (1 if they are all equal) stands for it in every direction, so that the nearest mean wins.
        """
        scatter = self.within()
        if not scatter.any():
            np.fill_diagonal(scatter, float(np.trace(self.total())) / len(scatter) or 1.0)
        return scatter

    def total(self) -> Doubles:
        """`(D, D)` scatter of rows around the mean of all, over the total weight: their covariance."""
        mean = self.sums.sum(axis=0) / self.total_weight
        scatter: Doubles = self.second / self.total_weight - np.outer(mean, mean)
        return scatter

    def scaling(self, name: str) -> Scaling:
        """What `fit_scaling` fits to the rows; the moments are those of L2-normalised rows if it does so.

        Raises:
            FrozenprobeError: no such scaling.
        """
        return scaling_from(name, self.mean, self.variance)

    def scaled(self, scaling: Scaling) -> Moments:
        """The moments of the scaled rows, x -> (x - shift) * factor; a `unit` scaling's rows are normalised already."""
        factor = scaling.factor.astype(np.float64)
        return replace(
            self,
            sums=self.sums * factor,
            second=self.second * factor * factor[:, None],
            origin=(self.origin - scaling.shift) * factor,
        )

    def present(self) -> Ints:
        """The classes that have weight."""
        return np.flatnonzero(self.weight > 0)

    def restricted(self, classes: Ints | Sequence[int]) -> Moments:
        """The same rows with these classes alone, in this order; the others have no weight."""
        kept = np.asarray(classes, dtype=np.int64)
        return replace(self, weight=self.weight[kept], sums=self.sums[kept])


def moments_of(rows: TrainingRows, chosen: npt.NDArray[np.bool_]) -> Moments:
    """The moments of some of the rows, around a point that all of them share."""
    return Moments.of(
        rows.features[chosen],
        rows.labels[chosen],
        rows.weight[chosen],
        classes=rows.classes,
        origin=starting_point(rows.features),
    )


def starting_point(features: Floats) -> Doubles:
    """`(D,)` an origin for these rows: the median of some of them, spread evenly.

    Not the mean: a few huge rows would move it away from all others, whose moments would then drown in rounding; and
    such rows may be ones that the moments are to do without. A constant stays itself.
    """
    if not len(features):
        return np.zeros(features.shape[1])
    return np.asarray(np.median(features[:: 1 + len(features) // SPREAD], axis=0), dtype=np.float64)


def power_of_two(rows: Floats) -> float:
    """One near the largest absolute value, by which dividing is exact; 1 if all are 0."""
    largest = max(float(rows.max(initial=0.0)), -float(rows.min(initial=0.0)))
    return math.ldexp(1.0, min(max(math.frexp(largest)[1], -LARGEST), LARGEST))


def solve_shifted(scatter: Doubles, right: Doubles, path: Sequence[tuple[float, float]]) -> list[Doubles]:
    """(keep scatter + shift I)^-1 right for each (keep, shift) of a path, `(D, m)` float64.

    A Cholesky decomposition each, in float32 if they are several, unless that finds a matrix not to be positive. One
    decomposition into eigenvectors would serve all, but takes as long as 12 of these at D = 1024 (150 ms against 13 on
    one core, with m = 100) and 17 at 2048.

    Args:
        scatter: `(D, D)`, symmetric and but for rounding positive.
        right: `(D, m)`.
        path: keep from 0 on; shift above 0, and above the rounding of the largest eigenvalue. With 0 nothing is solved.
    """
    source: Floats | Doubles = scatter if len(path) == 1 else scatter.astype(np.float32)
    return [right / shift if keep == 0 else solve_one(scatter, source, right, keep, shift) for keep, shift in path]


def solve_one(scatter: Doubles, source: Floats | Doubles, right: Doubles, keep: float, shift: float) -> Doubles:
    """(keep scatter + shift I)^-1 right in the precision of `source`, a copy of the scatter; else in float64."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    with one_blas_thread():  # asked for again: scipy, if only now loaded, brought a BLAS of its own
        for given in (source,) if source.dtype == np.float64 else (source, scatter):
            matrix = np.multiply(given, keep, dtype=given.dtype)
            np.fill_diagonal(matrix, matrix.diagonal() + shift)
            try:
                # a symmetric matrix is its own transpose, whose order of columns LAPACK takes without a copy
                factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                continue
            solution: Doubles = cho_solve(factor, right.astype(given.dtype), check_finite=False).astype(np.float64)
            return solution
    nearest = np.linalg.lstsq(keep * scatter + shift * np.eye(len(scatter)), right, rcond=None)[0]
    return nearest.astype(np.float64)
