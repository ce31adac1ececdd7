"""Numbers about images -> 95 % intervals that cover: of accuracies, losses and differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from frozenprobe.probe.arrays import Doubles, Ints

Interval = tuple[float, float]

CONFIDENCE = 0.975  # of each end
Z = 1.959964  # the normal distribution's quantile there
# Out of fold the images also train the heads that predict each other, so that their hits vary together: no estimate of
# that variance from one cross-validation is unbiased (Bengio and Grandvalet 2004), and taken as independent they cover
# too seldom (Bates, Hastie and Tibshirani 2023). Measured by simulation: benchmarks/bench_coverage.py.
DEPENDENCE = 1.7
FEWEST = 4  # effective clusters; of fewer an interval says nothing


def accuracy_interval(right: Doubles, clusters: Ints) -> Interval:
    """95 % interval of an accuracy out of fold: Wilson's (1927), for the effective number of images.

        (a + q^2 / 2 e +- q sqrt(a (1 - a) / e + q^2 / 4 e^2)) / (1 + q^2 / e)
        a: accuracy     e: effective_images / DEPENDENCE     q: Student's t, effective clusters - 1 degrees of freedom

    0 to 1 where there are fewer than `FEWEST` effective clusters.

    Args:
        right: `(n,)` whether each image was predicted rightly, or how often.
        clusters: `(n,)` images that belong together.
    """
    count = effective_clusters(sizes_of(clusters))
    if count < FEWEST:
        return 0.0, 1.0
    share, images = float(np.mean(right)), effective_images(right, clusters) / DEPENDENCE
    square = t_quantile(count - 1) ** 2
    middle, unit = (share + square / (2 * images)), 1 + square / images
    reach = math.sqrt(square * (share * (1 - share) / images + square / (4 * images**2)))
    return max(0.0, (middle - reach) / unit), min(1.0, (middle + reach) / unit)


def loss_interval(losses: Doubles, clusters: Ints) -> Interval:
    """95 % interval of a mean loss out of fold, by its logarithm, for losses have a long tail; 0 to infinity of too few
    clusters.

        m exp(-+ q s / m) -+ q^2 D / e     s: error of the mean m over clusters, by D = DEPENDENCE     e: clusters

    The last term is what Wilson's interval adds to an accuracy: images of a kind that did not come up, at a loss of 1.
    """
    mean, count = float(losses.mean()), effective_clusters(sizes_of(clusters))
    if count < FEWEST:
        return 0.0, math.inf
    quantile, unseen = t_quantile(count - 1), t_quantile(count - 1) ** 2 * DEPENDENCE / count
    reach = quantile * math.sqrt(DEPENDENCE) * cluster_error(losses, clusters) / mean if mean > 0 else 0.0
    return max(0.0, mean * math.exp(-reach) - unseen), mean * math.exp(reach) + unseen


def difference_interval(differences: Doubles, clusters: Ints) -> Interval:
    """95 % interval of an accuracy's difference from the `(n,)` differences of the images, each from -1 to 1.

        d +- q / n sqrt(s + q^2 r^2)     s = sum_c (d_c - d n_c)^2, d_c the sum of a cluster of n_c images
                                         r = s / sum_i (d_i - d)^2, at least 1: images that differ together

    The last term is what Wilson's interval adds: a few images that differ are few to judge by. Where none does, r is
    the size of a cluster.
    -1 to 1 where there are fewer than `FEWEST` effective clusters.
    """
    count = effective_clusters(sizes_of(clusters))
    if count < FEWEST:
        return -1.0, 1.0
    quantile, mean, images = t_quantile(count - 1), float(differences.mean()), len(differences)
    error, alone = cluster_error(differences, clusters), float(np.square(differences - mean).sum())
    together = max(1.0, (error * images) ** 2 / alone) if alone else images / count
    reach = quantile * math.hypot(error, quantile * together / images)
    return max(-1.0, mean - reach), min(1.0, mean + reach)


def mean_interval(values: Doubles, clusters: Ints) -> Interval:
    """95 % interval of the mean of `(n,)` values, such as differences of losses: Student's t over clusters."""
    count, mean = effective_clusters(sizes_of(clusters)), float(values.mean())
    if count < FEWEST:
        return -math.inf, math.inf
    reach = t_quantile(count - 1) * cluster_error(values, clusters)
    return mean - reach, mean + reach


def interval_of(drawn: Doubles, *, method: Any = "linear") -> Interval:
    """2.5 % to 97.5 % of a number that was drawn often, by one of numpy's methods."""
    lower, upper = np.quantile(drawn, [1 - CONFIDENCE, CONFIDENCE], method=method)
    return float(lower), float(upper)


def t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t, within 0.2 % from 3 degrees of freedom on (Abramowitz and Stegun 1964, 26.7.5).

    scipy has it exactly, and takes 0.2 s to load.
    """
    # t = z + (z^3 + z) / 4 v + (5 z^5 + 16 z^3 + 3 z) / 96 v^2 + ...
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def cluster_sums(values: Doubles, clusters: Ints) -> tuple[Doubles, Doubles]:
    """`(clusters,)` sums of the values and numbers of images."""
    _, index = np.unique(clusters, return_inverse=True)
    totals: Doubles = np.bincount(index, weights=values).astype(np.float64)
    return totals, np.bincount(index).astype(np.float64)


def cluster_error(values: Doubles, clusters: Ints) -> float:
    """Standard error of the mean of `(n,)` values.

    m = sum_c v_c / sum_c n_c is a ratio; linearised around m (Cochran 1977, 6.3) its variance over k clusters is
        var m = k / (k - 1) sum_c (v_c - m n_c)^2 / n^2
    """
    sums, sizes = cluster_sums(values, clusters)
    count = len(sums)
    if count == 1:
        return math.inf
    apart = sums - float(values.mean()) * sizes
    return math.sqrt(count / (count - 1) * float(apart @ apart)) / len(values)


def effective_clusters(sizes: Doubles | Ints) -> float:
    """How many clusters of one size are as even as these `(k,)` sizes: n^2 / sum_c m_c^2, k where all are equal."""
    return float(sizes.sum()) ** 2 / float((sizes.astype(np.float64) ** 2).sum()) if len(sizes) else 0.0


def sizes_of(clusters: Ints) -> Ints:
    """`(k,)` images of each cluster."""
    return np.unique(clusters, return_counts=True)[1]


def effective_images(right: Doubles, clusters: Ints) -> float:
    """How many independent images would leave the accuracy a as uncertain as these do: a (1 - a) / var a, 1 to n."""
    share = float(np.mean(right))
    if share in (0, 1):
        return float(len(np.unique(clusters)))
    error = cluster_error(np.asarray(right, dtype=np.float64), clusters)
    if error == 0:
        return float(len(right))
    return float(np.clip(share * (1 - share) / error**2, 1, len(right)))


def repeat_summary(accuracies: Sequence[float]) -> dict[str, Any]:
    """`mean` and `sd` of the accuracies of at least one repeat (None for one), and as `note` what they do not say."""
    mean = float(np.mean(accuracies))
    if len(accuracies) == 1:
        return {"mean": mean, "sd": None, "note": "one repeat: how much the folds matter is not known"}
    sd = float(np.std(accuracies, ddof=1))
    note = (
        f"mean of {len(accuracies)} repeats {mean:.1%}, from repeat to repeat +- {sd:.1%}: that is the luck of the "
        "folds alone, since the images are the same in each; the interval over images holds the rest"
    )
    return {"mean": mean, "sd": sd, "note": note}
