"""Differences between two heads -> p-values: McNemar, t over clusters, corrected resampled t, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles

FEWEST_CLUSTERS = 30  # effective; of 30 none is of a kind that is every tenth cluster in 0.9^30 = 4 % of samples


def mcnemar_p(first: int, second: int) -> float:
    """McNemar's exact test, two-sided: whether independent images favour one side more than a fair coin would.

    Args:
        first: images that only the first head predicts rightly.
        second: images that only the second does.
    """
    # p = 2 P(X <= min) of X ~ Binomial(m, 1/2);  C(m, i) = prod_{j <= i} (m - j + 1) / j, in logarithms
    total, rank = first + second, np.arange(1, min(first, second) + 1)
    logs = np.cumsum(np.append(0.0, np.log((total - rank + 1) / rank)))
    return min(1.0, float(np.exp(logs - (total - 1) * math.log(2)).sum()))


def companions(sizes: Doubles) -> float:
    """Other images in the cluster of an image, on average over the images: sum_c m_c^2 / n - 1."""
    return float(sizes @ sizes / sizes.sum() - 1)


def cluster_p(differences: Doubles, sizes: Doubles) -> float:
    """Two-sided p-value of the hypothesis that clusters of images favour neither head on average; approximate.

    Sums over clusters are skewed where one head is a little better on most of them and much worse on a few. Then
    neither sign flips nor a t-test keep their level, least of all where the few are missing from the sample. So
    one more cluster is added, half of whose companions are against the difference; t is corrected for skewness by
    Hall's (1992) transformation; and its degrees of freedom are those of the clusters that differ. With k + 1 sums y:
        T = mean y / sd y     g: skewness of y     nu = (sum y^2)^2 / sum y^4 - 1
        t = sqrt(k + 1) (T + g T^2 / 3 + g^2 T^3 / 27 + g / (6 (k + 1)))
    How often it is wrong: `benchmarks/bench_tests.py`.

    Args:
        differences: `(k,)` sums over clusters, k at least 2.
        sizes: `(k,)` images in each, of one at least several.
    """
    from scipy.special import stdtr  # here, so that comparing runs of independent images does not load scipy

    total = float(differences.sum())
    against = min(companions(sizes) / 2, abs(total))
    sums = np.append(differences, -math.copysign(against, total))
    if not sums.any():
        return 1.0
    count, squares = len(sums), sums**2
    deviation = float(sums.std(ddof=1))
    ratio = float(sums.mean()) / deviation
    skew = count**2 / ((count - 1) * (count - 2)) * float(((sums - sums.mean()) ** 3).mean()) / deviation**3
    corrected = ratio + skew * ratio**2 / 3 + skew**2 * ratio**3 / 27 + skew / (6 * count)
    freedom = float(squares.sum() ** 2 / (squares @ squares)) - 1
    return float(2 * stdtr(freedom, -abs(math.sqrt(count) * corrected)))


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
