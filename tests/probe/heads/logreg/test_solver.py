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
@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
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


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_the_inverse_in_the_span_of_the_mean_views_is_the_inverse(c: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "CG_RESIDUAL", 1e-9)
    monkeypatch.setattr(logistic, "CG_STEPS", 300)
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
    assert memory.pairs == []


def test_without_pairs_the_gradient_stays_and_has_a_unit_step() -> None:
    gradient = np.array([3.0, 4.0], dtype=np.float32)
    memory = StepMemory(3)
    vector, _ = memory.outer(gradient)
    np.testing.assert_array_equal(vector, gradient)
    np.testing.assert_allclose(memory.scaled(vector), gradient / 5)
