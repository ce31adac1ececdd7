"""Shifted systems: against numpy, in both precisions, and where nothing can be decomposed."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.probe.heads.parts.solving import solve_shifted


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-10), (False, 1e-3)])
@pytest.mark.parametrize(("keep", "shift"), [(1.0, 0.01), (0.3, 2.0), (0.0, 1.0)])
def test_it_solves_the_system(exact: bool, tolerance: float, keep: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    rows, right = rng.normal(size=(20, 30)), rng.normal(size=(30, 4))
    scatter = rows.T @ rows / 20
    before = scatter.copy()
    found = solve_shifted(scatter, right, keep=keep, shift=shift, exact=exact)
    np.testing.assert_allclose(
        found, np.linalg.solve(keep * scatter + shift * np.eye(30), right), rtol=tolerance, atol=tolerance
    )
    assert found.dtype == np.float64
    np.testing.assert_array_equal(scatter, before)


def test_what_float32_cannot_decompose_is_solved_in_float64() -> None:
    scatter, right = np.array([[1, 1 - 1e-9], [1 - 1e-9, 1]]), np.array([[1.0], [0.0]])  # in float32 all ones
    found = solve_shifted(scatter, right, keep=1.0, shift=1e-9, exact=False)
    np.testing.assert_allclose((scatter + 1e-9 * np.eye(2)) @ found, right, atol=1e-6)


def test_what_rounding_made_negative_has_a_least_squares_solution() -> None:
    assert np.isfinite(solve_shifted(np.diag([1.0, -1.0]), np.ones((2, 1)), keep=1.0, shift=1e-9, exact=True)).all()
