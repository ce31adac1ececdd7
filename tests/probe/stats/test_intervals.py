"""Intervals cover as often as they say, and are those of a plain bootstrap."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.stats import intervals
from frozenprobe.probe.stats.intervals import (
    accuracy_interval,
    difference_interval,
    effective_images,
    mean_interval,
    public_images,
    public_score_interval,
    render_public,
    repeat_summary,
)


def bootstrap_interval(values: npt.NDArray[np.float64], clusters: npt.NDArray[np.int64]) -> tuple[float, float]:
    """The definition: draw clusters, put their images together, take the mean."""
    rng = np.random.default_rng(99)
    members = [values[clusters == cluster] for cluster in np.unique(clusters)]
    means = []
    for _ in range(4000):
        drawn = rng.integers(len(members), size=len(members))
        means.append(np.concatenate([members[index] for index in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("kinds", ["right or wrong", "losses"])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_is_that_of_a_plain_bootstrap(kinds: str, grouped: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(120)
    if kinds == "right or wrong":
        values = (values < 0.7).astype(np.float64)
    clusters = rng.integers(50, size=120) if grouped else np.arange(120)
    low, high = bootstrap_interval(values, clusters)
    assert mean_interval(values, clusters) == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize("images", [150, 400])
def test_drawing_kinds_of_clusters_is_drawing_clusters(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (np.arange(images) % 4 > 0).astype(np.float64)
    by_kind = mean_interval(values, np.arange(images))
    monkeypatch.setattr(intervals, "FEW_KINDS", 0)
    one_by_one = mean_interval(values, np.arange(images))
    assert by_kind == pytest.approx(one_by_one, abs=0.1 * (one_by_one[1] - one_by_one[0]))


@pytest.mark.parametrize(("truth", "images"), [(0.8, 60), (0.6, 150)])
def test_the_interval_covers_the_true_accuracy_about_as_often_as_it_says(truth: float, images: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        low, high = accuracy_interval(rng.random(images) < truth, np.arange(images), seed=trial)
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_images_that_belong_together_widen_the_interval_and_keep_it_honest() -> None:
    rng = np.random.default_rng(0)
    clusters, covered, naively_covered, ratios = np.repeat(np.arange(40), 5), 0, 0, []
    for trial in range(200):
        right = np.repeat(rng.random(40) < 0.7, 5)  # a patient's five images are right or wrong together
        low, high = accuracy_interval(right, clusters, seed=trial)
        naive_low, naive_high = accuracy_interval(right, np.arange(200), seed=trial)
        ratios.append((high - low) / (naive_high - naive_low))
        covered += low <= 0.7 <= high
        naively_covered += naive_low <= 0.7 <= naive_high
    assert np.mean(ratios) == pytest.approx(np.sqrt(5), rel=0.1)
    assert covered / 200 >= 0.88
    assert naively_covered / 200 < 0.75


def test_the_interval_holds_the_accuracy_and_shrinks_with_the_root_of_the_images() -> None:
    widths = []
    for images in (50, 200, 800):
        right = np.arange(images) % 5 > 0
        low, high = accuracy_interval(right, np.arange(images))
        assert low < 0.8 < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("images", [1, 10, 500])
def test_all_right_or_all_wrong_still_leaves_wilsons_doubt(images: int) -> None:
    z = 1.96  # Wilson (1927): (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    expected = (1 + z**2 / (2 * images) - z * np.sqrt(z**2 / (4 * images**2))) / (1 + z**2 / images)
    low, high = accuracy_interval(np.ones(images, dtype=bool), np.arange(images))
    assert (low, high) == (pytest.approx(expected), 1.0)
    assert accuracy_interval(np.zeros(images, dtype=bool), np.arange(images)) == (0.0, pytest.approx(1 - expected))


def test_all_right_doubts_by_the_clusters_not_by_the_images() -> None:
    right = np.ones(100, dtype=bool)
    assert accuracy_interval(right, np.arange(100) // 20)[0] == accuracy_interval(right[:5], np.arange(5))[0]


def test_equal_answers_still_leave_doubt_about_the_difference() -> None:
    low, high = difference_interval(np.zeros(50), np.arange(50))
    assert (low, high) == (-high, accuracy_interval(np.zeros(50, dtype=bool), np.arange(50))[1])


def test_the_interval_is_the_same_every_time_and_does_not_depend_on_cluster_numbers() -> None:
    for values in ((np.arange(60) % 4 > 0).astype(np.float64), np.random.default_rng(0).random(90)):
        once = mean_interval(values, np.arange(len(values)))
        assert mean_interval(values, np.arange(len(values))) == once
        assert mean_interval(values, 10 * np.arange(len(values)) + 5) == once
        assert mean_interval(values, np.arange(len(values)), seed=1) != once


def test_the_log_losses_interval_covers() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(60):
        low, high = mean_interval(rng.exponential(size=100), np.arange(100), seed=trial)
        covered += low <= 1 <= high
    assert covered / 60 >= 0.85


def simulate_public(truth: float, *, images: int, test_images: int, share: float, cluster: int = 1) -> float:
    """How often the public score falls into its interval."""
    rng = np.random.default_rng(0)
    inside, trials = 0, 600
    for trial in range(trials):
        # Beta(4 a, 4 (1 - a)) a cluster: its images are right and wrong together, on average as often as `truth`
        each = np.full(images, truth)
        if cluster > 1:
            each = np.repeat(rng.beta(4 * truth, 4 * (1 - truth), size=images // cluster), cluster)
        test_right = rng.random(test_images) < truth
        public = rng.choice(test_right, size=round(share * test_images), replace=False).mean()
        low, high = public_score_interval(
            rng.random(images) < each, np.arange(images) // cluster, test_images=test_images, share=share, seed=trial
        )
        inside += low <= public <= high
    return inside / trials


@pytest.mark.parametrize("truth", [0.6, 0.92])
@pytest.mark.parametrize(("images", "test_images", "share"), [(100, 1000, 0.3), (800, 1000, 0.5), (1000, 400, 0.25)])
def test_the_public_score_falls_into_its_interval_as_often_as_said(
    truth: float, images: int, test_images: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "DRAWS", 4000)
    covered = simulate_public(truth, images=images, test_images=test_images, share=share)
    assert 0.93 <= covered <= 0.98


def test_clusters_of_training_images_widen_the_public_interval_to_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "DRAWS", 4000)
    assert 0.93 <= simulate_public(0.8, images=400, test_images=2000, share=0.5, cluster=8) <= 0.98


def test_a_smaller_public_part_has_a_wider_interval_and_the_whole_still_doubts_the_accuracy() -> None:
    right = np.arange(300) % 4 > 0
    widths = []
    for share in (0.1, 0.3, 1.0):
        low, high = public_score_interval(right, np.arange(300), test_images=1000, share=share)
        assert low < 0.75 < high
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2]
    low, high = accuracy_interval(right, np.arange(300))
    assert widths[2] > high - low


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_does_not_promise_the_same_in_public(right: bool) -> None:
    low, high = public_score_interval(np.full(20, right), np.arange(20), test_images=200, share=0.5)
    assert high - low > 0.05
    assert right in (low, high)


def test_images_of_a_cluster_that_agree_count_as_one_and_independent_ones_fully() -> None:
    rng = np.random.default_rng(0)
    assert effective_images(np.repeat(rng.random(50) < 0.7, 6), np.arange(300) // 6) == pytest.approx(50, rel=0.05)
    assert effective_images(rng.random(300) < 0.7, np.arange(300)) == pytest.approx(300, rel=0.01)
    assert effective_images(np.arange(300) % 2 > 0, np.arange(300) // 6) == 300
    assert effective_images(np.arange(8) > 3, np.zeros(8, dtype=np.int64)) == 1


def test_the_effective_number_is_that_of_the_formula() -> None:
    """Pairs with 2, 0, 1 and 2 right: a = 5/8, sum (hits - 2 a)^2 = 2.75, var a = 4/3 * 2.75 / 64."""
    right = np.array([1, 1, 0, 0, 1, 0, 1, 1], dtype=bool)
    assert effective_images(right, np.arange(8) // 2) == pytest.approx(45 / 11)


def test_images_of_the_public_part_are_counted_to_the_nearest() -> None:
    assert [public_images(10, share) for share in (0.29, 0.31, 0.06, 1.0)] == [3, 3, 1, 10]


@pytest.mark.parametrize(("test_images", "share"), [(1000, 0.0), (1000, 1.5), (1000, float("nan")), (1, 0.3), (0, 1)])
def test_a_share_that_leaves_no_image_is_an_error(test_images: int, share: float) -> None:
    with pytest.raises(FrozenprobeError, match="public-share"):
        public_score_interval(np.arange(9) > 3, np.arange(9), test_images=test_images, share=share)


def test_the_public_line_says_how_many_images_and_what_it_assumes() -> None:
    line = render_public((0.701, 0.8), test_images=1000, share=0.3)
    assert "70.1% to 80.0%" in line
    assert "300 of 1000 test images" in line
    assert "test photos like the training photos" in line


def test_repeats_are_summed_up_without_calling_their_spread_an_interval() -> None:
    summary = repeat_summary([0.7, 0.72, 0.74])
    assert (summary["mean"], summary["sd"]) == (pytest.approx(0.72), pytest.approx(0.02))
    assert "72.0%" in summary["note"]
    assert "+- 2.0%" in summary["note"]
    assert repeat_summary([0.7])["sd"] is None
