"""Intervals cover as often as they say, also of few images, of few groups, and near 0 and 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.stats.intervals import (
    DEPENDENCE,
    FEWEST,
    accuracy_interval,
    cluster_error,
    difference_interval,
    effective_clusters,
    effective_images,
    loss_interval,
    mean_interval,
    repeat_summary,
    t_quantile,
)

ALONE = np.arange(120)


def groups_of(count: int, size: int, seed: int, *, truth: float, alike: float) -> tuple[np.ndarray, Ints]:
    """Images of groups that are right and wrong together: the share of variance between groups is `alike`."""
    rng = np.random.default_rng(seed)
    each = rng.beta(truth * (1 / alike - 1), (1 - truth) * (1 / alike - 1), size=count) if alike else truth
    return (rng.random((size, count)) < each).T.ravel() * 1.0, np.repeat(np.arange(count), size)


@pytest.mark.parametrize(
    ("truth", "count", "size", "alike"),
    [
        (0.8, 60, 1, 0.0),
        (0.97, 100, 1, 0.0),  # where a bootstrap covers 89 %
        (0.8, 5, 20, 0.3),  # and here 61 %
        (0.8, 10, 20, 0.3),  # and here 73 %
        (0.6, 10, 20, 0.6),
        (0.95, 20, 20, 0.3),
        (0.7, 40, 5, 0.9),
    ],
)
def test_the_interval_covers_the_true_accuracy_at_least_as_often_as_it_says(
    truth: float, count: int, size: int, alike: float
) -> None:
    intervals = [accuracy_interval(*groups_of(count, size, seed, truth=truth, alike=alike)) for seed in range(400)]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert covered >= 0.93
    assert np.mean([high - low for low, high in intervals]) < 0.75  # and says something


def test_independent_images_have_wilsons_interval_of_fewer() -> None:
    right = (ALONE % 5 > 0) * 1.0
    wilson = scipy.stats.binomtest(56, 70).proportion_ci(method="wilson")  # 120 / 1.7 images
    low, high = accuracy_interval(right, ALONE)
    assert (low, high) == pytest.approx((wilson.low, wilson.high), abs=0.002)  # t in place of z
    assert low < 0.8 < high
    assert DEPENDENCE == 1.7


@pytest.mark.parametrize("of", ["accuracy", "difference", "loss", "mean"])
def test_too_few_groups_say_nothing_however_many_images_they_have(of: str) -> None:
    values, interval, nothing = {
        "accuracy": ((np.arange(600) // 12 % 3 > 0) * 1.0, accuracy_interval, (0, 1)),
        "difference": ((np.arange(600) // 12 % 3 > 0) * 1.0, difference_interval, (-1, 1)),
        "loss": (3 + np.linspace(0, 1, 600), loss_interval, (0, math.inf)),
        "mean": (np.linspace(-1, 1, 600), mean_interval, (-math.inf, math.inf)),
    }[of]
    assert interval(values, np.arange(600) % 3) == nothing
    assert interval(values, np.minimum(np.arange(600) // 4, 50)) == nothing  # 50 groups of 4 and one of 400
    low, high = interval(values, np.arange(600) % 12)
    assert nothing[0] < low < values.mean() < high < nothing[1]
    assert effective_clusters(np.repeat([4, 400], [50, 1])) < FEWEST < effective_clusters(np.full(12, 50))


@pytest.mark.parametrize("freedom", [3, 4.4, 7, 20, 1000])
def test_the_quantile_is_scipys(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=2e-3)


def test_the_interval_shrinks_with_the_root_of_the_images() -> None:
    widths = []
    for images in (50, 200, 800):
        low, high = accuracy_interval((np.arange(images) % 5 > 0) * 1.0, np.arange(images))
        assert low < 0.8 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("images", [10, 500])
def test_all_right_or_all_wrong_still_leaves_doubt(images: int) -> None:
    square, count = scipy.stats.t.ppf(0.975, images - 1) ** 2, images / DEPENDENCE
    assert accuracy_interval(np.ones(images), np.arange(images)) == pytest.approx(
        (count / (count + square), 1.0), abs=1e-4
    )
    assert accuracy_interval(np.zeros(images), np.arange(images)) == pytest.approx(
        (0.0, square / (count + square)), abs=1e-4
    )


def test_all_right_doubts_by_the_clusters_not_by_the_images() -> None:
    assert accuracy_interval(np.ones(100), np.arange(100) // 20)[0] == accuracy_interval(np.ones(5), np.arange(5))[0]


def test_equal_answers_still_leave_doubt_about_the_difference() -> None:
    low, high = difference_interval(np.zeros(50), np.arange(50))
    assert low == -high
    assert high == pytest.approx(scipy.stats.t.ppf(0.975, 49) ** 2 / 50, rel=1e-3)
    assert difference_interval(np.zeros(50), np.arange(50) // 5)[1] > 4 * high


def test_the_interval_of_a_difference_is_that_of_the_formula() -> None:
    together, apart = np.tile(np.repeat([1.0, 0, 0, -1, 0, 1, 1, 0], 3), 5), np.tile([1.0, 0, -1, 0, 0, 0], 20)
    clusters, quantile = np.arange(120) // 3, scipy.stats.t.ppf(0.975, 39)
    for differences in (together, apart):
        from_mean = differences - differences.mean()
        squares = (from_mean.reshape(40, 3).sum(axis=1) ** 2).sum() * 40 / 39
        ratio = max(1.0, squares / (from_mean**2).sum())
        assert (ratio > 2) == (differences is together)
        low, high = difference_interval(differences, clusters)
        reach = quantile / 120 * math.sqrt(squares + (quantile * ratio) ** 2)
        assert (high - low) / 2 == pytest.approx(reach, rel=2e-3)
        assert (high + low) / 2 == pytest.approx(differences.mean())


@pytest.mark.parametrize(
    ("only_one", "only_other", "size"), [(0.05, 0.05, 1), (0.02, 0.02, 1), (0.02, 0.0, 1), (0.1, 0.1, 8)]
)
def test_the_interval_of_a_difference_covers(only_one: float, only_other: float, size: int) -> None:
    covered = []
    for seed in range(400):
        drawn = np.repeat(np.random.default_rng(seed).random(120 // size), size)
        differences = (drawn < only_one) * 1.0 - (drawn > 1 - only_other)
        low, high = difference_interval(differences, np.arange(len(drawn)) // size)
        covered.append(low <= only_one - only_other <= high)
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("shape", [1.0, 0.1])
def test_the_log_losses_interval_covers_though_they_have_a_long_tail(shape: float) -> None:
    covered, of_t = [], []
    for seed in range(400):
        losses = np.random.default_rng(seed).gamma(shape, 10.0, size=60)
        (low, high), (lower, upper) = loss_interval(losses, np.arange(60)), mean_interval(losses, np.arange(60))
        covered.append(low <= 10 * shape <= high)
        of_t.append(lower <= 10 * shape <= upper)
    assert np.mean(covered) >= 0.95 > np.mean(of_t)


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(size=120)
    assert cluster_error(values, ALONE) == pytest.approx(scipy.stats.sem(values))
    means = values.reshape(-1, 4).mean(axis=1)
    assert cluster_error(values, ALONE // 4) == pytest.approx(scipy.stats.sem(means))
    low, high = mean_interval(values, ALONE)
    expected = scipy.stats.t.interval(0.95, 119, loc=values.mean(), scale=scipy.stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-3)


def test_a_loss_is_told_no_nearer_than_images_of_a_kind_that_did_not_come_up_would_cost() -> None:
    unseen = t_quantile(199) ** 2 * DEPENDENCE / 200
    assert loss_interval(np.zeros(200), np.arange(200)) == (0, pytest.approx(unseen))
    low, high = loss_interval(np.full(200, 0.5), np.arange(200))
    assert (low, high) == (pytest.approx(0.5 - unseen), pytest.approx(0.5 + unseen))


@pytest.mark.parametrize("interval", [accuracy_interval, difference_interval, loss_interval, mean_interval])
def test_the_numbers_of_the_clusters_do_not_matter(interval) -> None:  # type: ignore[no-untyped-def]
    values = (ALONE % 4 > 0) * 1.0
    assert interval(values, 10 * (ALONE // 3) + 5) == interval(values, ALONE // 3)


def test_images_of_a_cluster_that_agree_count_as_one_and_independent_ones_fully() -> None:
    rng = np.random.default_rng(0)
    assert effective_images(1.0 * np.repeat(rng.random(50) < 0.7, 6), np.arange(300) // 6) == pytest.approx(
        50, rel=0.05
    )
    assert effective_images(1.0 * (rng.random(300) < 0.7), np.arange(300)) == pytest.approx(300, rel=0.01)
    assert effective_images(1.0 * (np.arange(300) % 2 > 0), np.arange(300) // 6) == 300
    assert effective_images(1.0 * (np.arange(8) > 3), np.zeros(8, dtype=np.int64)) == 1


def test_the_effective_number_is_that_of_the_formula() -> None:
    """Pairs with 2, 0, 1 and 2 right: a = 5/8, sum (hits - 2 a)^2 = 2.75, var a = 4/3 * 2.75 / 64."""
    right = np.array([1.0, 1, 0, 0, 1, 0, 1, 1])
    assert effective_images(right, np.arange(8) // 2) == pytest.approx(45 / 11)


def test_repeats_are_summed_up_without_calling_their_spread_an_interval() -> None:
    summary = repeat_summary([0.7, 0.72, 0.74])
    assert (summary["mean"], summary["sd"]) == (pytest.approx(0.72), pytest.approx(0.02))
    assert "72.0%" in summary["note"]
    assert "+- 2.0%" in summary["note"]
    assert repeat_summary([0.7])["sd"] is None
