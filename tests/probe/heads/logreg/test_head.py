"""The logistic regression head: scikit-learn's answer by either solver, with an honest word on convergence."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.logreg.head import SOLVERS, LogisticRegressionHead, evaluate

Doubles = npt.NDArray[np.float64]


def make_rows(classes: int = 3, images: int = 15, dim: int = 6, *, seed: int = 0) -> TrainingRows:
    """Overlapping classes, one view an image."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images).astype(np.int64)
    features = rng.normal(size=(classes, dim))[labels] + rng.normal(size=(len(labels), dim))
    return TrainingRows(features.astype(np.float32), labels, np.ones(len(labels)), np.arange(len(labels)))


def weighted(rows: TrainingRows, weight: Doubles) -> TrainingRows:
    return TrainingRows(rows.features, rows.labels, weight, rows.images)


def repeated(rows: TrainingRows, times: int) -> TrainingRows:
    """Every image as `times` equal views that share its weight."""
    return TrainingRows(
        np.repeat(rows.features, times, axis=0),
        np.repeat(rows.labels, times),
        np.repeat(rows.weight / times, times),
        np.repeat(rows.images, times),
    )


def naive_objective(rows: TrainingRows, coefficients: Doubles, intercepts: Doubles, c: float) -> float:
    """The mean objective, image by image, in float64."""
    total = 0.0
    for x, label, weight in zip(rows.features.astype(np.float64), rows.labels, rows.weight, strict=True):
        scores = coefficients @ x + intercepts
        total += weight * (np.log(np.exp(scores).sum()) - scores[label])
    return float((total + (coefficients**2).sum() / (2 * c)) / rows.weight.sum())


def expand(reference: LogisticRegression) -> tuple[Doubles, Doubles]:
    """A row a class, also for two classes."""
    if len(reference.coef_) > 1:
        return reference.coef_, reference.intercept_
    return np.vstack([0 * reference.coef_, reference.coef_]), np.append(0.0, reference.intercept_)


def solve(rows: TrainingRows, c: float = 1.0, solver: str = "own") -> LinearModel:
    return LogisticRegressionHead(c=c, tol=1e-7, max_iter=10_000, solver=solver).fit(rows, seed=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("c", [0.03, 1.0, 30.0])
def test_it_is_scikit_learns_logistic_regression(classes: int, c: float, solver: str) -> None:
    rows = make_rows(classes)
    rows = weighted(rows, np.random.default_rng(1).uniform(0.2, 2, len(rows.labels)))
    reference = LogisticRegression(C=c, tol=1e-8, max_iter=10_000)
    reference.fit(rows.features.astype(np.float64), rows.labels, sample_weight=rows.weight)
    model, unseen = solve(rows, c, solver), make_rows(classes, seed=5).features
    probabilities = model.probabilities(unseen)
    np.testing.assert_allclose(probabilities, reference.predict_proba(unseen.astype(np.float64)), atol=1e-2)
    best = naive_objective(rows, *expand(reference), c)
    assert naive_objective(rows, model.coefficients, model.intercepts, c) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_two_classes_follow_the_binomial_objective(solver: str) -> None:
    rows = make_rows(2)
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(rows.features.astype(np.float64), rows.labels)
    model = solve(rows, solver=solver)
    assert model.coefficients.shape == (2, 6)
    np.testing.assert_allclose(model.coefficients[1] - model.coefficients[0], reference.coef_[0], atol=2e-3)
    assert model.intercepts[1] - model.intercepts[0] == pytest.approx(reference.intercept_[0], abs=2e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_defaults_converge_and_say_so(solver: str) -> None:
    state = LogisticRegressionHead(solver=solver).fit(make_rows(), seed=0).convergence
    assert state.converged is True
    assert state.iterations is not None
    assert 0 < state.iterations < 2000
    assert state.gradient_norm is not None
    assert state.gradient_norm < 1e-2


@pytest.mark.parametrize("classes", [2, 3])
def test_what_is_reported_is_what_is_measured_afterwards(classes: int) -> None:
    rows = make_rows(classes)
    rows = replace(
        rows, features=rows.features - rows.features.mean(axis=0)
    )  # the gradient is that of centred features
    model = LogisticRegressionHead(c=0.7).fit(rows, seed=0)
    objective, norm, _ = evaluate(rows, model.coefficients, model.intercepts, 0.7)
    assert model.convergence.objective == pytest.approx(objective, rel=1e-5)
    assert model.convergence.gradient_norm == pytest.approx(norm, rel=0.02, abs=1e-6)
    best = naive_objective(rows, *(lambda best: (best.coefficients, best.intercepts))(solve(rows, 0.7)), 0.7)
    assert model.convergence.gap is not None
    assert objective - best <= model.convergence.gap * objective + 1e-6
    assert model.convergence.gap <= 1e-5


def test_fits_side_by_side_of_scaled_features_are_those_made_alone() -> None:
    rows = make_rows(4)
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.2, 2, len(rows.labels)) for _ in range(3)]
    weights[1][rows.labels == 2] = 0
    weights[2][rows.labels > 1] = 0  # two classes left: scikit-learn's binomial objective
    factors = [1.0, 0.3, 4.0]
    head = LogisticRegressionHead(c=2.0, tol=1e-7)
    found = head.fit_many(rows, weights, factors, [2.0])
    for (model,), weight, factor in zip(found, weights, factors, strict=True):
        keep = weight > 0
        labels = np.unique(rows.labels[keep], return_inverse=True)[1]
        features = np.float32(factor) * rows.features[keep]
        alone = head.fit(TrainingRows(features, labels, weight[keep], rows.images[keep]), seed=0)
        reference = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000)
        reference.fit(features.astype(np.float64), labels, sample_weight=weight[keep])
        np.testing.assert_allclose(model.probabilities(features), alone.probabilities(features), atol=2e-3)
        np.testing.assert_allclose(model.probabilities(features), reference.predict_proba(features), atol=2e-3)
        assert model.convergence.objective == pytest.approx(alone.convergence.objective, rel=1e-5)
        assert model.convergence.gradient_norm == pytest.approx(
            evaluate(TrainingRows(features, labels, weight[keep], labels), model.coefficients, model.intercepts, 2.0)[
                1
            ],
            abs=1e-4,
        )


def test_the_reported_objective_is_that_of_the_solution_and_a_minimum() -> None:
    rows = make_rows()
    model = solve(rows)
    assert model.convergence.objective == pytest.approx(
        naive_objective(rows, model.coefficients, model.intercepts, 1.0), rel=1e-4
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = model.coefficients + 0.05 * rng.normal(size=model.coefficients.shape)
        assert naive_objective(rows, moved, model.intercepts, 1.0) > model.convergence.objective


@pytest.mark.parametrize("classes", [2, 4])
def test_evaluate_is_the_naive_objective_and_its_gradient(classes: int) -> None:
    rng = np.random.default_rng(3)
    rows = make_rows(classes)
    rows = weighted(rows, rng.uniform(0.2, 2, len(rows.labels)))
    coefficients, intercepts = rng.normal(size=(classes, 6)), rng.normal(size=classes)
    if classes == 2:  # the first class is the reference, fixed at 0
        coefficients[0], intercepts[0] = 0, 0
    objective, norm, steepest = evaluate(rows, coefficients, intercepts, 0.7)
    assert objective == pytest.approx(naive_objective(rows, coefficients, intercepts, 0.7), rel=1e-6)

    step, slopes = 1e-5, []
    for array in (coefficients, intercepts):
        for index in np.ndindex(array.shape):
            if classes == 2 and index[0] == 0:
                continue
            there = array[index]
            values = []
            for sign in (1, -1):
                array[index] = there + sign * step
                values.append(naive_objective(rows, coefficients, intercepts, 0.7))
            array[index] = there
            slopes.append((values[0] - values[1]) / (2 * step))
    assert norm == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-5)
    assert steepest == pytest.approx(float(np.abs(slopes).max()), rel=1e-5)


def test_a_stop_far_from_the_tolerance_is_not_called_converged() -> None:
    """In float32 the solver sees no more progress long before a gradient of 1e-9 and stops without a warning."""
    head = LogisticRegressionHead(c=30, tol=1e-9, max_iter=100_000, solver="sklearn")
    convergence = head.fit(make_rows(), seed=0).convergence
    assert convergence.iterations is not None
    assert convergence.iterations < 100_000
    assert convergence.converged is False


def test_the_gradient_norm_falls_with_the_tolerance() -> None:
    rows = make_rows()
    for solver, loose, tight in (("own", 1e-1, 1e-7), ("sklearn", 1e-1, 1e-5)):
        heads = [LogisticRegressionHead(tol=tol, solver=solver) for tol in (loose, tight)]
        norms = [head.fit(rows, seed=0).convergence.gradient_norm for head in heads]
        assert norms[1] is not None
        assert norms[0] is not None
        assert norms[1] < norms[0] / 50


def test_too_few_iterations_warn_and_are_reported_as_not_converged() -> None:
    with pytest.warns(ConvergenceWarning):
        state = LogisticRegressionHead(max_iter=2, solver="sklearn").fit(make_rows(), seed=0).convergence
    assert state.converged is False
    assert state.iterations == 2
    assert state.gradient_norm is not None
    assert state.gradient_norm > 1e-3


def test_too_few_evaluations_are_reported_as_not_converged() -> None:
    state = LogisticRegressionHead(c=100, tol=1e-8, max_iter=2).fit(make_rows(), seed=0).convergence
    assert state.converged is False
    assert state.gap is not None
    assert state.gap > 1e-8


def test_no_warning_of_any_kind_with_the_defaults() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for classes, solver in itertools.product((2, 3), SOLVERS):
            LogisticRegressionHead(solver=solver).fit(make_rows(classes), seed=0)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("views", [2, 5])
def test_c_means_the_same_at_any_number_of_views(classes: int, views: int) -> None:
    rows = make_rows(classes)
    one, many = solve(rows, 0.5), solve(repeated(rows, views), 0.5)
    np.testing.assert_allclose(many.coefficients, one.coefficients, atol=1e-3)
    np.testing.assert_allclose(many.probabilities(rows.features), one.probabilities(rows.features), atol=1e-3)
    assert many.convergence.objective == pytest.approx(one.convergence.objective, rel=1e-5)


def test_without_sharing_weights_c_would_change_its_meaning() -> None:
    rows = make_rows()
    copies = repeated(rows, 5)
    unshared = solve(weighted(copies, np.ones(len(copies.labels))), 0.5)
    assert np.abs(unshared.coefficients - solve(rows, 0.5).coefficients).max() > 0.1
    np.testing.assert_allclose(unshared.coefficients, solve(rows, 2.5).coefficients, atol=2e-3)  # 5 times the C


def test_a_weight_counts_as_that_many_repetitions() -> None:
    rows = make_rows()
    times = np.random.default_rng(1).integers(1, 4, size=len(rows.labels))
    plain = TrainingRows(
        np.repeat(rows.features, times, axis=0),
        np.repeat(rows.labels, times),
        np.ones(times.sum()),
        np.repeat(rows.images, times),
    )
    expected = solve(plain).probabilities(rows.features)
    np.testing.assert_allclose(
        solve(weighted(rows, times.astype(float))).probabilities(rows.features), expected, atol=1e-3
    )


def test_separable_classes_stay_finite() -> None:
    rows = make_rows(3)
    far = TrainingRows(
        rows.features + 50 * np.eye(6, dtype=np.float32)[rows.labels], rows.labels, rows.weight, rows.images
    )
    model = LogisticRegressionHead(c=100.0).fit(far, seed=0)
    assert np.isfinite(model.coefficients).all()
    assert (model.probabilities(far.features).argmax(axis=1) == far.labels).all()


def test_nothing_is_random() -> None:
    rows = make_rows()
    models = [LogisticRegressionHead().fit(rows, seed=seed) for seed in (0, 1)]
    np.testing.assert_array_equal(models[0].coefficients, models[1].coefficients)


@pytest.mark.parametrize("name", ["c", "tol", "max_iter"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        LogisticRegressionHead(**{name: value})
    assert caught.value.where == "--" + name.replace("_", "-")
    assert caught.value.found == str(value)


def test_an_unknown_solver_names_the_nearest() -> None:
    with pytest.raises(FrozenprobeError, match="did you mean sklearn"):
        LogisticRegressionHead(solver="sklaern")
