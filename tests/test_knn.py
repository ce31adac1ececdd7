"""Nearest neighbours: the votes of a naive loop."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe import knn
from frozenprobe.probe.heads import TrainingRows
from frozenprobe.probe.knn import NearestNeighboursHead

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def make_rows(count: int = 30, *, seed: int = 0) -> TrainingRows:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int64)
    features = (rng.normal(size=(3, 5))[labels] + rng.normal(size=(count, 5))).astype(np.float32)
    return TrainingRows(features, labels, rng.uniform(0.2, 2, count), np.arange(count))


def naive(rows: TrainingRows, unseen: Floats, k: int, temperature: float) -> Doubles:
    """The votes, one row at a time."""
    result = np.zeros((len(unseen), rows.classes))
    for number, query in enumerate(unseen.astype(np.float64)):
        cosines = [
            float(query @ row / (np.linalg.norm(query) * np.linalg.norm(row))) for row in rows.features.astype(float)
        ]
        for neighbour in sorted(range(len(cosines)), key=lambda index: -cosines[index])[:k]:
            vote = np.exp(cosines[neighbour] / temperature) * rows.weight[neighbour]
            result[number, rows.labels[neighbour]] += vote
        result[number] /= result[number].sum()
    return result


@pytest.mark.parametrize("k", [1, 2, 7, 30])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_is_the_weighted_vote_of_the_nearest(k: int, temperature: float) -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    probabilities = NearestNeighboursHead(k, temperature).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities, naive(rows, unseen, k, temperature), atol=1e-4)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    fitted = NearestNeighboursHead(5).fit(rows, seed=0)
    whole = fitted.probabilities(unseen)
    monkeypatch.setattr(knn, "BLOCK", 4)
    np.testing.assert_allclose(fitted.probabilities(unseen), whole, atol=1e-6)


def test_more_neighbours_than_rows_means_all_rows() -> None:
    rows, unseen = make_rows(6), make_rows(5, seed=1).features
    probabilities = NearestNeighboursHead(1000).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities, naive(rows, unseen, 6, 0.07), atol=1e-4)


def test_equal_neighbours_share_the_vote() -> None:
    features = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    rows = TrainingRows(features, np.array([0, 1, 2, 2]), np.array([1.0, 3.0, 1.0, 1.0]), np.arange(4))
    probabilities = NearestNeighboursHead(2).fit(rows, seed=0).probabilities(features[:1])
    np.testing.assert_allclose(probabilities, [[0.25, 0.75, 0]], atol=1e-6)


def test_only_the_direction_counts() -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    fitted = NearestNeighboursHead(5).fit(rows, seed=0)
    np.testing.assert_allclose(fitted.probabilities(100 * unseen), fitted.probabilities(unseen), atol=1e-5)


def test_a_tiny_temperature_and_a_row_of_zeros_stay_finite() -> None:
    rows = make_rows()
    unseen = np.vstack([rows.features[:2], np.zeros((1, 5), dtype=np.float32), -rows.features[:1]])
    probabilities = NearestNeighboursHead(5, 1e-4).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities[0, rows.labels[0]] > 0.999  # itself, at such a temperature


def test_equal_views_that_share_a_weight_change_nothing() -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    many = TrainingRows(
        np.repeat(rows.features, 3, axis=0),
        np.repeat(rows.labels, 3),
        np.repeat(rows.weight / 3, 3),
        np.repeat(rows.images, 3),
    )
    one = NearestNeighboursHead(10).fit(rows, seed=0).probabilities(unseen)
    other = NearestNeighboursHead(10).fit(many, seed=0).probabilities(unseen)  # k counts images
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_arrays_answer_without_the_head() -> None:
    rows, unseen = make_rows(), make_rows(4, seed=1).features
    fitted = NearestNeighboursHead(30, 0.5).fit(rows, seed=0)
    arrays = fitted.arrays()
    query = unseen / np.linalg.norm(unseen, axis=1, keepdims=True)
    votes = np.exp(query @ arrays["neighbours"].T / arrays["temperature"]) * arrays["neighbour_weight"]
    shares = votes @ np.eye(3)[arrays["neighbour_labels"]]
    np.testing.assert_allclose(shares / shares.sum(axis=1, keepdims=True), fitted.probabilities(unseen), atol=1e-5)
    assert arrays["k"] == 30


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("k", -3), ("temperature", 0), ("temperature", float("nan"))])
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        NearestNeighboursHead(**{name: value})
    assert caught.value.where == f"--{name}"
