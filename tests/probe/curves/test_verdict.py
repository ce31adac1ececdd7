"""What a curve says: enough views only where no difference is shown, forecasts only where a law fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from frozenprobe.probe.curves.curve import Curve
from frozenprobe.probe.curves.points import Trial, measure
from frozenprobe.probe.curves.verdict import Forecast, NoForecast, enough_views, forecast
from frozenprobe.probe.options import ProbeOptions

IMAGES = 1000


def nested_curve(
    shares: Sequence[float], *, at: Sequence[float], losses: Sequence[float] | None = None, kind: str = "views"
) -> Curve:
    """A curve of these accuracies: an image that a lower point has right, a higher one has, too."""
    hard = np.random.default_rng(0).permutation(IMAGES)
    noise = np.random.default_rng(1).normal(0, 0.2, IMAGES)
    trials = [
        [Trial((hard < round(share * IMAGES)) * 1.0, loss + noise, True)]
        for share, loss in zip(shares, losses or [1.0] * len(shares), strict=True)
    ]
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
    trials = [[Trial(right * 1.0, hard * 1.0, True)] for right in (unsure, hard < 770, hard < 798, hard < 800)]
    points, resampled = measure([0, 1, 2, 4], trials, np.arange(IMAGES))
    found = enough_views(Curve("views", "augmented views", ProbeOptions(), points, resampled, ()))
    assert points[0].difference_interval[1] > 0 > points[1].difference_interval[1]
    assert found.views == 2


def test_of_equal_points_the_smaller_is_the_best() -> None:
    found = enough_views(nested_curve([0.8, 0.8, 0.8], at=[0, 1, 2]))
    assert (found.views, found.best) == (0, 0)


def test_a_worse_log_loss_is_told() -> None:
    assert not enough_views(nested_curve([0.8, 0.8], at=[0, 1], losses=[1.0, 1.0])).loss_worse
    found = enough_views(nested_curve([0.8, 0.8], at=[0, 1], losses=[1.1, 1.0]))
    assert found.loss_worse
    assert found.best_loss == 1


@pytest.mark.parametrize("law", [(0.0, 0.6, 0.5), (0.1, 0.5, 0.7)])
def test_a_known_law_is_extrapolated_rightly(law: tuple[float, float, float]) -> None:
    floor, scale, exponent = law
    at = [1, 2, 4, 8, 16, 32]
    found = forecast(nested_curve([1 - floor - scale * n**-exponent for n in at], at=at, kind="labels"))
    assert isinstance(found, Forecast)
    truth = scale * (32**-exponent - 64**-exponent)
    assert found.at == 32
    assert found.gain == pytest.approx(truth, abs=0.004)
    assert found.interval[0] < truth < found.interval[1]


def test_intervals_of_forecasts_hold_the_truth_mostly() -> None:
    rng, held = np.random.default_rng(0), 0
    at = np.array([1.0, 2, 4, 8])
    for _ in range(20):
        floor, exponent = rng.uniform(0, 0.2), rng.uniform(0.3, 0.9)
        share = 1 - floor - 0.6 * at**-exponent
        hard = rng.random(400)
        trials = [[Trial((hard + rng.normal(0, 0.05, 400) < each) * 1.0, hard, True)] for each in share]
        points, resampled = measure(at.tolist(), trials, np.arange(400))
        found = forecast(Curve("labels", "images a class", ProbeOptions(), points, resampled, ()))
        truth = 0.6 * (8**-exponent - 16**-exponent)
        held += isinstance(found, Forecast) and found.interval[0] <= truth <= found.interval[1]
    assert held >= 16


def test_two_sizes_make_no_forecast() -> None:
    found = forecast(nested_curve([0.6, 0.7], at=[1, 2], kind="labels"))
    assert found == NoForecast("it takes 3 sizes, there are 2")


def test_a_falling_curve_makes_no_forecast() -> None:
    found = forecast(nested_curve([0.7, 0.7, 0.6], at=[1, 2, 4], kind="labels"))
    assert isinstance(found, NoForecast)
    assert "does not rise" in found.reason


def test_a_curve_that_no_law_fits_makes_no_forecast() -> None:
    found = forecast(nested_curve([0.2, 0.2, 0.8, 0.8], at=[1, 2, 4, 8], kind="labels"))
    assert isinstance(found, NoForecast)
    assert "no power law fits" in found.reason
