"""How a score grows: the slope that was measured goes on a little flatter, with a doubt that grows with the way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from frozenprobe.probe.stats.growth import ACCURACY, LOSS, Estimate, Growth, Scale, grow, measure_growth, spread_of
from frozenprobe.probe.stats.intervals import Z

ALONE = np.arange(1000)


def share(of: float) -> np.ndarray:
    """1000 images, so many of them right."""
    return (round(of * 1000) > ALONE) * 1.0


def odds(of: float) -> float:
    return math.log(of / (1 - of))


def test_the_slope_is_that_of_the_formula_and_its_doubt_holds_the_images() -> None:
    found = measure_growth(share(0.6), share(0.7), ALONE, times=2, scale=ACCURACY)
    slope = (odds(0.7) - odds(0.6)) / math.log(2)
    assert found.slope == pytest.approx(slope)
    # u = (m - 0.7) / 0.21 - (f - 0.6) / 0.24 of 600 images right both times, 100 once, 300 never
    each = np.repeat([0.3 / 0.21 - 0.4 / 0.24, 0.3 / 0.21 + 0.6 / 0.24, -0.7 / 0.21 + 0.6 / 0.24], [600, 100, 300])
    error = math.sqrt((each**2).sum()) / 1000 / math.log(2)
    assert found.below == found.above == pytest.approx(Z * math.sqrt((0.35 * slope) ** 2 + 0.2**2 + error**2))
    together = measure_growth(share(0.6), share(0.7), ALONE // 10, times=2, scale=ACCURACY)
    assert together.slope == found.slope
    assert together.above > found.above


@pytest.mark.parametrize("scale", [ACCURACY, LOSS])
def test_a_score_that_gets_worse_with_more_images_grows_by_nothing(scale: Scale) -> None:
    better, worse = (0.3 * share(0.5) + 0.1, 0.3 * share(0.7) + 0.1)
    fewer, more = (worse, better) if scale is ACCURACY else (better, worse)
    found = measure_growth(fewer, more, ALONE, times=2, scale=scale)
    assert found.slope == 0
    assert found.above > 0


def test_losses_fall_where_accuracies_rise() -> None:
    found = measure_growth(share(0.6), share(0.3), ALONE, times=2, scale=LOSS)
    assert found.slope == pytest.approx(1)  # half the loss for twice the images
    later = grow(0.3, (0.28, 0.32), found, times=2, images=1000, scale=LOSS)
    assert 0.15 < later.value < 0.2  # a little flatter
    passed = math.log(2) * 2**-0.4
    middle = -math.log(0.3) + passed
    assert -math.log(later.low) == pytest.approx(middle + math.hypot(math.log(0.3 / 0.28), found.above * passed))
    assert -math.log(later.high) == pytest.approx(middle - math.hypot(math.log(0.32 / 0.3), found.below * passed))


def test_the_doubt_about_the_slope_of_a_loss_is_that_of_its_logarithm() -> None:
    found = measure_growth(share(0.6), share(0.3), ALONE, times=2, scale=LOSS)
    # u = -(m - 0.3) / 0.3 + (f - 0.6) / 0.6 of 300 images of loss 1 both times, 300 once, 400 never
    each = np.repeat([-0.7 / 0.3 + 0.4 / 0.6, 1 + 0.4 / 0.6, 1 - 1], [300, 300, 400])
    error = math.sqrt((each**2).sum()) / 1000 / math.log(2)
    assert found.below == found.above == pytest.approx(Z * math.sqrt(0.35**2 + 0.2**2 + error**2))


@pytest.mark.parametrize("times", [1.0, 1.2])
def test_hardly_fewer_images_tell_no_slope(times: float) -> None:
    assert measure_growth(share(0.6), share(0.7), ALONE, times=times, scale=ACCURACY) is ACCURACY.unmeasured


def test_no_more_images_leave_the_interval_as_it_was() -> None:
    found = grow(0.8, (0.75, 0.84), Growth(1, 0.7, 0.7), times=1, images=400, scale=ACCURACY)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.75, 0.84))


def test_the_doubts_about_the_score_and_its_growth_add_up_in_quadrature() -> None:
    found = grow(0.8, (0.75, 0.84), Growth(1, 0.7, 0.9), times=1.25, images=400, scale=ACCURACY)
    passed = math.log(1.25) * 1.25**-0.4
    middle = odds(0.8) + passed
    assert odds(found.value) == pytest.approx(middle)
    assert odds(found.low) == pytest.approx(middle - math.hypot(odds(0.8) - odds(0.75), 0.7 * passed))
    assert odds(found.high) == pytest.approx(middle + math.hypot(odds(0.84) - odds(0.8), 0.9 * passed))


@pytest.mark.parametrize("of", [0.0, 1.0])
def test_none_and_all_right_stay_within_0_and_1(of: float) -> None:
    growth = measure_growth(share(of), share(of), ALONE, times=2, scale=ACCURACY)
    found = grow(of, (max(0, of - 0.01), min(1, of + 0.01)), growth, times=2, images=1000, scale=ACCURACY)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < of if of else found.high > of
    assert (found.high == 1) if of else (found.low == 0)


def test_an_interval_that_says_nothing_still_says_nothing_later() -> None:
    found = grow(0.8, (0.0, 1.0), Growth(1, 0.7, 0.9), times=1.25, images=400, scale=ACCURACY)
    assert (found.low, found.high) == (0, 1)
    loss = grow(0.8, (0.0, math.inf), Growth(1, 0.7, 0.9), times=1.25, images=400, scale=LOSS)
    assert (loss.low, loss.high) == (0, math.inf)


def test_draws_from_an_estimate_have_its_ends_as_their_interval() -> None:
    drawn = spread_of(Estimate(0.8, 0.6, 0.85), ACCURACY, np.random.default_rng(0).standard_normal(200_000))
    assert np.quantile(drawn, [0.025, 0.5, 0.975]) == pytest.approx([0.6, 0.8, 0.85], abs=0.003)
