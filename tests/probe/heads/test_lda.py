"""Shrinkage LDA: the closed form, against scikit-learn and against its formula with an explicit inverse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.heads.head import Head, LinearModel, TrainingRows
from frozenprobe.probe.heads.kernel_ridge import KernelRidgeHead
from frozenprobe.probe.heads.lda import SHRINKAGES, ShrinkageLdaHead, fit_moments
from frozenprobe.probe.heads.parts.inner_folds import Images, deal_inner
from frozenprobe.probe.heads.parts.moments import moments_of
from frozenprobe.probe.heads.parts.temperature import (
    LEAD,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    scores_of,
    temperature_of_lead,
)
from frozenprobe.probe.heads.ridge import RidgeHead
from frozenprobe.probe.stats.metrics import log_loss

Doubles = npt.NDArray[np.float64]


def make_rows(classes: int = 4, dim: int = 6, *, seed: int = 0) -> TrainingRows:
    """Overlapping classes of unequal size and correlated features."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 10 + 3 * np.arange(classes)).astype(np.int64)
    noise = rng.normal(size=(len(labels), dim)) @ rng.normal(size=(dim, dim))
    features = (2 * rng.normal(size=(classes, dim))[labels] + noise).astype(np.float32)
    return TrainingRows(features, labels, np.ones(len(labels)), np.arange(len(labels)))


def plain(rows: TrainingRows, shrinkage: float) -> LinearModel:
    """The posterior, before its temperature."""
    (model,) = fit_moments(moments_of(rows, np.ones(len(rows.labels), dtype=bool)), [shrinkage])
    return model


def variance_within(rows: TrainingRows) -> float:
    """Of rows of equal weight around the mean of their class."""
    means = np.stack([rows.features[rows.labels == label].mean(axis=0) for label in range(rows.classes)])
    return float(np.square(rows.features - means[rows.labels]).mean())


def naive(rows: TrainingRows, shrinkage: float, unseen: npt.NDArray[np.float32]) -> Doubles:
    """Posterior of Gaussian classes with one covariance, from the densities themselves."""
    x, weight, dim = rows.features.astype(np.float64), rows.weight / rows.weight.sum(), rows.features.shape[1]
    shares = np.bincount(rows.labels, weights=weight)
    means = np.stack(
        [np.average(x[rows.labels == c], axis=0, weights=weight[rows.labels == c]) for c in range(len(shares))]
    )
    centred = x - means[rows.labels]
    scatter = sum(w * np.outer(row, row) for w, row in zip(weight, centred, strict=True))
    inverse = np.linalg.inv((1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / dim * np.eye(dim))
    away = unseen.astype(np.float64)[:, None] - means
    density = np.log(shares) - np.einsum("ncd,de,nce->nc", away, inverse, away) / 2
    density = np.exp(density - density.max(axis=1, keepdims=True))
    return density / density.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_the_gaussian_posterior_of_the_formula(shrinkage: float, classes: int) -> None:
    rows, unseen = make_rows(classes), make_rows(classes, seed=1).features
    rows = TrainingRows(rows.features, rows.labels, np.linspace(0.3, 2, len(rows.labels)), rows.images)
    model = plain(rows, shrinkage)
    np.testing.assert_allclose(model.probabilities(unseen), naive(rows, shrinkage, unseen), atol=1e-4)


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [0.05, 0.3, 0.9])
def test_with_equal_weights_it_is_scikit_learns(solver: str, shrinkage: float) -> None:
    # scikit-learn shrinks every class's covariance, we the pooled one: the same, since shrinking is linear
    rows, unseen = make_rows(), make_rows(seed=1).features
    reference = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(
        rows.features.astype(np.float64), rows.labels
    )
    model = plain(rows, shrinkage)
    np.testing.assert_allclose(model.probabilities(unseen), reference.predict_proba(unseen.astype(float)), atol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.3, None])
def test_a_weight_counts_as_that_many_repetitions(shrinkage: float | None) -> None:
    rows = make_rows()
    times = np.random.default_rng(1).integers(1, 4, size=len(rows.labels))
    weighted = TrainingRows(rows.features, rows.labels, times.astype(float), rows.images)
    repeated = TrainingRows(
        np.repeat(rows.features, times, axis=0),
        np.repeat(rows.labels, times),
        np.ones(times.sum()),
        np.repeat(rows.images, times),
    )
    one, other = (ShrinkageLdaHead(shrinkage).fit(each, seed=0) for each in (weighted, repeated))
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one.intercepts, other.intercepts, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.3, None])
@pytest.mark.parametrize("views", [2, 5])
def test_equal_views_that_share_a_weight_change_nothing(views: int, shrinkage: float | None) -> None:
    rows = make_rows()
    many = TrainingRows(
        np.repeat(rows.features, views, axis=0),
        np.repeat(rows.labels, views),
        np.repeat(rows.weight / views, views),
        np.repeat(rows.images, views),
    )
    one, other = (ShrinkageLdaHead(shrinkage).fit(each, seed=0) for each in (rows, many))
    np.testing.assert_allclose(other.coefficients, one.coefficients, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(other.intercepts, one.intercepts, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shrinkage", [0.3, None])
def test_only_ratios_of_weights_matter(shrinkage: float | None) -> None:
    rows = make_rows()
    light = TrainingRows(rows.features, rows.labels, rows.weight / 8, rows.images)
    one, other = (ShrinkageLdaHead(shrinkage).fit(each, seed=0) for each in (rows, light))
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-4, atol=1e-5)


def test_full_shrinkage_is_nearest_mean_with_priors() -> None:
    rows = make_rows()
    means = np.stack([rows.features[rows.labels == c].mean(axis=0) for c in range(4)])
    centred = rows.features - means[rows.labels]
    variance = np.square(centred).mean()
    distance = np.square(rows.features[:, None] - means).sum(axis=2)
    scores = np.log(np.bincount(rows.labels) / len(rows.labels)) - distance / (2 * variance)
    answers = ShrinkageLdaHead(1.0).fit(rows, seed=0).probabilities(rows.features).argmax(axis=1)
    np.testing.assert_array_equal(answers, scores.argmax(axis=1))


def test_more_features_than_images_and_equal_images_are_solved() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 1, 1], dtype=np.int64)
    for features in (rng.normal(size=(4, 50)), np.repeat(np.eye(2, 50), 2, axis=0)):
        rows = TrainingRows(features.astype(np.float32), labels, np.ones(4), np.arange(4))
        probabilities = ShrinkageLdaHead().fit(rows, seed=0).probabilities(rows.features)
        assert np.isfinite(probabilities).all()
        np.testing.assert_array_equal(probabilities.argmax(axis=1), labels)


def hard_rows(seed: int, *, classes: int = 8, per_class: int = 10, dim: int = 40) -> TrainingRows:
    """Two views an image, and about half of the images are mistaken."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class).astype(np.int64)
    centres = 0.4 * np.random.default_rng(99).normal(size=(classes, dim)) * np.geomspace(1, 0.05, dim)
    images = centres[labels] + rng.normal(size=(len(labels), dim)) * np.geomspace(1, 0.1, dim)
    features = np.repeat(images, 2, axis=0) + 0.1 * rng.normal(size=(2 * len(labels), dim))
    return TrainingRows(
        features.astype(np.float32), np.repeat(labels, 2), np.full(len(features), 0.5), np.repeat(np.arange(80), 2)
    )


def test_a_path_is_one_model_after_the_other() -> None:
    moments = moments_of(hard_rows(0), np.ones(160, dtype=bool))
    path = fit_moments(moments, SHRINKAGES)
    for model, shrinkage in zip(path, SHRINKAGES, strict=True):
        (alone,) = fit_moments(moments, [shrinkage])
        np.testing.assert_allclose(model.coefficients, alone.coefficients, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(model.intercepts, alone.intercepts, rtol=1e-3, atol=1e-4)


def test_the_choice_is_the_plain_loop_over_inner_folds() -> None:
    rows = hard_rows(0)
    images = Images.of(rows)
    inner = deal_inner(rows, images)
    losses = []
    for shrinkage in SHRINKAGES:
        scores = np.zeros((80, 8))
        for fold in range(5):
            kept = inner[images.index] != fold
            part = TrainingRows(rows.features[kept], rows.labels[kept], rows.weight[kept], rows.images[kept])
            model = plain(part, shrinkage)
            larger = variance_within(part) / variance_within(rows)
            scores[inner == fold] = larger * np.log(model.probabilities(rows.features[::2][inner == fold]) + 1e-300)
        temperature = fit_temperature(scores, images.labels, unknown=1.0)
        chances = apply_temperature(scores, temperature)
        losses.append((-np.log(chances[np.arange(80), images.labels]).mean(), shrinkage, temperature))
    _, shrinkage, temperature = min(losses)
    model = ShrinkageLdaHead().fit(rows, seed=0)
    assert model.chosen == {"shrinkage": shrinkage, "temperature": pytest.approx(temperature, rel=1e-3)}
    expected = plain(rows, shrinkage).coefficients
    np.testing.assert_allclose(model.coefficients * temperature, expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("shrinkage", [None, 0.02, 0.3, 0.95])
def test_it_is_as_honest_on_new_images_as_it_thinks_whether_its_shrinkage_is_pinned_or_not(
    shrinkage: float | None,
) -> None:
    many = [hard_rows(seed) for seed in range(1, 9)]
    unseen, labels = np.concatenate([each.features for each in many]), np.concatenate([each.labels for each in many])
    sure, model = plain(hard_rows(0), shrinkage or 0.02), ShrinkageLdaHead(shrinkage).fit(hard_rows(0), seed=0)
    before, after = (each.probabilities(unseen) for each in (sure, model))
    assert log_loss(after, labels) < log_loss(before, labels) - 0.2
    honest, too_sure = (expected_calibration_error(each, labels) for each in (after, before))
    assert honest < 0.22 < too_sure
    assert shrinkage or honest < 0.13


def few_images(per_class: int, views: int = 1, *, seed: int) -> tuple[TrainingRows, Floats, Ints]:
    """20 overlapping classes: training rows, and 20 unseen images of each with their labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, 32))
    labels, unseen = np.repeat(np.arange(20), per_class), np.repeat(np.arange(20), 20)
    images, shown = (centres[each] + 1.5 * rng.normal(size=(len(each), 32)) for each in (labels, unseen))
    rows = (images[:, None] + 0.3 * rng.normal(size=(len(labels), views, 32))).reshape(-1, 32)
    index = np.repeat(np.arange(len(labels)), views)
    weight = np.full(len(rows), 1 / views)
    return TrainingRows(rows.astype(np.float32), labels[index], weight, index), shown.astype(np.float32), unseen


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("per_class", [1, 2, 3])
@pytest.mark.parametrize("shrinkage", [None, 0.02, 0.3, 0.95])
def test_with_few_images_a_class_it_is_never_worse_than_guessing(
    shrinkage: float | None, per_class: int, views: int
) -> None:
    losses = []
    for seed in range(3):
        rows, unseen, labels = few_images(per_class, views, seed=seed)
        losses.append(log_loss(ShrinkageLdaHead(shrinkage).fit(rows, seed=0).probabilities(unseen), labels))
    assert np.mean(losses) < np.log(20) - 0.2


@pytest.mark.parametrize(
    "head", [ShrinkageLdaHead(0.3), RidgeHead(), KernelRidgeHead()], ids=["lda", "ridge", "kernel"]
)
def test_one_image_a_class_leads_by_as_much_as_is_safe(head: Head) -> None:
    rows, unseen, labels = few_images(1, seed=0)
    model = head.fit(rows, seed=0)
    chances = np.log(model.probabilities(rows.features))
    assert (np.diag(chances) - chances.mean(axis=1)).mean() == pytest.approx(LEAD, rel=1e-3)
    assert log_loss(model.probabilities(unseen), labels) < np.log(20) - 0.5


def test_classes_of_one_image_are_learned_although_they_teach_no_choice() -> None:
    rows = make_rows()
    single = TrainingRows(rows.features[:12], np.array([0] * 10 + [1, 2]), np.ones(12), np.arange(12))
    model = ShrinkageLdaHead().fit(single, seed=0)
    np.testing.assert_array_equal(model.probabilities(single.features[10:]).argmax(axis=1), [1, 2])
    lone = TrainingRows(rows.features[9:11], np.array([0, 1]), np.ones(2), np.arange(2))
    assert np.isfinite(ShrinkageLdaHead().fit(lone, seed=0).probabilities(rows.features)).all()


def test_a_closed_form_claims_no_iterations() -> None:
    state = ShrinkageLdaHead().fit(make_rows(), seed=0).convergence
    assert (state.converged, state.iterations, state.gradient_norm) == (None, None, None)


@pytest.mark.parametrize("value", [0, -0.1, 1.01, float("nan")])
def test_a_shrinkage_out_of_range_is_an_error(value: float) -> None:
    with pytest.raises(FrozenprobeError, match="up to 1") as caught:
        ShrinkageLdaHead(value)
    assert caught.value.where == "--shrinkage"


def test_a_burst_of_each_class_tells_no_variance() -> None:
    """Without one of two bursts how much the shots of the other differ would pass for how much images do."""
    rows = hard_rows(0)
    bursts = replace(rows, clusters=rows.images // 5)
    model = ShrinkageLdaHead(0.3).fit(bursts, seed=0)
    lead = temperature_of_lead(
        scores_of(plain(rows, 0.3), moments_of(rows, np.ones(160, dtype=bool)).means), np.arange(8), np.ones(8)
    )
    assert model.chosen["temperature"] == pytest.approx(lead, rel=1e-3)
    several = ShrinkageLdaHead(0.3).fit(replace(rows, clusters=rows.images // 2), seed=0)
    assert several.chosen["temperature"] > 2 * lead
