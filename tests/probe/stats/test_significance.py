"""p-values: scipy's and brute force's, and no more false alarms than they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from frozenprobe.probe.stats.intervals import effective_clusters
from frozenprobe.probe.stats.significance import cluster_p, companions, corrected_t, holm, mcnemar_p


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (0, 1), (3, 3), (6, 0), (7, 2), (40, 61), (300, 251), (2000, 1800)]
)
def test_single_images_give_mcnemars_exact_test(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == mcnemar_p(second, first) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_overwhelming_evidence_is_never_rounded_up() -> None:
    assert mcnemar_p(60, 0) == pytest.approx(2.0**-59)
    assert 0 <= mcnemar_p(0, 5000) < 1e-300


def test_clusters_are_as_many_as_clusters_of_one_size_that_are_as_even() -> None:
    assert effective_clusters(np.full(12, 5.0)) == pytest.approx(12)
    assert effective_clusters(np.array([*[1.0] * 30, 30.0])) == pytest.approx(60**2 / (30 + 900))
    assert companions(np.ones(9)) == 0
    assert companions(np.array([3.0, 1.0])) == (3 * 2 + 1 * 0) / 4


def test_clusters_give_halls_t_with_a_cluster_more_that_is_half_against() -> None:
    sizes = np.repeat([2.0, 6.0], [30, 10])  # an image has (60 x 1 + 60 x 5) / 120 = 3 companions
    differences = np.random.default_rng(0).integers(-1, 3, size=40).astype(float)
    sums = np.append(differences, -1.5)
    ratio, skew = scipy.stats.ttest_1samp(sums, 0).statistic / 41**0.5, scipy.stats.skew(sums, bias=False)
    corrected = 41**0.5 * (ratio + skew * ratio**2 / 3 + skew**2 * ratio**3 / 27 + skew / 6 / 41)
    freedom = (sums**2).sum() ** 2 / (sums**4).sum() - 1
    expected = 2 * scipy.stats.t.sf(corrected, freedom)
    assert cluster_p(differences, sizes) == pytest.approx(expected, rel=1e-9)
    assert cluster_p(differences, sizes) > scipy.stats.ttest_1samp(differences, 0).pvalue


def test_no_difference_has_p_1_and_direction_and_order_do_not_matter() -> None:
    sizes, differences = np.full(40, 5.0), np.random.default_rng(0).integers(-1, 3, size=40).astype(float)
    assert cluster_p(np.zeros(40), sizes) == 1.0
    assert 0 < cluster_p(differences, sizes) < 0.05
    assert cluster_p(-differences, sizes) == pytest.approx(cluster_p(differences, sizes))
    assert cluster_p(differences[::-1], sizes) == pytest.approx(cluster_p(differences, sizes))


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 25, 100])
def test_without_a_test_share_the_corrected_t_is_the_plain_one(count: int) -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, size=count)
    plain = scipy.stats.ttest_1samp(differences, 0)
    for found, side in ((corrected_t(differences, 0.0), 1), (corrected_t(-differences, 0.0), -1)):
        assert found.t == pytest.approx(side * plain.statistic, rel=1e-12)
        assert found.p == pytest.approx(plain.pvalue, rel=1e-12)
        assert (found.freedom, found.difference) == (count - 1, pytest.approx(side * differences.mean()))


def test_the_correction_shrinks_t_as_nadeau_and_bengio_say() -> None:
    differences = np.array([0.02, 0.05, -0.01, 0.03])
    variance = (1 / 4 + 1 / 3) * differences.var(ddof=1)
    assert corrected_t(differences, 1 / 3).t == pytest.approx(differences.mean() / math.sqrt(variance))


def test_equal_differences_have_an_infinite_t_or_none() -> None:
    assert corrected_t(np.zeros(4), 0.25).p == 1.0
    sure = corrected_t(np.full(4, -0.1), 0.25)
    assert (sure.t, sure.p) == (-math.inf, 0.0)


def test_holm_multiplies_by_the_hypotheses_left_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02]) == [0.02]
    assert holm([0.9, 0.6]) == [1.0, 1.0]


def test_false_alarms_are_as_rare_as_promised_where_clusters_are_skewed_and_a_t_tests_are_not() -> None:
    rng = np.random.default_rng(0)
    alarms = plain = mcnemars = 0
    sizes = np.full(40, 10.0)
    for _ in range(400):
        few = rng.random(40) < 1 / 15  # one head is a little better on 14 of 15 clusters, and 14 times as bad on one
        differences = np.where(few, -9.5, rng.integers(0, 3, size=40) * 9.5 / 14)
        alarms += cluster_p(differences, sizes) < 0.05
        plain += scipy.stats.ttest_1samp(differences, 0).pvalue < 0.05
        mcnemars += mcnemar_p(int(differences[differences > 0].sum()), int(-differences[differences < 0].sum())) < 0.05
    assert alarms / 400 <= 0.055
    assert plain / 400 > 0.08
    assert mcnemars / 400 > 0.2


def test_one_cluster_alone_shows_nothing() -> None:
    assert cluster_p(np.eye(40)[0], np.full(40, 5.0)) > 0.9  # what one cluster shows, another may undo
    nearly_single = np.append(2.0, np.ones(9999))  # whose companions count for nothing
    assert cluster_p(np.append(2.0, np.zeros(9999)), nearly_single) > 0.2


def test_a_difference_on_most_clusters_is_shown() -> None:
    rng = np.random.default_rng(0)
    shown = [cluster_p(rng.integers(-1, 4, size=60).astype(float), np.full(60, 5.0)) < 0.05 for _ in range(100)]
    assert np.mean(shown) > 0.9


def test_false_alarms_of_the_corrected_t_on_overlapping_folds_stay_near_the_level() -> None:
    rng = np.random.default_rng(0)
    alarms = naive = 0
    for _ in range(400):
        images = rng.choice([0, 1, -1], size=100)  # the same images, dealt again and again into 5 folds
        folds = np.concatenate([rng.permutation(images).reshape(5, 20).mean(axis=1) for _ in range(4)])
        alarms += corrected_t(folds, 1 / 4).p < 0.05
        naive += corrected_t(folds, 0.0).p < 0.05
    assert alarms / 400 <= 0.07
    assert naive / 400 > 0.2
