"""The arrays of a probe by name, softmax, which most of them end in, and who is in how many parts of what."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[np.generic]]  # a fitted head, by the names under which it is stored


def softmax(scores: npt.NDArray[np.floating]) -> Doubles:
    """exp(s) / sum exp(s) along the last axis, in float64."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True), dtype=np.float64)
    result: Doubles = powers / powers.sum(axis=-1, keepdims=True)
    return result


def count_parts(parts: Ints, of: Ints) -> Ints:
    """`(max(of) + 1,)` in how many different parts each lies: classes in clusters, or clusters in classes."""
    many = int(parts.max()) + 1
    return np.bincount(np.unique(of * many + parts) // many)
