"""What a curve says: enough views only where no difference is shown, twice the photos as far as it foretold itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from frozenprobe.probe.curves.curve import Curve
from frozenprobe.probe.curves.points import Trial, measure
from frozenprobe.probe.curves.verdict import REFUSED, Extrapolation, NoExtrapolation, enough_views, extrapolate
from frozenprobe.probe.options import ProbeOptions

IMAGES = 1000


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


def logit_line(slope: float, at: Sequence[float], *, start: float = -1.0) -> list[float]:
    """Accuracies whose logarithms of odds rise by `slope` with that of the size."""
    return [1 / (1 + np.exp(-start - slope * np.log(size))) for size in at]


@pytest.mark.parametrize("slope", [0.3, 0.8, 1.5])
def test_a_line_goes_on_a_little_flatter_than_it_was(slope: float) -> None:
    at = [1, 2, 4, 8]
    found = extrapolate(nested_curve(logit_line(slope, at), at=at, kind="labels"))
    assert isinstance(found, Extrapolation)
    here, straight = logit_line(slope, [8, 16])
    straight -= here
    assert (found.at, found.since) == (8, 4)
    assert 0.5 * straight < found.gain < straight
    assert found.interval[0] < found.gain < straight < found.interval[1]
    assert found.widened == 1


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_a_curve_that_did_not_foretell_itself_widens_what_it_foretells(shift: float) -> None:
    at = [1, 2, 4, 8, 16]
    line = logit_line(0.8, at)
    bent = [*line[:4], *logit_line(0.8, [16], start=-1 + 2.2 * shift)]
    straight, found = (extrapolate(nested_curve(shares, at=at, kind="labels")) for shares in (line, bent))
    assert isinstance(straight, Extrapolation)
    assert isinstance(found, Extrapolation)
    assert straight.widened == 1
    assert 1 < found.widened < REFUSED
    below, above = found.gain - found.interval[0], found.interval[1] - found.gain
    assert max(below, above) > straight.interval[1] - straight.gain


def test_a_curve_that_is_far_from_what_it_foretold_is_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.2, 0.21, 0.22, 0.9], at=[1, 2, 4, 8], kind="labels"))
    assert isinstance(found, NoExtrapolation)
    assert "do not foretell that at 8, 90.0%" in found.reason


def test_intervals_of_extrapolations_hold_the_truth_mostly() -> None:
    rng, held = np.random.default_rng(0), 0
    at = np.array([1.0, 2, 4, 8])
    for _ in range(20):
        floor, exponent = rng.uniform(0, 0.2), rng.uniform(0.3, 0.9)  # curves of another kind: power laws
        share = 1 - floor - 0.6 * at**-exponent
        hard = rng.random(400)
        trials = [[Trial((hard + rng.normal(0, 0.05, 400) < each) * 1.0, True)] for each in share]
        points, resampled = measure(at.tolist(), trials, np.arange(400))
        found = extrapolate(Curve("labels", "images a class", ProbeOptions(), points, resampled, ()))
        truth = 0.6 * (8**-exponent - 16**-exponent)
        held += isinstance(found, Extrapolation) and found.interval[0] <= truth <= found.interval[1]
    assert held >= 19


def test_two_sizes_are_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.6, 0.7], at=[1, 2], kind="labels"))
    assert found == NoExtrapolation("it takes 3 sizes, there are 2")


def test_a_falling_curve_is_not_extrapolated() -> None:
    found = extrapolate(nested_curve([0.7, 0.7, 0.6], at=[1, 2, 4], kind="labels"))
    assert isinstance(found, NoExtrapolation)
    assert "does not rise" in found.reason


def test_a_flat_curve_promises_little() -> None:
    found = extrapolate(nested_curve([0.7, 0.7, 0.7, 0.7], at=[1, 2, 4, 8], kind="labels"))
    assert isinstance(found, Extrapolation)
    assert found.gain == pytest.approx(0, abs=1e-9)
    assert found.interval[0] < 0 < found.interval[1] < 0.1
