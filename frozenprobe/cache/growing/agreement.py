"""Whether two vectors that should be one row are: the measure for mixing machines and library versions."""

from __future__ import annotations

import numpy as np

from frozenprobe.cache.container.read import Vectors
from frozenprobe.cache.contents import Taps

LEAST_COSINE = 0.999  # bfloat16 against float32 gives 0.9999; another preprocessing or other weights far less


def least_cosine(one: Vectors, other: Vectors, taps: Taps) -> float:
    """The least cosine over the taps of two rows: a long vector must not hide that a short one differs."""
    ends = np.cumsum([dim for _, dim in taps])[:-1]
    return min(cosine(a, b) for a, b in zip(np.split(one, ends), np.split(other, ends), strict=True))


def cosine(one: Vectors, other: Vectors) -> float:
    """Cosine of two vectors, in float64; 0 if one of them is 0."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
