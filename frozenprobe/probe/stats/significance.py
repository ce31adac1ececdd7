"""Differences between two heads -> p-values: exact sign flips (McNemar), corrected resampled t, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Ints


def sign_flip_p(differences: Ints) -> float:
    """Two-sided p-value of the hypothesis that each difference could as well have had the other sign; exact.

    With differences of single images (1: only the first is right, -1: only the second) it is McNemar's exact test, the
    binomial test on the discordant images; with sums over clusters it flips a cluster's images together.

    Args:
        differences: `(clusters,)` whole numbers.
    """
    sizes, times = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total = int(sizes @ times)
    if not total:
        return 1.0
    # The flipped sum S = sum_c +-d_c lies on the lattice -T ... T, T = sum |d_c|, and its characteristic function is
    #   E exp(i w S) = prod_c cos(w d_c);  at w = 2 pi k / (2 T + 1) it is the discrete Fourier transform of P(S = s).
    length = 2 * total + 1
    frequency = 2 * np.pi * np.arange(total + 1) / length
    transform = np.ones(total + 1)
    for size, time in zip(sizes.tolist(), times.tolist(), strict=True):
        transform *= np.cos(frequency * size) ** time
    chance = np.fft.irfft(transform, n=length)  # P(S = 0), P(1), ..., P(T), P(-T), ..., P(-1)
    observed = abs(int(differences.sum()))
    tail = 2 * chance[observed : total + 1].sum() if observed else 1.0
    smallest = math.ldexp(1.0, 1 - int(times.sum()))  # 2 of all 2^m flips; the transform rounds at 1e-16
    return float(min(max(tail, smallest), 1.0))


@dataclass(frozen=True)
class CorrectedT:
    """The corrected resampled t-test.

    Attributes:
        difference: mean over repeats and folds.
        t: statistic; infinite where all differences are equal and not zero.
        freedom: degrees of freedom, J - 1.
        p: two-sided.
    """

    difference: float
    t: float
    freedom: int
    p: float


def corrected_t(differences: Doubles, test_to_train: float) -> CorrectedT:
    """Nadeau and Bengio's (2003) corrected resampled t-test.

    Folds of repeated cross-validation share most of their training images, so their differences are no independent
    sample; the variance of the mean is taken as (1 / J + n_test / n_train) s^2 in place of s^2 / J.

    Args:
        differences: `(J,)` of an accuracy, one for each repeat and fold, J at least 2.
        test_to_train: n_test / n_train.
    """
    from scipy.special import stdtr  # here, so that comparing runs without repeats does not load scipy

    count = len(differences)
    mean = float(differences.mean())
    deviation = math.sqrt((1 / count + test_to_train) * float(differences.var(ddof=1)))
    if deviation < 1e-12:  # rounding of equal differences
        return CorrectedT(mean, math.copysign(math.inf, mean) if mean else 0.0, count - 1, 0.0 if mean else 1.0)
    t = mean / deviation
    return CorrectedT(mean, t, count - 1, float(2 * stdtr(count - 1, -abs(t))))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: below a level, they keep the chance of any false alarm at that level."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
