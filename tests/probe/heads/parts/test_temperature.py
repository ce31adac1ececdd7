"""Temperature scaling against brute force, and the calibration error against its definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads.parts.temperature import (
    apply_temperature,
    choose_by_loss,
    expected_calibration_error,
    fit_temperature,
)

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def make_scores(seed: int, *, size: float, rows: int = 60, classes: int = 5) -> tuple[Doubles, Ints]:
    """Scores that favour the true class, not always enough."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    scores = rng.normal(size=(rows, classes))
    scores[np.arange(rows), labels] += 1
    return size * scores, labels


def loss(scores: Doubles, labels: Ints, temperature: float, weight: Doubles | None = None) -> float:
    chances = apply_temperature(scores, temperature)[np.arange(len(labels)), labels]
    return float(np.average(-np.log(np.maximum(chances, 1e-300)), weights=weight))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([0.02, 1.0, 30.0]), weighted=st.booleans())
def test_it_is_the_minimum_that_brute_force_finds(seed: int, size: float, weighted: bool) -> None:
    scores, labels = make_scores(seed, size=size)
    weight = np.random.default_rng(seed).uniform(0.1, 2, size=len(labels)) if weighted else None
    found = minimize_scalar(
        lambda u: loss(scores, labels, np.exp(u), weight),
        bounds=(np.log(1e-3), np.log(1e3)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    temperature = fit_temperature(scores, labels, weight)
    # a search by values sees no further than the root of the rounding
    assert np.log(temperature) == pytest.approx(found.x, abs=1e-5)
    assert loss(scores, labels, temperature, weight) <= found.fun + 1e-12


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 20))
def test_scores_times_a_number_have_that_many_times_the_temperature(seed: int, size: float) -> None:
    scores, labels = make_scores(seed, size=1.0)
    assert fit_temperature(size * scores, labels) == pytest.approx(size * fit_temperature(scores, labels), rel=1e-6)


def test_true_logits_have_temperature_one() -> None:
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(40_000, 4))
    labels = (softmax(logits).cumsum(axis=1) < rng.random(40_000)[:, None]).sum(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(5 * logits, labels) == pytest.approx(5, abs=0.15)


def test_a_weight_counts_as_that_many_repetitions() -> None:
    scores, labels = make_scores(1, size=3.0)
    times = np.random.default_rng(2).integers(0, 4, size=len(labels))
    repeated = fit_temperature(np.repeat(scores, times, axis=0), np.repeat(labels, times))
    assert fit_temperature(scores, labels, times.astype(float)) == pytest.approx(repeated, rel=1e-6)


def test_scores_without_a_mistake_are_certain_and_unknown_images_hold_them_back() -> None:
    labels = np.arange(5)
    assert loss(np.eye(5), labels, fit_temperature(np.eye(5), labels)) == 0  # float64 sees no lower
    held = fit_temperature(np.eye(5), labels, unknown=1.0)
    # share e = 1/6 of an unknown image: the best chance of the true class is 1 - e + e / 5
    assert apply_temperature(np.eye(5), held).max() == pytest.approx(5 / 6 + 1 / 30, abs=1e-6)


def test_useless_and_wrong_scores_end_as_equal_chances() -> None:
    scores, labels = make_scores(0, size=1.0)
    assert fit_temperature(-scores, labels) == pytest.approx(1e3, rel=1e-6)
    assert fit_temperature(np.zeros((60, 5)), labels) > 0
    assert fit_temperature(np.zeros((0, 5)), labels[:0]) == 1.0


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_huge_and_tiny_scores_stay_finite(size: float) -> None:
    scores, labels = make_scores(0, size=size)
    assert 1e-3 * 0.999 <= fit_temperature(scores, labels) <= 1e3 * 1.001


def test_a_temperature_changes_no_answer() -> None:
    scores, labels = make_scores(0, size=1.0)
    chances = apply_temperature(scores, fit_temperature(scores, labels))
    np.testing.assert_array_equal(chances.argmax(axis=1), scores.argmax(axis=1))
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-12)


def test_the_calibration_error_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    probabilities = softmax(3 * rng.normal(size=(300, 3)))
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    right = (confidence * 15).astype(int) % 2 == 1  # too sure in one bin and not sure enough in the next
    labels = np.where(right, predicted, (predicted + 1) % 3)
    expected = 0.0
    for lower in np.arange(15) / 15:
        inside = (confidence >= lower) & (confidence < lower + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_certain_answers_have_the_error_of_their_mistakes() -> None:
    assert expected_calibration_error(np.eye(4), np.arange(4)) == 0
    assert expected_calibration_error(np.eye(4), np.array([0, 1, 2, 0])) == pytest.approx(0.25)
    assert expected_calibration_error(np.full((4, 4), 0.25), np.array([0, 1, 2, 3])) == pytest.approx(0)


def test_the_candidate_with_the_lowest_loss_at_its_own_temperature_is_chosen() -> None:
    """However large its scores are; with one image of unknown class, and by the weights of the rows."""
    scores, labels = make_scores(0, size=1)
    noise = np.random.default_rng(1).normal(size=(3, *scores.shape))
    candidates = [scores + 3 * noise[0], 50 * (scores + 0.2 * noise[1]), scores + noise[2]]
    weight = np.random.default_rng(2).exponential(size=len(labels))
    temperatures = [fit_temperature(each, labels, weight, unknown=1.0) for each in candidates]
    losses = [loss(each, labels, own, weight) for each, own in zip(candidates, temperatures, strict=True)]
    assert int(np.argmin(losses)) == 1
    choice = choose_by_loss(candidates, labels, weight)
    assert (choice.index, choice.temperature) == (1, temperatures[1])
    assert choice.loss == pytest.approx(losses[1])


def test_rows_without_weight_decide_nothing() -> None:
    scores, labels = make_scores(0, size=1)
    worse = np.random.default_rng(1).normal(size=scores.shape)
    weight = (np.arange(60) < 40).astype(float)
    lying = np.where(weight[:, None] > 0, worse, 20 * np.eye(5)[labels])  # best where nothing counts
    choice = choose_by_loss([lying, scores], labels, weight)
    alone = choose_by_loss([worse[:40], scores[:40]], labels[:40], weight[:40])
    assert choice == alone
    assert choice.index == 1
    nothing = choose_by_loss([scores, worse, lying], labels, np.zeros(60))
    assert nothing.index == 1  # the middle
    assert np.isnan(nothing.loss)
