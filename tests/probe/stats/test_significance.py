"""p-values: scipy's and brute force's, and no more false alarms than they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.probe.stats.significance import corrected_t, holm, sign_flip_p


@pytest.mark.parametrize(("first", "second"), [(0, 1), (3, 3), (6, 0), (7, 2), (40, 61), (300, 251), (2000, 1800)])
def test_single_images_give_mcnemars_exact_test(first: int, second: int) -> None:
    differences = np.repeat([1, -1, 0], [first, second, 17])
    expected = scipy.stats.binomtest(first, first + second).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected, rel=1e-9, abs=1e-14)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_clusters_give_the_share_of_all_sign_flips(differences: list[int]) -> None:
    signs = itertools.product([1, -1], repeat=len(differences))
    flipped = [abs(sum(sign * d for sign, d in zip(flip, differences, strict=True))) for flip in signs]
    expected = np.mean(np.array(flipped) >= abs(sum(differences)))
    assert sign_flip_p(np.array(differences)) == pytest.approx(expected, abs=1e-12)


def test_no_difference_has_p_1_and_order_and_direction_do_not_matter() -> None:
    assert sign_flip_p(np.zeros(5, dtype=np.int64)) == 1.0
    differences = np.array([3, -1, 2, 2, -1, 1, 4])
    assert sign_flip_p(-differences) == sign_flip_p(differences) == sign_flip_p(differences[::-1])


def test_overwhelming_evidence_is_never_rounded_below_the_share_of_one_flip() -> None:
    assert sign_flip_p(np.ones(60, dtype=np.int64)) == pytest.approx(2.0**-59)
    assert 0 <= sign_flip_p(np.ones(5000, dtype=np.int64)) < 1e-300


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


def test_false_alarms_are_as_rare_as_promised_with_clusters_where_mcnemars_are_not() -> None:
    rng = np.random.default_rng(0)
    alarms = mcnemars = 0
    for _ in range(400):
        cluster = rng.choice([0, 1, -1], size=40)  # a patient's five images differ between the heads together
        alarms += sign_flip_p(5 * cluster) < 0.05
        mcnemars += sign_flip_p(np.repeat(cluster, 5)) < 0.05
    assert 0.01 <= alarms / 400 <= 0.07
    assert mcnemars / 400 > 0.2


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
