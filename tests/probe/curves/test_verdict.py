"""What a curve says: enough views only where no difference is shown, twice the photos only where a power law fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from frozenprobe.probe.curves.curve import Curve
from frozenprobe.probe.curves.points import Trial, measure
from frozenprobe.probe.curves.verdict import (
    EXPONENTS,
    Extrapolation,
    NoExtrapolation,
    enough_views,
    extrapolate,
    fit_power_law,
)
from frozenprobe.probe.options import ProbeOptions

IMAGES = 1000
SIZES = np.array([1.0, 2, 4, 8, 16])


def nested_curve(shares: Sequence[float], *, at: Sequence[float], kind: str = "views") -> Curve:
    """A curve of these accuracies: an image that a lower point has right, a higher one has, too."""
    hard = np.random.default_rng(0).permutation(IMAGES)
    trials = [[Trial((hard < round(share * IMAGES)) * 1.0, True)] for share in shares]
    points, resampled = measure(at, trials, np.arange(IMAGES))
    return Curve(kind, "images a class", ProbeOptions(head="lda", folds=5), points, resampled, ())


def test_the_fewest_views_without_a_shown_difference_are_enough() -> None:
    found = enough_views(nested_curve([0.70, 0.76, 0.798, 0.80, 0.799], at=[0, 1, 2, 4, 8]))
    assert (found.views, found.best) == (2, 4)
    assert found.deficit == pytest.approx(0.002)
    assert found.deficit_interval[0] <= 0 < found.deficit_interval[1]


def test_the_best_is_enough_where_all_smaller_numbers_are_worse() -> None:
    found = enough_views(nested_curve([0.6, 0.7, 0.8], at=[0, 1, 2]))
    assert (found.views, found.best, found.deficit, found.deficit_interval) == (2, 2, 0, (0, 0))


def test_a_number_below_one_that_is_shown_to_be_worse_is_not_enough() -> None:
    hard = np.random.default_rng(0).permutation(IMAGES)
    unsure = (hard < 690) | ((hard >= 800) & (hard < 900))  # 110 images of the best are wrong, 100 others right
    trials = [[Trial(right * 1.0, True)] for right in (unsure, hard < 770, hard < 798, hard < 800)]
    points, resampled = measure([0, 1, 2, 4], trials, np.arange(IMAGES))
    found = enough_views(Curve("views", "augmented views", ProbeOptions(), points, resampled, ()))
    assert points[0].difference_interval[1] > 0 > points[1].difference_interval[1]
    assert found.views == 2


def test_of_equal_points_the_smaller_is_the_best() -> None:
    found = enough_views(nested_curve([0.8, 0.8, 0.8], at=[0, 1, 2]))
    assert (found.views, found.best) == (0, 0)


@pytest.mark.parametrize("law", [(0.0, 0.6, 0.5), (0.1, 0.5, 0.7)])
def test_a_known_law_is_extrapolated_rightly(law: tuple[float, float, float]) -> None:
    floor, scale, exponent = law
    at = [1, 2, 4, 8, 16, 32]
    found = extrapolate(nested_curve([1 - floor - scale * n**-exponent for n in at], at=at, kind="labels"))
    assert isinstance(found, Extrapolation)
    truth = scale * (32**-exponent - 64**-exponent)
    assert found.at == 32
    assert found.gain == pytest.approx(truth, abs=0.004)
    assert found.interval[0] < truth < found.interval[1]


def test_intervals_of_extrapolations_hold_the_truth_mostly() -> None:
    rng, held = np.random.default_rng(0), 0
    at = np.array([1.0, 2, 4, 8])
    for _ in range(20):
        floor, exponent = rng.uniform(0, 0.2), rng.uniform(0.3, 0.9)
        share = 1 - floor - 0.6 * at**-exponent
        hard = rng.random(400)
        trials = [[Trial((hard + rng.normal(0, 0.05, 400) < each) * 1.0, True)] for each in share]
        points, resampled = measure(at.tolist(), trials, np.arange(400))
        found = extrapolate(Curve("labels", "images a class", ProbeOptions(), points, resampled, ()))
        truth = 0.6 * (8**-exponent - 16**-exponent)
        held += isinstance(found, Extrapolation) and found.interval[0] <= truth <= found.interval[1]
    assert held >= 16


def test_two_sizes_are_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.6, 0.7], at=[1, 2], kind="labels"))
    assert found == NoExtrapolation("it takes 3 sizes, there are 2")


def test_a_falling_curve_is_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.7, 0.7, 0.6], at=[1, 2, 4], kind="labels"))
    assert isinstance(found, NoExtrapolation)
    assert "does not rise" in found.reason


def test_a_curve_that_no_law_fits_is_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.2, 0.2, 0.8, 0.8], at=[1, 2, 4, 8], kind="labels"))
    assert isinstance(found, NoExtrapolation)
    assert "no power law fits" in found.reason


@pytest.mark.parametrize("law", [(0.0, 0.6, 0.5), (0.1, 0.5, 0.7), (0.05, 0.9, 0.3), (0.2, 0.3, 1.0)])
def test_the_law_that_made_the_points_is_found(law: tuple[float, float, float]) -> None:
    floor, scale, exponent = law
    found = fit_power_law(SIZES, floor + scale * SIZES**-exponent, np.array([1.0, 2, 3, 4, 5]))
    np.testing.assert_allclose((found.floor, found.scale, found.exponent), law, atol=1e-9)
    assert found.error(32) == pytest.approx(floor + scale * 32**-exponent)


def test_many_curves_at_once_are_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors, weight = rng.random((7, 5)), rng.random(5) + 0.1
    together = fit_power_law(SIZES, errors, weight)
    for index, each in enumerate(errors):
        alone = fit_power_law(SIZES, each, weight)
        for name in ("floor", "scale", "exponent"):
            np.testing.assert_allclose(getattr(together, name)[index], getattr(alone, name), rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_no_law_on_the_grid_is_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, weight = rng.random(5), rng.random(5) + 0.1  # anything: rising curves too, so both edges are reached
    found = fit_power_law(SIZES, errors, weight)
    ours = (weight * np.square(found.floor + found.scale * SIZES**-found.exponent - errors)).sum()
    root = np.sqrt(weight)
    costs = [
        2 * lsq_linear(root[:, None] * np.stack([SIZES**0, SIZES**-c], axis=1), root * errors, (0, np.inf)).cost
        for c in EXPONENTS
    ]
    assert found.floor >= 0
    assert found.scale >= 0
    assert ours == pytest.approx(min(costs), rel=1e-6, abs=1e-12)


def test_a_flat_curve_promises_nothing() -> None:
    found = fit_power_law(SIZES, np.full(5, 0.3), np.ones(5))
    assert found.error(1) - found.error(1000) == pytest.approx(0, abs=1e-9)


def test_a_rising_error_is_not_extrapolated_upwards() -> None:
    found = fit_power_law(SIZES, np.linspace(0.2, 0.4, 5), np.ones(5))
    assert found.scale == 0
    assert found.floor == pytest.approx(0.3)
