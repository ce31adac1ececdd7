"""Feature scaling, fitted on training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import unknown_name
from frozenprobe.probe.arrays import Doubles, Floats
from frozenprobe.probe.options import SCALES

SUMMED_ROWS = 4096  # rows summed in float64 at once


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
    standard deviation. `l2`: L2-normalise only. `none`: as they are.

    Args:
        name: one of `SCALES`.
        rows: `(n, D)` training rows.
        weight: `(n,)` weight of each row.

    Raises:
        FrozenprobeError: no such scaling.
    """
    dim = rows.shape[1]
    zero, one = np.zeros(dim, dtype=np.float32), np.ones(dim, dtype=np.float32)
    if name in ("none", "l2"):
        return Scaling(name == "l2", zero, one)
    if name not in SCALES:
        raise unknown_name("scaling", name, SCALES, where="--scale")
    share = weight / weight.sum()
    unit = name == "global"
    prepared = normalise(rows) if unit else rows
    mean = weighted_mean(prepared, share).astype(np.float32)
    variance = weighted_mean(np.square(prepared - mean), share)
    if unit:
        variance = np.full(dim, variance.mean())
    factor = 1 / np.sqrt(np.where(variance > 0, variance, 1))
    return Scaling(unit, mean, factor.astype(np.float32))


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


def normalise(rows: Floats) -> Floats:
    """Rows divided by their Euclidean length; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)
