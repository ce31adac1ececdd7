"""The Kronecker product is the Hessian where it says so, near it elsewhere, and is inverted as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.probe.arrays import Doubles, softmax
from frozenprobe.probe.heads.logreg.metric import Metric

IMAGES, DIM, RIDGE = 60, 5, 0.25


def drawn(classes: int, *, alike: bool = False) -> tuple[Doubles, Doubles, Doubles]:
    """`(n, D)` features, `(n, C)` probabilities, `(n,)` weights."""
    rng = np.random.default_rng(classes)
    scores = np.tile(rng.normal(size=classes), (IMAGES, 1)) if alike else 0.5 * rng.normal(size=(IMAGES, classes))
    return rng.normal(size=(IMAGES, DIM)), softmax(scores), rng.random(IMAGES) + 0.5


def exact_hessian(features: Doubles, chances: Doubles, weight: Doubles) -> Doubles:
    """I + sum_i a_i (diag(p) - p p^T) x (x x^T) in variables in which the intercepts' penalty is 1."""
    wide = np.column_stack([features, np.full(IMAGES, RIDGE**-0.5)])
    size = chances.shape[1] * (DIM + 1)
    parts = (
        a * np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x)) for a, p, x in zip(weight, chances, wide, strict=True)
    )
    return np.eye(size) + sum(parts, np.zeros((size, size)))


def metric_of(features: Doubles, chances: Doubles, weight: Doubles) -> Metric:
    kernel = np.diag((weight[:, None] * chances).sum(axis=0)) - (weight[:, None] * chances).T @ chances
    centre = np.arange(DIM, dtype=np.float32)
    return Metric.of(
        features.astype(np.float32) + centre,
        centre,
        chances.T.astype(np.float32),
        weight.astype(np.float32),
        kernel,
        RIDGE,
    )


def solved(features: Doubles, chances: Doubles, weight: Doubles, direction: Doubles) -> Doubles:
    """The exact inverse times a direction, intercepts scaled as the metric does."""
    scaled = direction.copy()
    scaled[:, -1] /= RIDGE**0.5
    answer = np.linalg.solve(exact_hessian(features, chances, weight), scaled.ravel()).reshape(direction.shape)
    answer[:, -1] /= RIDGE**0.5
    return answer


@pytest.mark.parametrize("classes", [2, 7])
def test_it_inverts_the_hessian_where_all_images_have_the_same_probabilities(classes: int) -> None:
    problem = drawn(classes, alike=True)
    direction = np.random.default_rng(0).normal(size=(classes, DIM + 1))
    found = metric_of(*problem).invert(direction.astype(np.float32))
    np.testing.assert_allclose(found, solved(*problem, direction), rtol=1e-3, atol=1e-5)


def test_elsewhere_it_is_nearer_to_the_hessian_than_its_diagonal_is() -> None:
    problem = drawn(4)
    direction = np.random.default_rng(0).normal(size=(4, DIM + 1))
    truth = solved(*problem, direction)
    found = metric_of(*problem).invert(direction.astype(np.float32))
    diagonal = np.diag(exact_hessian(*problem)).reshape(direction.shape)
    scale = np.append(np.ones(DIM), RIDGE**-0.5)
    plain = direction * scale / diagonal * scale
    assert np.abs(found - truth).max() < 0.3 * np.abs(plain - truth).max()
