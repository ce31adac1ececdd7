"""Blending out-of-fold answers: the convex optimum, found and held against a plain optimiser."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads.parts.temperature import fit_temperature
from frozenprobe.probe.select.blend import blend, evaluate, fit_stack

Doubles = npt.NDArray[np.float64]


def make_logits(
    heads: int = 3, images: int = 60, classes: int = 4, seed: int = 0
) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """Heads that see the truth through noise of their own, each with another sharpness."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=images)
    truth = np.eye(classes)[labels]
    noisy = [(truth + rng.normal(scale=0.7, size=truth.shape)) * 4.0 ** (head - 1) for head in range(heads)]
    return np.log(softmax(np.array(noisy))), labels


def objective(
    weights: Doubles, logits: Doubles, labels: npt.NDArray[np.int64], weight: Doubles, alone: Doubles, prior: float
) -> float:
    probabilities = softmax(np.tensordot(weights, logits, axes=1))
    loss = np.average(-np.log(probabilities[np.arange(len(labels)), labels]), weights=weight)
    pull = ((weights - alone / len(alone)) / alone) ** 2
    return float(loss + prior / len(labels) * pull.sum() / 2)


@given(seed=st.integers(0, 10_000), heads=st.integers(2, 5), prior=st.floats(0.1, 10), weighted=st.booleans())
@settings(max_examples=30, deadline=None)
def test_it_is_the_optimum_that_a_plain_optimiser_finds(seed: int, heads: int, prior: float, weighted: bool) -> None:
    logits, labels = make_logits(heads, seed=seed)
    weight = np.random.default_rng(seed).uniform(0.1, 3, size=len(labels)) if weighted else np.ones(len(labels))
    alone = np.array([1 / fit_temperature(each, labels, weight, unknown=prior) for each in logits])
    found = fit_stack(logits, labels, weight if weighted else None, prior=prior)
    given_ = (logits, labels, weight, alone, prior)
    bounds = [(0, None)] * heads
    reference = minimize(objective, alone / heads, args=given_, bounds=bounds, method="L-BFGS-B")
    assert (found >= 0).all()
    assert objective(found, *given_) <= reference.fun + 1e-6


def test_an_image_of_twice_the_weight_counts_as_two() -> None:
    logits, labels = make_logits()
    times = np.random.default_rng(2).integers(1, 4, size=len(labels))
    twice = fit_stack(np.repeat(logits, times, axis=1), np.repeat(labels, times), prior=times.mean())
    np.testing.assert_allclose(fit_stack(logits, labels, times.astype(float)), twice, rtol=1e-6)


def test_gradient_and_hessian_are_those_of_finite_differences() -> None:
    logits, labels = make_logits()
    away = logits - np.take_along_axis(logits, labels[None, :, None], axis=2)
    weights, centre, strength = np.array([0.3, 0.9, 0.1]), np.array([0.2, 0.5, 0.5]), 0.3
    share = np.random.default_rng(1).uniform(0.2, 1.8, size=len(labels))
    _, slope, curvature = evaluate(away, share, weights, centre, strength)
    for index in range(3):
        step = np.zeros(3)
        step[index] = 1e-5
        up, down = (evaluate(away, share, weights + sign * step, centre, strength) for sign in (1, -1))
        assert slope[index] == pytest.approx((up[0] - down[0]) / 2e-5, rel=1e-6)
        np.testing.assert_allclose(curvature[index], (up[1] - down[1]) / 2e-5, rtol=1e-5, atol=1e-8)


def test_one_head_is_given_its_temperature() -> None:
    logits, labels = make_logits(1)
    (weight,) = fit_stack(logits, labels)
    assert weight == pytest.approx(1 / fit_temperature(logits[0], labels, unknown=1.0))


def test_a_blend_is_no_worse_than_its_best_member_and_a_useless_one_gets_nothing() -> None:
    logits, labels = make_logits(3, images=400)
    noise = np.log(softmax(np.random.default_rng(5).normal(size=(400, 4))))
    weights = fit_stack(np.concatenate([logits, noise[None]]), labels)
    assert weights[3] < 0.05 * weights.sum()

    def loss(probabilities: Doubles) -> float:
        return float(-np.log(probabilities[np.arange(400), labels]).mean())

    best = min(loss(softmax(each / fit_temperature(each, labels))) for each in logits)
    assert loss(blend(np.concatenate([logits, noise[None]]), weights)) < best


def test_equal_heads_share_the_weight_and_give_what_one_of_them_gives() -> None:
    logits, labels = make_logits(1, images=300)
    weights = fit_stack(np.concatenate([logits, logits]), labels)
    assert weights[0] == pytest.approx(weights[1], rel=1e-3)
    (alone,) = fit_stack(logits, labels)
    assert weights.sum() == pytest.approx(alone, rel=0.02)


def test_few_images_keep_every_head_near_an_equal_share() -> None:
    logits, labels = make_logits(2, images=2, seed=3)
    weights = fit_stack(logits, labels, prior=1e4)
    alone = np.array([1 / fit_temperature(each, labels, unknown=1e4) for each in logits])
    np.testing.assert_allclose(weights, alone / 2, rtol=0.05)


def test_heads_that_are_always_right_leave_finite_weights() -> None:
    labels = np.arange(40) % 4
    logits = np.log(softmax(9.0 * np.eye(4)[labels]))[None].repeat(2, axis=0)
    assert np.isfinite(fit_stack(logits, labels)).all()
