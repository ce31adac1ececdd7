"""Numbers about images -> 95 % intervals: bootstrap over clusters of images, and where a public score will fall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Ints

RESAMPLES = 2000
DRAWS = 20_000  # of the public score
FEW_KINDS = 64
Z2 = 1.96**2


def accuracy_interval(right: npt.NDArray[np.bool_], clusters: Ints, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of an accuracy: percentile bootstrap over clusters of images that belong together.

    All right or all wrong leaves the bootstrap nothing to vary; then the interval is Wilson's (1927) at 0 or 1:
        lower = n / (n + z^2) at accuracy 1,  upper = z^2 / (n + z^2) at accuracy 0,  z = 1.96

    Args:
        right: `(n,)` whether each image was predicted rightly.
        clusters: `(n,)` cluster of each image.
        seed: of the resampling.
    """
    if right.all() or not right.any():
        n = len(np.unique(clusters))
        return (n / (n + Z2), 1.0) if right.all() else (0.0, Z2 / (n + Z2))
    return mean_interval(right.astype(np.float64), clusters, seed=seed)


def difference_interval(differences: Doubles, clusters: Ints, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of an accuracy's difference from the `(n,)` differences of the images, each -1, 0 or 1.

    Where no image differs the bootstrap has nothing to vary; then both ends are Wilson's for 0 of n, z^2 / (n + z^2).
    """
    if not differences.any():
        n = len(np.unique(clusters))
        return -Z2 / (n + Z2), Z2 / (n + Z2)
    return mean_interval(differences, clusters, seed=seed)


def mean_interval(values: Doubles, clusters: Ints, *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean of `(n,)` values: percentile bootstrap over clusters (Efron and Tibshirani 1993)."""
    resampled = resample(np.stack(cluster_sums(values, clusters), axis=1), seed=seed)
    return interval_of(resampled[:, 0] / resampled[:, 1])


def interval_of(drawn: Doubles, *, method: Any = "linear") -> tuple[float, float]:
    """2.5 % to 97.5 % of a number that was drawn often, by one of numpy's methods."""
    lower, upper = np.quantile(drawn, [0.025, 0.975], method=method)
    return float(lower), float(upper)


def cluster_sums(values: Doubles, clusters: Ints) -> tuple[Doubles, Doubles]:
    """`(clusters,)` sums of the values and numbers of images."""
    _, index = np.unique(clusters, return_inverse=True)
    totals: Doubles = np.bincount(index, weights=values).astype(np.float64)
    return totals, np.bincount(index).astype(np.float64)


def resample(rows: Doubles, *, seed: int) -> Doubles:
    """`(RESAMPLES, k)` sums of n rows that are drawn from `(n, k)` with replacement."""
    rng = np.random.default_rng([seed, 3])
    n = len(rows)
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    if len(kinds) <= FEW_KINDS:  # right and wrong images: only how often each kind is drawn matters
        drawn: Doubles = rng.multinomial(n, times / n, size=RESAMPLES) @ kinds
        return drawn
    # One resample at a time: 0.02 s for 1000 rows, 0.6 s for 50,000, a half of what a matrix of counts takes.
    return np.array([np.bincount(rng.integers(n, size=n), minlength=n) @ rows for _ in range(RESAMPLES)])


def public_score_interval(
    right: npt.NDArray[np.bool_], clusters: Ints, *, test_images: int, share: float, seed: int = 0
) -> tuple[float, float]:
    """95 % interval in which the accuracy on the public part of a test set will fall.

    Two things are unknown: the accuracy t on photos like these, and which photos are shown. With Jeffreys' prior
        t | right   ~ Beta(e a + 1/2, e (1 - a) + 1/2)     a: accuracy out of fold, e: effective number of images
        right shown ~ Binomial(m, t)                       m: images shown
    and e = a (1 - a) / (variance of a over clusters), between 1 and n, so that images that are right and wrong
    together count as fewer. It assumes test photos like the training photos, independent of each other.

    Args:
        right: `(n,)` whether each training image was predicted rightly out of fold.
        clusters: `(n,)` cluster of each image.
        test_images: M, images in the whole test set.
        share: of it that the public score is counted on, above 0 up to 1.
        seed: of the draws.

    Raises:
        FrozenprobeError: a share that is out of range or leaves no image.
    """
    shown = public_images(test_images, share)
    accuracy, effective = float(right.mean()), effective_images(right, clusters)
    rng = np.random.default_rng([seed, 5])
    truth = rng.beta(effective * accuracy + 0.5, effective * (1 - accuracy) + 0.5, size=DRAWS)
    return interval_of(rng.binomial(shown, truth) / shown, method="inverted_cdf")


def public_images(test_images: int, share: float) -> int:
    """How many test images a public score is counted on.

    Raises:
        FrozenprobeError: a share that is out of range or leaves no image.
    """
    shown = round(share * test_images) if 0 < share <= 1 else 0
    if shown < 1:
        raise FrozenprobeError(
            "A share of the test images, above 0 up to 1, that leaves at least one image",
            found=f"{share} of {test_images} images",
            where="--public-share",
            remedy="for a leaderboard counted on 30 % of the test set give 0.3",
        )
    return shown


def effective_images(right: npt.NDArray[np.bool_], clusters: Ints) -> float:
    """How many independent images would leave the accuracy as uncertain as these clusters do."""
    accuracy = float(right.mean())
    hits, sizes = cluster_sums(right.astype(np.float64), clusters)
    count = len(sizes)
    if right.all() or not right.any() or count == 1:
        return float(count)
    # a = sum hits / sum sizes is a ratio; linearised around a (Cochran 1977, 6.3) its variance over clusters is
    #   var a = k / (k - 1) * sum_c (hits_c - a sizes_c)^2 / n^2,     k clusters, n images
    variance = count / (count - 1) * ((hits - accuracy * sizes) ** 2).sum() / len(right) ** 2
    if variance == 0:
        return float(len(right))
    return float(np.clip(accuracy * (1 - accuracy) / variance, 1, len(right)))


def render_public(interval: tuple[float, float], *, test_images: int, share: float) -> str:
    """The line a person reads."""
    shown = public_images(test_images, share)
    return (
        f"public score          {interval[0]:.1%} to {interval[1]:.1%} is where it will fall with 95 % probability "
        f"({shown} of {test_images} test images; assumes test photos like the training photos)"
    )


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
