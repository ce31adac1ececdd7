"""The solver: scikit-learn's optimum, and a certificate that is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg import solver as logistic
from frozenprobe.probe.heads.logreg.problems import LogisticProblems
from frozenprobe.probe.heads.logreg.solver import (
    Solution,
    StepMemory,
    side_by_side,
    solve_in_dual,
    solve_logistic,
    solve_on_means,
)
from frozenprobe.probe.heads.logreg.sums import Operand
from tests.probe.heads.logreg.test_problems import make_rows, make_weights

Doubles = npt.NDArray[np.float64]


def objective(rows: TrainingRows, weight: Doubles, coefficients: Doubles, intercepts: Doubles, c: float) -> float:
    """F in float64 over the rows that have weight; a row of W for each class among them."""
    keep = weight > 0
    labels = np.unique(rows.labels[keep], return_inverse=True)[1]
    scores = rows.features[keep].astype(np.float64) @ coefficients.T + intercepts
    top = scores.max(axis=1)
    loss = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(labels)), labels]
    return float(c * weight[keep] @ loss + (coefficients**2).sum() / 2)


def reference(rows: TrainingRows, weight: Doubles, c: float) -> tuple[Doubles, Doubles]:
    """scikit-learn's optimum in float64, to its last digits."""
    keep = weight > 0
    model = LogisticRegression(C=c, solver="newton-cg", tol=1e-10, max_iter=10_000)
    model.fit(rows.features[keep].astype(np.float64), rows.labels[keep], sample_weight=weight[keep])
    return model.coef_, model.intercept_


def solve(rows: TrainingRows, weights: list[Doubles], path: list[float], **limits: float) -> list[list[Solution]]:
    return solve_logistic(LogisticProblems.of(rows, weights), [path] * len(weights), **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("c", [1e-3, 0.1, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("views", [1, 4])
def test_the_objective_is_scikit_learns_to_one_in_a_million(c: float, views: int) -> None:
    rows = make_rows(classes=5, images=12, views=views, dim=7)
    weight = np.random.default_rng(1).uniform(0.2, 2, len(rows.labels))
    ((found,),) = solve(rows, [weight], [c], tol=1e-7)
    best = objective(rows, weight, *reference(rows, weight, c), c)
    assert found.converged
    assert objective(rows, weight, found.coefficients, found.intercepts, c) == pytest.approx(best, rel=1e-6)
    assert found.objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4])
@pytest.mark.parametrize("c", [0.01, 1.0, 30.0])
def test_the_certificate_bounds_the_way_to_the_optimum(c: float, tol: float) -> None:
    rows = make_rows(classes=5, images=12, views=3, dim=7)
    weight = np.full(len(rows.labels), 1 / 3)
    best = reference(rows, weight, c)
    lowest = objective(rows, weight, *best, c)
    ((found,),) = solve(rows, [weight], [c], tol=tol)
    rise = objective(rows, weight, found.coefficients, found.intercepts, c) - lowest
    assert found.converged
    assert -1e-6 * lowest <= rise <= found.gap + 1e-6 * lowest
    assert found.gap <= tol * found.objective
    assert np.linalg.norm(found.coefficients - best[0]) <= (2 * found.gap) ** 0.5 + 1e-3


def optimum(rows: TrainingRows, weight: Doubles, c: float) -> float:
    """F* in float64, by damped Newton steps on the whole Hessian; for two classes of scikit-learn's one row."""
    features = np.column_stack([rows.features.astype(np.float64), np.ones(len(rows.labels))])
    count, dim = int(rows.labels.max()) + 1, features.shape[1]
    first = 1 if count == 2 else 0  # the first of two is fixed at 0
    share = np.eye(count)[rows.labels]
    penalty = np.tile(np.append(np.ones(dim - 1), 0.0), count - first)
    at = np.zeros((count, dim))
    logs = np.log(np.bincount(rows.labels, weights=weight))
    at[:, -1] = logs - logs[0]
    value = objective(rows, weight, at[:, :-1], at[:, -1], c)
    for _ in range(200):
        scores = features @ at.T
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        slope = (c * weight[:, None] * (chances - share)).T[first:] @ features
        slope = slope.ravel() + penalty * at[first:].ravel()
        bend = np.einsum("nj,jk->njk", chances, np.eye(count)) - np.einsum("nj,nk->njk", chances, chances)
        bend = c * weight[:, None, None] * bend[:, first:, first:]
        hessian = np.einsum("njk,nd,ne->jdke", bend, features, features, optimize=True)
        hessian = hessian.reshape(len(slope), -1) + np.diag(penalty)
        size = np.sqrt(np.diag(hessian).clip(1e-300))
        step = -np.linalg.lstsq(hessian / np.outer(size, size), slope / size, rcond=1e-14)[0] / size
        length, drop = 1.0, step @ slope
        while length > 1e-9 and -drop > 1e-14 * value:
            there = at.copy()
            there[first:] += length * step.reshape(-1, dim)
            lower = objective(rows, weight, there[:, :-1], there[:, -1], c)
            if lower <= value + 1e-4 * length * drop:
                break
            length /= 2
        else:
            return value
        at, value = there, lower
    return value


@given(seed=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_the_certificate_holds_at_any_weights_classes_and_c(seed: int) -> None:
    """Weight ratios of up to 1e9, by image or by class, where the intercepts come to rest last."""
    rng = np.random.default_rng(seed)
    classes, views, dim = int(rng.integers(2, 6)), int(rng.choice([1, 1, 3])), int(rng.integers(1, 12))
    rows = make_rows(classes, int(rng.integers(3, 10)), views, dim, seed)
    ratio = 10.0 ** -rng.choice([0, 3, 6, 9])
    images = len(np.unique(rows.images))
    spread = [rng.uniform(size=images)[rows.images], rng.uniform(size=classes)[rows.labels]][rng.integers(2)]
    weight = 10 ** rng.uniform(-2, 2) * ratio**spread / views
    c, tol = 10 ** rng.uniform(-4, 4), 10 ** rng.uniform(-6, -2)
    ((found,),) = solve(rows, [weight], [c], tol=tol)
    coefficients, intercepts = found.coefficients, found.intercepts
    lowest = optimum(rows, weight, c)
    if classes == 2:
        coefficients, intercepts = np.vstack([0 * coefficients, coefficients]), np.append(0.0, intercepts)
    rise = objective(rows, weight, coefficients, intercepts, c) - lowest
    assert found.converged
    assert -1e-7 * lowest <= rise <= found.gap + 1e-7 * lowest


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("c", [1e5, 1e7])
@pytest.mark.parametrize("classes", [2, 4])
def test_separable_classes_are_solved_at_any_c(classes: int, c: float, views: int) -> None:
    rows = make_rows(classes, 5, views, 15)
    weight = np.full(len(rows.labels), 1 / views)
    ((found,),) = solve(rows, [weight], [c], tol=1e-5, max_evaluations=2000)
    assert found.converged
    assert found.objective == pytest.approx(optimum(rows, weight, c), rel=1.1e-5)


def test_a_fit_that_more_evaluations_cannot_help_says_so() -> None:
    rows = make_rows()
    ((short,),) = solve(rows, make_weights(rows)[:1], [100.0], tol=1e-9, max_evaluations=2)
    ((stuck,),) = solve(rows, make_weights(rows)[:1], [100.0], tol=1e-30, max_evaluations=100_000)
    assert not short.converged
    assert not short.stuck
    assert not stuck.converged
    assert stuck.stuck


def test_folds_and_values_of_c_side_by_side_are_what_they_are_one_by_one() -> None:
    rows = make_rows(classes=4, images=10)
    weights, path = make_weights(rows), [0.01, 0.3, 10.0]
    together = solve(rows, weights, path, tol=1e-7)
    for weight, solutions in zip(weights, together, strict=True):
        for c, found in zip(path, solutions, strict=True):
            ((alone,),) = solve(rows, [weight], [c], tol=1e-7)
            assert alone.objective == pytest.approx(found.objective, rel=1e-6)
            np.testing.assert_allclose(alone.coefficients, found.coefficients, atol=3e-3)


@given(seed=st.integers(0, 10_000), c=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_rows_without_weight_are_as_if_absent(seed: int, c: float) -> None:
    rows = make_rows(classes=3, images=5, seed=seed)
    weight = make_weights(rows, seed)[1]
    keep = weight > 0
    fewer = rows.take(keep)
    poisoned = replace(rows, features=np.where(keep[:, None], rows.features, np.float32(1e3)))
    ((alone,),) = solve(fewer, [weight[keep]], [c], tol=1e-6)
    ((found,),) = solve(poisoned, [weight], [c], tol=1e-6)
    assert found.objective == pytest.approx(alone.objective, rel=3e-5)
    assert np.linalg.norm(found.coefficients - alone.coefficients) <= 2 * (2 * 3e-5 * alone.objective) ** 0.5


def test_a_class_without_weight_has_no_row() -> None:
    rows = make_rows()
    ((found,),) = solve(rows, [make_weights(rows)[2]], [1.0])
    assert found.coefficients.shape == (3, 5)
    assert found.intercepts.shape == (3,)


def test_giving_up_early_is_not_called_converged() -> None:
    rows = make_rows()
    ((found,),) = solve(rows, make_weights(rows)[:1], [100.0], tol=1e-9, max_evaluations=2)
    assert not found.converged
    assert found.evaluations <= 4
    assert found.gap > 1e-9 * found.objective


def test_equal_features_and_zero_features_are_solved() -> None:
    rows = make_rows()
    for value in (0.0, 1.0):
        ((found,),) = solve(replace(rows, features=np.full_like(rows.features, value)), make_weights(rows)[:1], [1.0])
        assert found.converged
        np.testing.assert_allclose(found.coefficients, 0, atol=1e-2)


def test_a_far_off_mean_changes_no_solution() -> None:
    rows = make_rows()
    weights = make_weights(rows)[:1]
    moved = replace(rows, features=rows.features + np.float32(5))
    ((found,),), ((there,),) = solve(rows, weights, [1.0], tol=1e-7), solve(moved, weights, [1.0], tol=1e-7)
    assert there.objective == pytest.approx(found.objective, rel=1e-5)
    np.testing.assert_allclose(there.coefficients, found.coefficients, atol=1e-2)


@pytest.mark.parametrize("c", [0.01, 30.0])
def test_the_inverse_in_the_span_of_the_mean_views_is_the_inverse(c: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "CG_RESIDUAL", 1e-9)
    monkeypatch.setattr(logistic, "CG_STEPS", 150)
    rows = make_rows(classes=4, images=10, dim=40)
    problems = LogisticProblems.of(rows, make_weights(rows)[:1])
    assert problems.dual
    rng = np.random.default_rng(0)
    at, target = (rng.normal(size=(4, 41)).astype(np.float32) for _ in range(2))
    target[:, -1] -= target[:, -1].mean()  # as every gradient's: the scores are only known up to a shift
    ridge = problems.bend(Operand(0, c, 0.1 * at))[1]
    in_span, in_full = side_by_side([solve(0, target, ridge) for solve in (solve_in_dual, solve_on_means)], problems)
    assert np.linalg.norm(problems.multiply([Operand(0, c, in_full)])[0] - target) <= 5e-3 * np.linalg.norm(target)
    np.testing.assert_allclose(in_span, in_full, rtol=2e-2, atol=2e-3)


def test_many_images_of_few_features_are_solved_without_the_span() -> None:
    rows = make_rows(classes=3, images=30, dim=4)
    problems = LogisticProblems.of(rows, make_weights(rows)[:1])
    assert not problems.dual
    ((found,),) = solve_logistic(problems, [[1.0]], tol=1e-7)
    best = objective(rows, make_weights(rows)[0], *reference(rows, make_weights(rows)[0], 1.0), 1.0)
    assert found.objective == pytest.approx(best, rel=1e-6)


def test_float64_takes_over_where_rounding_keeps_a_problem_from_its_tolerance() -> None:
    rows = make_rows(classes=5, images=12, views=3, dim=40)
    weight = np.full(len(rows.labels), 1 / 3)
    problems = LogisticProblems.of(rows, [weight])
    ((found,),) = solve_logistic(problems, [[3e4]], tol=1e-6)
    assert found.converged
    assert "exact" in vars(problems)  # made when it is first needed
    best = objective(rows, weight, *reference(rows, weight, 3e4), 3e4)
    assert found.objective == pytest.approx(best, rel=3e-6)


# The two-loop recursion: the inverse Hessian that BFGS's formula builds up, matrix by matrix


def make_pairs(count: int, size: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps, and how the gradient of a quadratic changes along them."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size))
    hessian = root @ root.T + np.eye(size)
    steps = rng.normal(size=(count, size))
    return [(step.astype(np.float32), (hessian @ step).astype(np.float32)) for step in steps]


@pytest.mark.parametrize("most", [2, 10])
def test_it_is_bfgs_on_the_last_pairs(most: int) -> None:
    pairs = make_pairs(5, 6)
    rng = np.random.default_rng(1)
    initial, gradient = np.diag(rng.uniform(0.5, 2, size=6)), rng.normal(size=6)
    memory = StepMemory(most)
    for step, change in pairs:
        memory.add(step, change)
    inverse = initial
    for step, change in pairs[-most:]:
        scale = 1 / (step @ change)
        left = np.eye(6) - scale * np.outer(step, change)
        inverse = left @ inverse @ left.T + scale * np.outer(step, step)
    vector, factors = memory.outer(gradient.astype(np.float32))
    found = memory.inner(factors, (initial @ vector).astype(np.float32))
    np.testing.assert_allclose(found, inverse @ gradient, rtol=1e-3, atol=1e-3)


def test_a_step_whose_curvature_rounding_has_eaten_is_forgotten() -> None:
    memory = StepMemory(3)
    memory.add(np.ones(4, dtype=np.float32), np.array([1, -1, 1, -1], dtype=np.float32))
    assert memory.count == 0


def test_without_pairs_the_gradient_stays_and_has_a_unit_step() -> None:
    gradient = np.array([3.0, 4.0], dtype=np.float32)
    memory = StepMemory(3)
    vector, _ = memory.outer(gradient)
    np.testing.assert_array_equal(vector, gradient)
    np.testing.assert_allclose(memory.scaled(vector), gradient / 5)
