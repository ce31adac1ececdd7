"""Ridge: scikit-learn's least squares, one meaning of alpha, and probabilities that deserve the name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads import ridge
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.parts.inner_folds import Images
from frozenprobe.probe.heads.parts.leave_one_out import Smoother
from frozenprobe.probe.heads.parts.moments import Moments, starting_point
from frozenprobe.probe.heads.parts.temperature import (
    LEAD,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
)
from frozenprobe.probe.heads.ridge import ALPHAS, RidgeHead, Spectrum, fit_moments
from frozenprobe.probe.stats.metrics import log_loss
from tests.probe.heads.parts.test_leave_one_out import least_squares, make_rows
from tests.probe.heads.test_lda import hard_rows


def moments_of(rows: TrainingRows) -> Moments:
    origin = starting_point(rows.features)
    return Moments.of(rows.features, rows.labels, rows.weight, classes=rows.classes, origin=origin)


@pytest.mark.parametrize("dim", [5, 100])
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0])
def test_it_is_scikit_learns_ridge(dim: int, alpha: float) -> None:
    rows = make_rows(dim)
    x, targets = rows.features.astype(np.float64), np.eye(4)[rows.labels]
    away = x - np.average(x, axis=0, weights=rows.weight)
    penalty = alpha * (rows.weight[:, None] * away**2).sum() / dim
    reference = Ridge(alpha=penalty).fit(x, targets, sample_weight=rows.weight)
    scores = reference.predict(x)
    spectrum = Spectrum.of(rows)
    assert spectrum.unit * alpha == pytest.approx(penalty, rel=1e-5)
    for model in (spectrum.solve(rows.labels, 4, penalty), *fit_moments(moments_of(rows), [alpha])):
        np.testing.assert_allclose(x @ model.coefficients.T + model.intercepts, scores, atol=2e-4)


def test_a_path_is_one_model_after_the_other() -> None:
    moments = moments_of(hard_rows(0))
    for model, alpha in zip(fit_moments(moments, ALPHAS), ALPHAS, strict=True):
        (alone,) = fit_moments(moments, [alpha])
        np.testing.assert_allclose(model.coefficients, alone.coefficients, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("alpha", [None, 0.3])
def test_choice_and_temperature_are_those_of_really_leaving_images_out(alpha: float | None) -> None:
    rows = hard_rows(0)
    four = TrainingRows(rows.features[:80], rows.labels[:80], rows.weight[:80], rows.images[:80])
    images, unit = Images.of(four), Spectrum.of(four).unit
    losses = []
    for each in ALPHAS if alpha is None else [alpha]:
        scores = np.empty((40, 4))
        for image, first in enumerate(images.first):
            slopes, intercept = least_squares(four, images.index != image, each * unit)
            scores[image] = four.features[first] @ slopes + intercept
        temperature = fit_temperature(scores, images.labels, unknown=1.0)
        loss = -np.log(apply_temperature(scores, temperature)[np.arange(40), images.labels]).mean()
        losses.append((loss, each, temperature))
    _, best, temperature = min(losses)
    model = RidgeHead(alpha).fit(four, seed=0)
    assert model.chosen == {"alpha": best, "temperature": pytest.approx(temperature, rel=1e-3)}
    slopes, intercept = least_squares(four, np.ones(80, dtype=bool), best * unit)
    np.testing.assert_allclose(model.coefficients * temperature, slopes.T, rtol=1e-2, atol=1e-4)


def test_its_probabilities_are_honest_on_new_images() -> None:
    many = [hard_rows(seed) for seed in range(1, 9)]
    unseen, labels = np.concatenate([each.features for each in many]), np.concatenate([each.labels for each in many])
    model = RidgeHead().fit(hard_rows(0), seed=0)
    probabilities = model.probabilities(unseen)
    assert log_loss(probabilities, labels) < 0.85 * np.log(8)
    assert expected_calibration_error(probabilities, labels) < 0.13


def test_alpha_means_the_same_at_any_number_of_views_and_any_size_of_features_and_weights() -> None:
    rows = hard_rows(0)
    many = TrainingRows(
        np.repeat(rows.features, 3, axis=0),
        np.repeat(rows.labels, 3),
        np.repeat(rows.weight / 3, 3),
        np.repeat(rows.images, 3),
    )
    large = TrainingRows(rows.features * 16, rows.labels, rows.weight / 8, rows.images)
    one = RidgeHead().fit(rows, seed=0)
    for other in (many, large):
        model = RidgeHead().fit(other, seed=0)
        assert model.chosen["alpha"] == one.chosen["alpha"]
        found = model.probabilities(other.features[:: len(other.features) // len(rows.features)])
        np.testing.assert_allclose(found, one.probabilities(rows.features), atol=1e-3)


def test_a_weight_counts_as_that_many_repetitions_and_none_as_absence() -> None:
    rows = hard_rows(0)
    times = np.repeat(np.random.default_rng(1).integers(0, 4, size=80), 2)
    weighted = TrainingRows(rows.features, rows.labels, times.astype(float), rows.images)
    repeated = TrainingRows(
        np.repeat(rows.features, times, axis=0),
        np.repeat(rows.labels, times),
        np.ones(times.sum()),
        np.repeat(rows.images, times),
    )
    one, other = (RidgeHead().fit(each, seed=0) for each in (weighted, repeated))
    assert one.chosen["alpha"] == other.chosen["alpha"]
    np.testing.assert_allclose(one.probabilities(rows.features), other.probabilities(rows.features), atol=2e-3)


def test_degenerate_rows_are_answered() -> None:
    labels, weight = np.array([0, 0, 1, 1]), np.ones(4)
    for features in (np.zeros((4, 3)), np.repeat(np.eye(2, 50), 2, axis=0), np.ones((4, 2))):
        rows = TrainingRows(features.astype(np.float32), labels, weight, np.arange(4))
        assert np.isfinite(RidgeHead().fit(rows, seed=0).probabilities(rows.features)).all()
    lone = TrainingRows(np.eye(2, 5, dtype=np.float32), np.array([0, 1]), np.ones(2), np.arange(2))
    np.testing.assert_array_equal(RidgeHead().fit(lone, seed=0).probabilities(lone.features).argmax(axis=1), [0, 1])


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_an_alpha_out_of_range_is_an_error(value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        RidgeHead(value)
    assert caught.value.where == "--alpha"


def test_clusters_of_many_rows_are_left_out_by_inner_folds() -> None:
    rows = hard_rows(0)
    rows = replace(rows, clusters=rows.images % 5)  # of all classes, 32 rows each
    exact = RidgeHead().fit(rows, seed=0).chosen
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge, "MOST_ROWS", 31)
        patch.setattr(Smoother, "leave_out", lambda *given: None)
        folds = RidgeHead().fit(rows, seed=0).chosen
    assert folds["alpha"] == exact["alpha"]
    assert folds["temperature"] == pytest.approx(exact["temperature"], rel=0.2)  # alpha counts in what a fold leaves


def test_where_all_images_are_one_cluster_the_lead_tells_the_temperature() -> None:
    rows = hard_rows(0)
    alone = replace(rows, clusters=rows.labels)
    for given in (replace(rows, clusters=0 * rows.images), alone):
        found = RidgeHead(0.3).fit(given, seed=0)
        ahead = np.log(found.probabilities(rows.features[::2]))
        lead = ahead[np.arange(80), rows.labels[::2]] - ahead.mean(axis=1)
        assert lead.mean() == pytest.approx(LEAD, rel=1e-3)
