"""Intervals of a curve: those of a probe for one cross-validation, paired between points, wider for differing draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.probe.curves.points import Trial, judge, measure, resample
from frozenprobe.probe.stats import intervals

ALONE = np.arange(200)


def coin(seed: int, share: float = 0.7, images: int = 200) -> Trial:
    return Trial((np.random.default_rng(seed).random(images) < share) * 1.0, True)


def test_predictions_are_judged_where_images_are_scored() -> None:
    oof = np.array([[0.5, 0.5, 0], [0.2, 0.7, 0.1], [0, 0, 1]])
    found = judge(oof, np.array([0, 0, 2]), np.array([True, True, False]), converged=True)
    np.testing.assert_array_equal(found.right, [1, 0, np.nan])


def test_one_cross_validation_has_the_interval_of_a_probe() -> None:
    one, clusters = coin(0), ALONE // 3
    (point,), _ = measure([8], [[one]], clusters)
    assert point.accuracy == one.right.mean()
    np.testing.assert_allclose(point.interval, intervals.accuracy_interval(one.right > 0, clusters), atol=0.01)


def test_copies_are_resampled_together() -> None:
    widths = []
    for clusters in (ALONE, ALONE // 10):
        right = np.repeat(coin(0, images=20).right, 10)
        (point,), _ = measure([1], [[Trial(right, True)]], clusters)
        widths.append(point.interval[1] - point.interval[0])
    assert widths[1] > 2 * widths[0]


def test_differences_are_paired() -> None:
    one = coin(0)
    better = one.right.copy()
    better[np.flatnonzero(better == 0)[:6]] = 1  # six images more, none less
    points, _ = measure([1, 2], [[one], [Trial(better, True)]], ALONE)
    assert points[0].difference == pytest.approx(-0.03)
    assert points[0].difference_interval[1] < 0  # shown, though
    assert points[0].interval[1] > points[1].interval[0]  # the intervals of the two overlap
    assert points[1].difference_interval == (0, 0)


def test_repeats_of_two_points_are_paired() -> None:
    easy, hard = coin(0, 0.9), coin(1, 0.5)  # two deals of folds, say
    points, _ = measure([1, 2], [[easy, hard], [easy, hard]], ALONE)
    assert points[0].difference_interval == (0, 0)


def test_draws_that_differ_widen_the_interval() -> None:
    alike, unlike = ([coin(seed, share) for seed, share in enumerate(shares)] for shares in ((0.6, 0.6), (0.3, 0.9)))
    widths = [np.ptp(measure([1], [row], ALONE)[0][0].interval) for row in (alike, unlike)]
    assert widths[1] > 2 * widths[0]


def test_all_right_is_not_certain() -> None:
    (point,), _ = measure([1], [[Trial(np.ones(200), True)]], ALONE)
    assert point.interval == pytest.approx(intervals.accuracy_interval(np.ones(200), ALONE))
    assert point.interval[0] < 0.98


def test_images_that_are_not_scored_count_nowhere() -> None:
    one = coin(0)
    missing = np.where(ALONE < 50, np.nan, one.right)
    with_rest, drawn = measure([1], [[Trial(missing, True)]], ALONE)
    without, _ = measure([1], [[Trial(one.right[50:], True)]], ALONE[50:])
    assert with_rest == without
    assert (drawn.images, drawn.clusters) == (150, 150)


def test_an_image_scored_in_one_repeat_only_counts_there() -> None:
    first, second = np.array([1.0, 1, 0, np.nan]), np.array([0.0, 1, np.nan, np.nan])
    (point,), drawn = measure([1], [[Trial(first, True), Trial(second, True)]], np.arange(4))
    assert point.accuracy == pytest.approx(3 / 5)
    assert drawn.images == 3


def test_unconverged_cross_validations_are_counted() -> None:
    (point,), _ = measure([1], [[coin(0), replace(coin(1), converged=False)]], ALONE)
    assert (point.draws, point.unconverged) == (2, 1)


def test_the_bootstrap_is_the_same_every_time() -> None:
    trials = [[coin(0), coin(1)], [coin(2)]]
    np.testing.assert_array_equal(resample(trials, ALONE).accuracy, resample(trials, ALONE).accuracy)
