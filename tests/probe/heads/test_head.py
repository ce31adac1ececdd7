"""What every head gives, and the linear model that most of them end as."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads.head import LinearModel, TrainingRows, balance
from frozenprobe.probe.heads.registry import HEADS, make_head
from tests.probe.heads.test_lda import hard_rows


def make_rows(classes: int = 3, images: int = 8, views: int = 2, dim: int = 5) -> TrainingRows:
    """Images of well-separated classes, a few adjacent views each."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), images)
    centres = 3 * rng.normal(size=(classes, dim))
    features = np.repeat(centres[labels], views, axis=0) + 0.3 * rng.normal(size=(classes * images * views, dim))
    return TrainingRows(
        features=features.astype(np.float32),
        labels=np.repeat(labels, views).astype(np.int64),
        weight=np.full(len(features), 1 / views),
        images=np.repeat(np.arange(len(labels)), views),
    )


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_probabilities_and_plain_arrays(name: str) -> None:
    rows = make_rows()
    settings: dict[str, dict[str, float | int]] = {
        "knn": {"k": 5},
        "linear": {"lr": 0.1, "epochs": 50},
        "mlp": {"epochs": 50, "lr": 0.01},
    }
    fitted = make_head(name, settings.get(name, {})).fit(rows, seed=0)
    probabilities = fitted.probabilities(rows.features)
    assert probabilities.shape == (48, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    assert (probabilities >= 0).all()
    assert all(array.dtype.kind in "fi" for array in fitted.arrays().values())
    if name != "report":  # nine epochs at its small learning rate are too few for 24 images
        assert (probabilities.argmax(axis=1) == rows.labels).mean() > 0.9


@pytest.mark.parametrize("name", HEADS)
def test_no_row_is_answered_too(name: str) -> None:
    settings: dict[str, float | int] = {"epochs": 2} if name in ("linear", "mlp") else {}
    fitted = make_head(name, settings).fit(make_rows(), seed=0)
    assert fitted.probabilities(np.empty((0, 5), dtype=np.float32)).shape == (0, 3)


def test_softmax_is_exact_for_large_and_equal_scores() -> None:
    scores = np.array([[1e4, 1e4, 0], [-1e4, 0, 1], [2, 2, 2]])
    expected = [[0.5, 0.5, 0], [0, 1 / (1 + np.e), np.e / (1 + np.e)], [1 / 3] * 3]
    np.testing.assert_allclose(softmax(scores), expected, atol=1e-12)


def test_softmax_of_float32_is_computed_in_float64() -> None:
    assert softmax(np.zeros((1, 3), dtype=np.float32)).dtype == np.float64


def test_a_linear_model_is_the_softmax_of_its_scores() -> None:
    rng = np.random.default_rng(0)
    coefficients, intercepts = rng.normal(size=(4, 6)), rng.normal(size=4)
    rows = rng.normal(size=(5, 6)).astype(np.float32)
    powers = np.exp(rows @ coefficients.T + intercepts)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(LinearModel(coefficients, intercepts).probabilities(rows), expected, atol=1e-6)


def test_the_number_of_classes_is_read_off_the_labels() -> None:
    assert make_rows(classes=4).classes == 4


def test_balanced_weights_have_equal_totals_and_keep_their_ratios_and_sum() -> None:
    labels, weight = np.array([0, 0, 1, 2, 2, 2]), np.array([1.0, 2, 4, 1, 1, 2])
    balanced = balance(labels, weight)
    np.testing.assert_allclose(np.bincount(labels, weights=balanced), np.full(3, 11 / 3))
    np.testing.assert_allclose(balanced[:2] / balanced[0], [1, 2])


def in_copies(rows: TrainingRows, times: int) -> TrainingRows:
    """Every image of two views several times, nearly the same; its copies are a cluster."""
    count = len(rows.labels) // 2
    place = (2 * np.repeat(np.arange(count), times)[:, None] + np.arange(2)).ravel()
    many = rows.take(place)
    noise = 1e-3 * np.random.default_rng(0).normal(size=many.features.shape).astype(np.float32)
    images = np.repeat(np.arange(times * count), 2)
    return replace(many, features=many.features + noise, images=images, clusters=rows.images[place])


@pytest.mark.parametrize(
    "pinned", [{}, {"lda": {"shrinkage": 0.3}, "ridge": {"alpha": 0.03}, "kernel": {"alpha": 0.01}}]
)
@pytest.mark.parametrize("name", ["lda", "ridge", "kernel", "cosine"])
def test_near_copies_change_neither_what_a_head_chooses_nor_how_sure_it_is(
    name: str, pinned: dict[str, dict[str, float]]
) -> None:
    rows, head = hard_rows(0), make_head(name, pinned.get(name, {}))
    copies = in_copies(rows, 4)
    plain, many, unaware = (head.fit(each, seed=0) for each in (rows, copies, replace(copies, clusters=None)))
    unseen = hard_rows(1).features
    np.testing.assert_allclose(many.probabilities(unseen), plain.probabilities(unseen), atol=0.01)
    if name != "lda":  # which deals near copies to a fold, mostly
        assert np.abs(unaware.probabilities(unseen) - plain.probabilities(unseen)).max() > 0.2
