"""Feature scaling, fitted on training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import unknown_name
from frozenprobe.probe.arrays import Doubles, Floats
from frozenprobe.probe.options import SCALES

SUMMED_ROWS = 4096  # rows summed in float64 at once
SAFE_LENGTHS = (1e-15, 1e15)  # of rows whose squares float32 can sum
NOTHING = 1e-13  # of a feature's mean square: a variance that float32's rounding makes of one value
LEAST = 1e-36  # a standard deviation by which float32 can still divide


@dataclass(frozen=True)
class Scaling:
    """A fitted scaling: `((x / |x| if unit else x) - shift) * factor`.

    Attributes:
        unit: whether rows are L2-normalised first.
        shift: `(D,)`.
        factor: `(D,)`.
    """

    unit: bool
    shift: Floats
    factor: Floats

    def apply(self, rows: Floats) -> Floats:
        """Scale `(..., D)` rows."""
        return ((normalise(rows) if self.unit else rows) - self.shift) * self.factor

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The scaling as plain arrays."""
        return {"scale_unit": np.array(self.unit), "scale_shift": self.shift, "scale_factor": self.factor}


def fit_scaling(name: str, rows: Floats, weight: Doubles) -> Scaling:
    """Fit the scaling called `name`.

    `global`: L2-normalise, centre, divide by one number so that the mean squared feature is 1 (measured better than
    `standard` on photos: it keeps the ratios between features). `standard`: centre and divide each feature by its own
    standard deviation. `l2`: L2-normalise only. `none`: as they are. But with `none` the size of the features changes
    nothing; of a single feature L2-normalising would leave the sign alone, so `global` does without.

    Args:
        name: one of `SCALES`.
        rows: `(n, D)` training rows.
        weight: `(n,)` weight of each row.

    Raises:
        FrozenprobeError: no such scaling.
    """
    if name in ("none", "l2"):  # nothing is fitted
        return scaling_from(name, np.zeros(rows.shape[1]), np.ones(rows.shape[1]))
    return scaling_from(name, *mean_and_variance(name, rows, weight))


def scaling_from(name: str, mean: Doubles, variance: Doubles) -> Scaling:
    """The scaling called `name` from the `(D,)` mean and variance of the rows, L2-normalised if it does so.

    Raises:
        FrozenprobeError: no such scaling.
    """
    if name not in SCALES:
        raise unknown_name("scaling", name, SCALES, where="--scale")
    dim = len(mean)
    unit = takes_unit_rows(name, dim)
    if name in ("none", "l2"):
        return Scaling(unit, np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32))
    if name == "global":
        variance = np.full(dim, variance.mean())
    factor = 1 / np.sqrt(np.where(variance > LEAST**2, variance, 1))
    return Scaling(unit, mean.astype(np.float32), factor.astype(np.float32))


def takes_unit_rows(name: str, dim: int) -> bool:
    """Whether the scaling called `name` L2-normalises rows of `dim` features first."""
    return name == "l2" or (name == "global" and dim > 1)


def mean_and_variance(name: str, rows: Floats, weight: Doubles) -> tuple[Doubles, Doubles]:
    """`(D,)` of the rows, L2-normalised if the scaling called `name` does so; a variance that is but rounding is 0."""
    share = weight / weight.sum()
    prepared = normalise(rows) if takes_unit_rows(name, rows.shape[1]) else rows
    mean = weighted_mean(prepared, share)
    variance = weighted_variance(prepared, mean.astype(np.float32), share)
    return mean, without_rounding(variance, mean)


def without_rounding(variance: Doubles, mean: Doubles) -> Doubles:
    """`(D,)` variances, 0 where float32's rounding makes as much of one value."""
    return np.where(variance > NOTHING * (np.square(mean) + variance), variance, 0)


def weighted_mean(rows: Floats, share: Doubles) -> Doubles:
    """`(D,)` sum of `share * rows`, block by block in float64.

    In float32 the mean of a constant feature is not the constant (off by 1e-3 of it over a million rows): the rest
    would pass for variance, be divided by, and come out as large as any real feature.
    """
    blocks = range(0, len(rows), SUMMED_ROWS)
    total: Doubles = np.sum(
        [share[start : start + SUMMED_ROWS] @ rows[start : start + SUMMED_ROWS] for start in blocks], axis=0
    )
    return total


def weighted_variance(rows: Floats, mean: Floats, share: Doubles) -> Doubles:
    """`(D,)` sum of `share * (rows - mean)^2`, block by block, squared in float64: float32 ends at 1e19 and 1e-19."""
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), SUMMED_ROWS):
        block = slice(start, start + SUMMED_ROWS)
        total += share[block] @ np.square(rows[block] - mean, dtype=np.float64)
    return total


def normalise(rows: Floats) -> Floats:
    """Rows divided by their Euclidean length; a row of zeros stays."""
    with np.errstate(over="ignore"):  # such rows are seen to below
        length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit = (rows / np.where(length > 0, length, 1)).astype(np.float32)
    odd = ~((length > SAFE_LENGTHS[0]) & (length < SAFE_LENGTHS[1]))[..., 0]
    if odd.any():
        wide = rows[odd].astype(np.float64)
        length = np.linalg.norm(wide, axis=-1, keepdims=True)
        unit[odd] = wide / np.where(length > 0, length, 1)
    return unit
