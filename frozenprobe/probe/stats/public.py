"""An accuracy's estimate -> where the score of a leaderboard will fall that shows a part of the test images."""

from __future__ import annotations

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.stats.growth import ACCURACY, Estimate, spread_of
from frozenprobe.probe.stats.intervals import Interval, interval_of

DRAWS = 20_000


def public_score_interval(estimate: Estimate, *, test_images: int, share: float, seed: int = 0) -> Interval:
    """95 % interval in which the accuracy on the public part of a test set will fall.

    Two things are unknown: the final head's accuracy t on photos like these, and which photos are shown:
        t           ~ the estimate's interval, as a normal distribution of log t / (1 - t) with two halves
        right shown ~ Binomial(m, t)     m: images shown
    It assumes test photos like the training photos, independent of each other.

    Args:
        estimate: of the final head's accuracy.
        test_images: M, images in the whole test set.
        share: of it that the public score is counted on, above 0 up to 1.
        seed: of the draws.

    Raises:
        FrozenprobeError: a share that is out of range or leaves no image.
    """
    shown = public_images(test_images, share)
    rng = np.random.default_rng([seed, 5])
    truth = spread_of(estimate, ACCURACY, rng.standard_normal(DRAWS))
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


def render_public(interval: tuple[float, float], *, test_images: int, share: float) -> str:
    """The line a person reads."""
    shown = public_images(test_images, share)
    return (
        f"public score          {interval[0]:.1%} to {interval[1]:.1%} is where it will fall with 95 % probability "
        f"({shown} of {test_images} test images; assumes test photos like the training photos)"
    )
