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
    count = len(differences)
    mean = float(differences.mean())
    deviation = math.sqrt((1 / count + test_to_train) * float(differences.var(ddof=1)))
    if deviation < 1e-12:  # rounding of equal differences
        return CorrectedT(mean, math.copysign(math.inf, mean) if mean else 0.0, count - 1, 0.0 if mean else 1.0)
    t = mean / deviation
    return CorrectedT(mean, t, count - 1, student_p(t, count - 1))


def student_p(t: float, freedom: int) -> float:
    """Two-sided p-value of Student's t with whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    # With theta = atan(t / sqrt(f)) and c = cos(theta), P(|T| < t) is
    #   f even:  sin(theta) (1 + 1/2 c^2 + (1 3)/(2 4) c^4 + ... up to c^(f - 2))
    #   f odd:   2/pi (theta + sin(theta) (c + 2/3 c^3 + (2 4)/(3 5) c^5 + ... up to c^(f - 2)))
    theta = math.atan(abs(t) / math.sqrt(freedom))
    c2 = math.cos(theta) ** 2
    odd = freedom % 2
    term = math.cos(theta) if odd else 1.0
    series = 0.0
    for power in range(odd, freedom - 1, 2):
        series += term
        term *= c2 * (power + 1) / (power + 2)
    inside = 2 / math.pi * (theta + math.sin(theta) * series) if odd else math.sin(theta) * series
    return min(max(1 - inside, 0.0), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values: below a level, they keep the chance of any false alarm at that level."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
