"""The public score falls where it was said that it would, as often as said."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.stats.growth import Estimate
from frozenprobe.probe.stats.intervals import accuracy_interval
from frozenprobe.probe.stats.public import public_images, public_score_interval, render_public


def simulate_public(truth: float, *, images: int, test_images: int, share: float) -> float:
    """How often the public score falls into its interval."""
    rng = np.random.default_rng(0)
    inside, trials = 0, 200
    for trial in range(trials):
        right = (rng.random(images) < truth) * 1.0
        low, high = accuracy_interval(right, np.arange(images))
        public = (rng.random(round(share * test_images)) < truth).mean()
        estimate = Estimate(float(right.mean()), low, high)
        low, high = public_score_interval(estimate, test_images=test_images, share=share, seed=trial)
        inside += low <= public <= high
    return inside / trials


@pytest.mark.parametrize("truth", [0.6, 0.92])
@pytest.mark.parametrize(("images", "test_images", "share"), [(100, 1000, 0.3), (1000, 400, 0.25)])
def test_the_public_score_falls_into_its_interval_as_often_as_said(
    truth: float, images: int, test_images: int, share: float
) -> None:
    assert 0.94 <= simulate_public(truth, images=images, test_images=test_images, share=share) <= 0.995


def test_a_smaller_public_part_has_a_wider_interval_and_the_whole_still_doubts_the_accuracy() -> None:
    estimate, widths = Estimate(0.75, 0.7, 0.79), []
    for share in (0.1, 0.3, 1.0):
        low, high = public_score_interval(estimate, test_images=1000, share=share)
        assert low < 0.75 < high
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2] > 0.09


def test_an_estimate_of_certainty_is_not_certain_in_public() -> None:
    low, high = public_score_interval(Estimate(1.0, 0.8, 1.0), test_images=200, share=0.5)
    assert low < 0.9
    assert high == 1


def test_nothing_known_promises_nothing() -> None:
    low, high = public_score_interval(Estimate(0.5, 0.0, 1.0), test_images=1000, share=0.5)
    assert low < 0.01
    assert high > 0.99


def test_images_of_the_public_part_are_counted_to_the_nearest() -> None:
    assert [public_images(10, share) for share in (0.29, 0.31, 0.06, 1.0)] == [3, 3, 1, 10]


@pytest.mark.parametrize(("test_images", "share"), [(1000, 0.0), (1000, 1.5), (1000, float("nan")), (1, 0.3), (0, 1)])
def test_a_share_that_leaves_no_image_is_an_error(test_images: int, share: float) -> None:
    with pytest.raises(FrozenprobeError, match="public-share"):
        public_score_interval(Estimate(0.5, 0.4, 0.6), test_images=test_images, share=share)


def test_the_public_line_says_how_many_images_and_what_it_assumes() -> None:
    line = render_public((0.701, 0.8), test_images=1000, share=0.3)
    assert "70.1% to 80.0%" in line
    assert "300 of 1000 test images" in line
    assert "test photos like the training photos" in line
