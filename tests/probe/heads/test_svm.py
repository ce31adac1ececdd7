"""The linear SVM: scikit-learn's optimum, its own gradient, inner folds of whole images, honest probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.svm import LinearSVC

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads import svm
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.parts.inner_folds import Images
from frozenprobe.probe.heads.parts.temperature import fit_temperature
from frozenprobe.probe.heads.svm import INNER_FOLDS, UNKNOWN, LinearSvmHead, easings, inner_folds, solve

Doubles = npt.NDArray[np.float64]


def make_rows(
    images: int = 45, views: int = 3, *, classes: int = 3, dim: int = 6, noise: float = 1.2, seed: int = 0
) -> TrainingRows:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(images) % classes, views).astype(np.int64)
    image = np.repeat(np.arange(images), views)
    centres = np.random.default_rng(99).normal(size=(classes, dim))
    drawn = centres[labels] + noise * rng.normal(size=(images, dim))[image] + 0.2 * rng.normal(size=(len(labels), dim))
    weight = np.repeat(rng.uniform(0.5, 2, images) / views, views)
    return TrainingRows(drawn.astype(np.float32), labels, weight, image)


def objectives(rows: TrainingRows, weights: Doubles, costs: Doubles) -> Doubles:
    """Of every class, term for term."""
    values = []
    for label, w in enumerate(weights.astype(float)):
        side = np.where(rows.labels == label, 1, -1)
        slack = np.maximum(0, 1 - side * (rows.features @ w[:-1] + w[-1]))
        values.append(w @ w / 2 + costs @ slack**2)
    return np.array(values)


def reference(rows: TrainingRows, c: float) -> Doubles:
    """`(C, D + 1)` by liblinear."""
    model = LinearSVC(C=c, tol=1e-8, max_iter=100_000, dual=False)
    model.fit(rows.features.astype(float), rows.labels, sample_weight=rows.weight)
    weights = np.hstack([model.coef_, model.intercept_[:, None]])
    return weights if len(weights) > 1 else np.vstack([-weights, weights])


@pytest.mark.parametrize("c", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("shape", [{}, {"classes": 2}, {"dim": 200}, {"images": 12, "dim": 50, "classes": 4}])
def test_it_finds_scikit_learns_optimum(c: float, shape: dict[str, int]) -> None:
    rows = make_rows(**shape)  # type: ignore[arg-type]
    found = solve(rows, (c * rows.weight[None]).astype(np.float32), tol=1e-6, max_iter=50)
    expected = reference(rows, c)
    assert found.converged.all()
    distance = np.linalg.norm(found.weights - expected, axis=1)
    assert (distance <= 2e-3 * np.linalg.norm(expected, axis=1)).all()
    np.testing.assert_allclose(
        objectives(rows, found.weights, c * rows.weight), objectives(rows, expected, c * rows.weight), rtol=1e-6
    )


def test_problems_solved_together_are_those_solved_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(classes=5)
    costs = np.stack([rows.weight, rows.weight * (rows.images % 3 > 0), 10 * rows.weight]).astype(np.float32)
    together = solve(rows, costs, tol=1e-6, max_iter=50).weights.reshape(3, 5, -1)
    monkeypatch.setattr(svm, "MACHINES", 4)
    in_blocks = solve(rows, costs, tol=1e-6, max_iter=50).weights.reshape(3, 5, -1)
    for cost, batched, blocked in zip(costs, together, in_blocks, strict=True):
        kept = cost > 0
        alone = TrainingRows(rows.features[kept], rows.labels[kept], rows.weight[kept], rows.images[kept])
        expected = solve(alone, cost[None, kept], tol=1e-6, max_iter=50).weights
        np.testing.assert_allclose(batched, expected, atol=1e-3)
        np.testing.assert_allclose(blocked, expected, atol=1e-3)


def test_the_certificate_is_the_gradient_by_finite_differences() -> None:
    rows, c = make_rows(), 0.3
    fitted = LinearSvmHead(c=c, tol=1e-9, max_iter=1).fit(rows, seed=0)  # stops early: a gradient to measure
    assert fitted.convergence.converged is False
    machines = solve(rows, (c * rows.weight[None]).astype(np.float32), tol=1e-9, max_iter=1)
    weights, costs, step = machines.weights.astype(float), c * rows.weight, 1e-5
    slopes = np.zeros_like(weights)
    for place in np.ndindex(weights.shape):
        change = np.zeros_like(weights)
        change[place] = step
        slopes[place] = (objectives(rows, weights + change, costs) - objectives(rows, weights - change, costs)).sum()
    slopes /= 2 * step
    total = rows.weight.sum()
    assert fitted.convergence.gradient_norm == pytest.approx(np.linalg.norm(slopes) / total, rel=1e-2)
    assert fitted.convergence.objective == pytest.approx(objectives(rows, weights, costs).sum() / total, rel=1e-2)


def test_a_hard_problem_is_approached_from_easy_ones_and_ends_at_the_same_optimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert easings(9.9) == [1.0]
    np.testing.assert_allclose(easings(1000.0), [0.01, 0.1**1.5, 0.1, 0.1**0.5, 1])
    rows = make_rows(dim=60)
    costs = 3 * rows.weight[None].astype(np.float32)
    one = solve(rows, costs, tol=1e-6, max_iter=50)
    monkeypatch.setattr(svm, "easings", lambda hardness: [1.0])
    other = solve(rows, costs, tol=1e-6, max_iter=50)
    np.testing.assert_allclose(one.weights, other.weights, atol=2e-3 * np.abs(other.weights).max())


def folds_of(rows: TrainingRows, *, seed: int = 0) -> npt.NDArray[np.int64]:
    images = Images.of(rows)
    return inner_folds(rows, images, seed)[images.index]


def test_convergence_says_what_happened() -> None:
    state = LinearSvmHead().fit(make_rows(), seed=0).convergence
    assert state.converged is True
    assert state.iterations is not None
    assert 1 <= state.iterations < 20


@pytest.mark.parametrize("clustered", [False, True])
def test_the_temperature_is_fitted_on_inner_folds_and_is_all_that_probabilities_add(*, clustered: bool) -> None:
    rows, c = make_rows(noise=2), 0.1
    if clustered:  # three images of a class each
        rows = replace(rows, clusters=rows.images // 9 + 5 * rows.labels)
    model = LinearSvmHead(c=c).fit(rows, seed=0)
    fold = folds_of(rows)
    scores = np.zeros((len(fold), 3))
    for held in range(INNER_FOLDS):
        kept = fold != held
        inside = TrainingRows(rows.features[kept], rows.labels[kept], rows.weight[kept], rows.images[kept])
        weights = reference(inside, c)
        scores[~kept] = rows.features[~kept] @ weights[:, :-1].T + weights[:, -1]
    temperature = fit_temperature(scores, rows.labels, rows.weight, unknown=(9 if clustered else 3) * UNKNOWN)
    weights = reference(rows, c)
    expected = softmax((rows.features @ weights[:, :-1].T + weights[:, -1]) / temperature)
    np.testing.assert_allclose(model.probabilities(rows.features), expected, atol=5e-3)


def test_probabilities_of_unseen_images_are_calibrated() -> None:
    rows, unseen = make_rows(300, noise=1.5), make_rows(900, noise=1.5, seed=1)
    probabilities = LinearSvmHead().fit(rows, seed=0).probabilities(unseen.features)
    accuracy = (probabilities.argmax(axis=1) == unseen.labels).mean()
    assert 0.5 < accuracy < 0.95
    assert probabilities.max(axis=1).mean() == pytest.approx(accuracy, abs=0.06)


def test_inner_folds_keep_images_whole_and_classes_even_whatever_the_order() -> None:
    rows = make_rows()
    fold = folds_of(rows)
    assert all(len(set(fold[rows.images == image])) == 1 for image in range(45))
    for held in range(INNER_FOLDS):
        assert np.bincount(rows.labels[fold == held]).tolist() == [15, 15, 15]
    order = np.random.default_rng(0).permutation(45)
    place = np.concatenate([np.flatnonzero(rows.images == image) for image in order])
    moved = TrainingRows(rows.features[place], rows.labels[place], rows.weight[place], np.repeat(np.arange(45), 3))
    np.testing.assert_array_equal(folds_of(moved), fold[place])
    assert (folds_of(rows, seed=1) != fold).any()


def test_inner_folds_keep_clusters_whole() -> None:
    rows = make_rows()
    fold = folds_of(replace(rows, clusters=rows.images % 7))
    assert all(len(set(fold[rows.images % 7 == cluster])) == 1 for cluster in range(7))
    assert set(fold) == {0, 1, 2}


def test_where_all_images_are_one_cluster_the_scores_stay_as_they_are() -> None:
    rows = make_rows(noise=2)
    model = LinearSvmHead(c=0.1).fit(replace(rows, clusters=0 * rows.images), seed=0)
    weights = reference(rows, 0.1)
    np.testing.assert_allclose(np.column_stack([model.coefficients, model.intercepts]), weights, atol=5e-3)


def test_equal_views_that_share_a_weight_change_nothing() -> None:
    rows, unseen = make_rows(views=1), make_rows(seed=1).features
    many = TrainingRows(
        np.repeat(rows.features, 3, axis=0),
        np.repeat(rows.labels, 3),
        np.repeat(rows.weight / 3, 3),
        np.repeat(rows.images, 3),
    )
    one, other = (LinearSvmHead(tol=1e-6).fit(each, seed=0).probabilities(unseen) for each in (rows, many))
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_class_of_one_image_and_two_images_in_all_are_answered() -> None:
    rows = make_rows(noise=0.1)
    for kept in ((rows.labels != 2) | (rows.images == 2), rows.images < 2):
        few = TrainingRows(rows.features[kept], rows.labels[kept], rows.weight[kept], rows.images[kept])
        model = LinearSvmHead(c=1.0).fit(few, seed=0)
        assert isinstance(model, LinearModel)
        np.testing.assert_array_equal(model.probabilities(few.features).argmax(axis=1), few.labels)


@pytest.mark.parametrize(("name", "value"), [("c", 0), ("tol", -1), ("max_iter", 0), ("c", float("nan"))])
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        LinearSvmHead(**{name: value})  # type: ignore[arg-type]
    assert caught.value.where == f"--{name.replace('_', '-')}"
