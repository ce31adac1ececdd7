"""Symmetric positive definite systems of linear equations: in float32 where many are compared, in float64 to stay."""

from __future__ import annotations

import numpy as np

from frozenprobe.probe.arrays import Doubles


def solve_shifted(scatter: Doubles, right: Doubles, *, keep: float, shift: float, exact: bool) -> Doubles:
    """(keep scatter + shift I)^-1 right by Cholesky's decomposition, `(D, m)` float64.

    At D = 1024 on one core float32 takes 20 ms, float64 30; one eigendecomposition, for all shifts, takes 200, and on a
    busy machine with several threads many times that.

    Args:
        scatter: `(D, D)`, symmetric and but for rounding positive.
        right: `(D, m)`.
        keep: from 0 on.
        shift: above 0, and above the rounding of the largest eigenvalue.
        exact: in float64; else in float32, unless that finds the matrix not to be positive.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    for dtype in (np.float64,) if exact else (np.float32, np.float64):
        matrix = (keep * scatter + shift * np.eye(len(scatter))).astype(dtype)
        try:
            # the transpose of a symmetric matrix is itself, in the order of columns that LAPACK takes without a copy
            factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        solution: Doubles = cho_solve(factor, right.astype(dtype), check_finite=False).astype(np.float64)
        return solution
    nearest = np.linalg.lstsq(keep * scatter + shift * np.eye(len(scatter)), right, rcond=None)[0]
    return nearest.astype(np.float64)
