"""The two-loop recursion: the inverse Hessian that BFGS's formula builds up, matrix by matrix."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.probe.heads.logreg.lbfgs import Memory


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
    memory = Memory(most)
    for step, change in pairs:
        memory.add(step, change)
    inverse = initial
    for step, change in pairs[-most:]:
        scale = 1 / (step @ change)
        left = np.eye(6) - scale * np.outer(step, change)
        inverse = left @ inverse @ left.T + scale * np.outer(step, step)
    outer = memory.outer(gradient.astype(np.float32))
    found = memory.inner(outer, (initial @ outer.vector).astype(np.float32))
    np.testing.assert_allclose(found, inverse @ gradient, rtol=1e-3, atol=1e-3)


def test_a_step_whose_curvature_rounding_has_eaten_is_forgotten() -> None:
    memory = Memory(3)
    memory.add(np.ones(4, dtype=np.float32), np.array([1, -1, 1, -1], dtype=np.float32))
    assert memory.pairs == []


def test_without_pairs_the_gradient_stays_and_has_a_unit_step() -> None:
    gradient = np.array([3.0, 4.0], dtype=np.float32)
    memory = Memory(3)
    outer = memory.outer(gradient)
    np.testing.assert_array_equal(outer.vector, gradient)
    np.testing.assert_allclose(memory.scaled(outer.vector), gradient / 5)
