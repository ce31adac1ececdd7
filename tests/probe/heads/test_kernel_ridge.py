"""Kernel ridge: scikit-learn's kernels and least squares, left-out answers, and what a straight line cannot do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import rbf_kernel

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads import kernel_ridge as module
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.kernel_ridge import Kernel, KernelRidgeHead, image_means, median_distance
from frozenprobe.probe.heads.parts.temperature import apply_temperature, fit_temperature
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.heads.ridge import RidgeHead
from tests.probe.heads.test_lda import hard_rows

Doubles = npt.NDArray[np.float64]


def rings(seed: int, images: int = 60) -> TrainingRows:
    """Two classes around each other, three views an image."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 2
    angle = rng.uniform(0, 2 * np.pi, size=images)
    place = (1 + 2 * labels)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    features = np.repeat(place, 3, axis=0) + 0.2 * rng.normal(size=(3 * images, 2))
    image = np.repeat(np.arange(images), 3)
    return TrainingRows(features.astype(np.float32), labels[image], np.full(3 * images, 1 / 3), image)


def centred_scores(values: Doubles, cross: Doubles, targets: Doubles, penalty: float) -> Doubles:
    """Kernel ridge with an intercept that is not penalised: scikit-learn's, around the mean in the kernel's space."""
    mean, everything = values.mean(axis=0), values.mean()
    model = Reference(alpha=penalty, kernel="precomputed")
    model.fit(values - mean - mean[:, None] + everything, targets - targets.mean(axis=0))
    around = cross - cross.mean(axis=1, keepdims=True) - mean + everything
    return np.asarray(model.predict(around) + targets.mean(axis=0))


def test_rbf_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    np.testing.assert_allclose(Kernel("rbf", 0.5, 4.0).between(a, b), rbf_kernel(a, b, gamma=0.125), atol=1e-6)


def test_arccos_is_the_mean_over_random_relu_features() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    drawn = rng.normal(size=(3, 400_000))
    expected = 2 * np.maximum(a @ drawn, 0) @ np.maximum(b @ drawn, 0).T / 400_000
    np.testing.assert_allclose(Kernel("arccos", 1.0, 1.0).between(a, b), expected, atol=0.05)
    assert Kernel("arccos", 1.0, 1.0).between(0 * a, b).max() == 0


@pytest.mark.parametrize("kernel", ["rbf", "arccos"])
def test_choice_and_scores_are_those_of_really_leaving_images_out(kernel: str) -> None:
    rows = hard_rows(0)
    points = image_means(rows)
    x, targets = points.features, np.eye(8)[points.labels]
    values = Kernel(kernel, 0.5, median_distance(x)).between(x, x)
    unit = np.trace(values - values.mean(axis=0) - values.mean(axis=1)[:, None] + values.mean())
    losses = []
    for alpha in module.ALPHAS:
        scores = np.empty((80, 8))
        for image in range(80):
            kept = np.arange(80) != image
            scores[image] = centred_scores(
                values[np.ix_(kept, kept)], values[image, kept][None], targets[kept], alpha * unit
            )
        temperature = fit_temperature(scores, points.labels, unknown=1.0)
        chances = apply_temperature(scores, temperature)[np.arange(80), points.labels]
        losses.append((-np.log(chances).mean(), alpha, temperature))
    loss, alpha, temperature = min(losses)
    model = KernelRidgeHead(kernel, gamma=0.5 if kernel == "rbf" else None).fit(rows, seed=0)
    assert model.chosen["alpha"] == alpha
    assert model.chosen["temperature"] == pytest.approx(temperature, rel=1e-4)
    assert model.loss == pytest.approx(loss, rel=1e-5)
    unseen = hard_rows(1).features
    cross = Kernel(kernel, 0.5, median_distance(x)).between(unseen, x)
    expected = softmax(centred_scores(values, cross, targets, alpha * unit) / temperature)
    np.testing.assert_allclose(model.probabilities(unseen), expected, atol=1e-4)


def test_rows_of_an_image_are_one_point_with_their_weight() -> None:
    rows = rings(0, images=2)
    weight = np.array([1.0, 2, 0, 1, 1, 1])
    points = image_means(TrainingRows(rows.features, rows.labels, weight, rows.images))
    np.testing.assert_allclose(points.features[0], (rows.features[0] + 2 * rows.features[1]) / 3, rtol=1e-6)
    np.testing.assert_allclose(points.weight, 3)


@pytest.mark.parametrize("kernel", ["rbf", "arccos"])
def test_it_learns_what_a_linear_head_cannot(kernel: str) -> None:
    unseen = rings(1)
    bent, straight = (head.fit(rings(0), seed=0) for head in (KernelRidgeHead(kernel), RidgeHead()))
    right = [
        (model.probabilities(unseen.features).argmax(axis=1) == unseen.labels).mean() for model in (bent, straight)
    ]
    assert right[0] > 0.95
    assert right[1] < 0.75


@pytest.mark.parametrize("kernel", ["rbf", "arccos"])
def test_a_weight_counts_as_that_many_images(kernel: str) -> None:
    rows = image_means(hard_rows(0))
    times = np.random.default_rng(1).integers(0, 3, size=80)
    features, labels = np.repeat(rows.features, times, axis=0), np.repeat(rows.labels, times)
    repeated = TrainingRows(features, labels, np.ones(times.sum()), np.arange(times.sum()))
    weighted = TrainingRows(rows.features, rows.labels, times.astype(float), rows.images).take(times > 0)
    answers = []
    for points in (weighted, repeated):
        fit = module.solve(points, 8, Kernel(kernel, 0.5, 50.0), [1e-3])
        scores = np.log(fit.probabilities(rows.features)) * fit.chosen["temperature"]  # a copy is not left out with it
        answers.append(scores - scores.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


def test_a_sample_of_many_images_chooses_gamma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHOSEN_ON", 50)
    solved: list[int] = []
    solve = module.solve

    def spy(points: TrainingRows, *rest: object) -> object:
        solved.append(len(points.labels))
        return solve(points, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "solve", spy)
    KernelRidgeHead().fit(rings(0), seed=0)
    assert solved == [50] * len(module.GAMMAS) + [60]


def test_degenerate_rows_are_answered() -> None:
    labels = np.array([0, 0, 1, 1])
    for features in (np.zeros((4, 3)), np.repeat(np.eye(2, 50), 2, axis=0), np.ones((4, 2))):
        for kernel in ("rbf", "arccos"):
            rows = TrainingRows(features.astype(np.float32), labels, np.ones(4), np.arange(4))
            assert np.isfinite(KernelRidgeHead(kernel).fit(rows, seed=0).probabilities(rows.features)).all()
    lone = TrainingRows(np.eye(2, 5, dtype=np.float32), np.array([0, 1]), np.ones(2), np.arange(2))
    np.testing.assert_array_equal(
        KernelRidgeHead().fit(lone, seed=0).probabilities(lone.features).argmax(axis=1), [0, 1]
    )


def test_too_many_images_are_an_error_that_names_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "kernel", replace(HEADS["kernel"], most_images=50))
    with pytest.raises(FrozenprobeError, match="At most 50") as caught:
        KernelRidgeHead().fit(rings(0), seed=0)
    assert "ridge" in caught.value.remedy


def test_an_option_out_of_range_is_an_error_that_names_it() -> None:
    with pytest.raises(FrozenprobeError, match="did you mean rbf"):
        KernelRidgeHead("rbff")
    with pytest.raises(FrozenprobeError, match="No gamma"):
        KernelRidgeHead("arccos", gamma=1.0)
    for where, settings in (("--alpha", {"alpha": 0.0}), ("--gamma", {"gamma": -1.0})):
        with pytest.raises(FrozenprobeError, match="above 0") as caught:
            KernelRidgeHead(**settings)  # type: ignore[arg-type]
        assert caught.value.where == where
