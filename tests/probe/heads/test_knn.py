"""Nearest neighbours: the votes of a naive loop, and a choice made without an image's own rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads import knn
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.knn import COUNTS, TEMPERATURES, NearestNeighboursHead, leave_one_out

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]


def make_rows(count: int = 30, *, seed: int = 0) -> TrainingRows:
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3).astype(np.int64)
    features = (rng.normal(size=(3, 5))[labels] + rng.normal(size=(count, 5))).astype(np.float32)
    return TrainingRows(features, labels, rng.uniform(0.2, 2, count), np.arange(count))


def naive(rows: TrainingRows, unseen: Floats, k: float, temperature: float) -> Doubles:
    """The votes, one row at a time, until the voters weigh k; and the vote that all classes share."""
    result = np.zeros((len(unseen), rows.classes))
    for number, query in enumerate(unseen.astype(np.float64)):
        cosines = [
            float(query @ row / (np.linalg.norm(query) * np.linalg.norm(row))) for row in rows.features.astype(float)
        ]
        left = float(k)
        for neighbour in sorted(range(len(cosines)), key=lambda index: -cosines[index]):
            weight = min(left, rows.weight[neighbour])
            left -= weight
            result[number, rows.labels[neighbour]] += np.exp(cosines[neighbour] / temperature) * weight
        result[number] /= result[number].sum()
    return (k * result + 1 / rows.classes) / (k + 1)


@pytest.mark.parametrize("k", [1, 2, 7, 30])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_is_the_weighted_vote_of_the_nearest(k: int, temperature: float) -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    probabilities = NearestNeighboursHead(k, temperature).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities, naive(rows, unseen, k, temperature), atol=1e-4)


def test_of_rows_of_weight_one_exactly_k_vote_as_in_dinov2() -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    rows = TrainingRows(rows.features, rows.labels, np.ones(30), rows.images)
    probabilities = NearestNeighboursHead(10, 0.07).fit(rows, seed=0).probabilities(unseen)
    train, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows.features, unseen))
    cosines = query @ train.T
    nearest = np.argsort(-cosines, axis=1)[:, :10]
    votes = np.exp(np.take_along_axis(cosines, nearest, axis=1) / 0.07)
    shares = np.stack([(votes * (rows.labels[nearest] == label)).sum(axis=1) for label in range(3)], axis=1)
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, (10 * shares + 1 / 3) / 11, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), shares.argmax(axis=1))


def test_a_row_of_weight_two_is_two_rows() -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    times = np.arange(30) % 3 + 1
    heavy = TrainingRows(rows.features, rows.labels, times.astype(float), rows.images)
    written_out = TrainingRows(
        *(np.repeat(each, times, axis=0) for each in (rows.features, rows.labels, np.ones(30), rows.images))
    )
    one, other = (NearestNeighboursHead().fit(each, seed=0) for each in (heavy, written_out))
    assert (one.k, one.temperature) == (other.k, other.temperature)
    np.testing.assert_allclose(one.probabilities(unseen), other.probabilities(unseen), atol=1e-6)


def views_of(rows: TrainingRows, views: int, *, noise: float = 0.02) -> TrainingRows:
    rng = np.random.default_rng(5)
    features, labels, weight, images = (
        np.repeat(each, views, axis=0) for each in (rows.features, rows.labels, rows.weight / views, rows.images)
    )
    return TrainingRows((features + noise * rng.normal(size=features.shape)).astype(np.float32), labels, weight, images)


@pytest.mark.parametrize("together", [1, 2, 4])
def test_the_choice_has_the_least_loss_of_images_answered_without_the_rows_of_their_cluster(together: int) -> None:
    rows = views_of(make_rows(24), 2)
    rows = replace(rows, clusters=rows.images // together)  # of one label or of several
    pairs = [(k, temperature) for k in COUNTS for temperature in TEMPERATURES]
    losses = np.zeros(len(pairs))
    for image in range(24):
        own, others = rows.images == image, rows.take(rows.images // together != image // together)
        for number, pair in enumerate(pairs):
            answers = naive(others, rows.features[own], *pair)
            losses[number] -= rows.weight[own] @ np.log(answers[:, rows.labels[own][0]])
    losses /= rows.weight.sum()
    kept = NearestNeighboursHead(1, 1.0).fit(rows, seed=0)
    np.testing.assert_allclose(leave_one_out(kept, rows.together, pairs, seed=0), losses, atol=1e-3)
    chosen = NearestNeighboursHead().fit(rows, seed=0)
    assert (chosen.k, chosen.temperature) == pairs[int(losses.argmin())]
    assert chosen.k > 1  # the other view of an image would have made one neighbour look perfect


def test_what_is_given_is_pinned_and_the_rest_is_chosen() -> None:
    rows = views_of(make_rows(24), 2)
    assert NearestNeighboursHead(k=7).fit(rows, seed=0).k == 7
    assert NearestNeighboursHead(temperature=0.33).fit(rows, seed=0).temperature == 0.33
    both = NearestNeighboursHead(10, 0.07).fit(rows, seed=0)
    assert (both.k, both.temperature) == (10, 0.07)


def test_many_rows_are_chosen_by_a_drawn_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(90)
    kept, pairs = NearestNeighboursHead(1, 1.0).fit(rows, seed=0), [(3.0, 0.1), (10.0, 0.1)]
    whole = leave_one_out(kept, rows.images, pairs, seed=0)
    monkeypatch.setattr(knn, "TRIED", 60)
    part, same, other = (leave_one_out(kept, rows.images, pairs, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(part, same)
    assert (part != other).any()
    np.testing.assert_allclose(part, whole, atol=0.2)


def test_unlike_neighbours_make_no_class_impossible() -> None:
    rows = make_rows()
    assert NearestNeighboursHead(1, 0.07).fit(rows, seed=0).probabilities(rows.features).min() == pytest.approx(1 / 6)


def test_an_only_image_in_the_world_of_a_class_chooses_something() -> None:
    features = np.eye(2, 5, dtype=np.float32)
    rows = TrainingRows(features, np.array([0, 1]), np.ones(2), np.arange(2))
    probabilities = NearestNeighboursHead().fit(rows, seed=0).probabilities(features)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), [0, 1])


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    fitted = NearestNeighboursHead(5, 0.07).fit(rows, seed=0)
    whole = fitted.probabilities(unseen)
    monkeypatch.setattr(knn, "COMPARED_ROWS", 4)
    np.testing.assert_allclose(fitted.probabilities(unseen), whole, atol=1e-6)


def test_more_neighbours_than_rows_means_all_rows() -> None:
    rows, unseen = make_rows(6), make_rows(5, seed=1).features
    probabilities = NearestNeighboursHead(1000, 0.07).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities, naive(rows, unseen, 1000, 0.07), atol=1e-4)


def test_equal_neighbours_share_the_vote() -> None:
    features = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    rows = TrainingRows(features, np.array([0, 1, 2, 2]), np.array([1.0, 3.0, 1.0, 1.0]), np.arange(4))
    probabilities = NearestNeighboursHead(4, 0.07).fit(rows, seed=0).probabilities(features[:1])
    np.testing.assert_allclose(probabilities, (4 * np.array([[0.25, 0.75, 0]]) + 1 / 3) / 5, atol=1e-6)


def test_only_the_direction_counts() -> None:
    rows, unseen = make_rows(), make_rows(11, seed=1).features
    fitted = NearestNeighboursHead(5).fit(rows, seed=0)
    np.testing.assert_allclose(fitted.probabilities(100 * unseen), fitted.probabilities(unseen), atol=1e-5)


def test_a_tiny_temperature_and_a_row_of_zeros_stay_finite() -> None:
    rows = make_rows()
    unseen = np.vstack([rows.features[:2], np.zeros((1, 5), dtype=np.float32), -rows.features[:1]])
    probabilities = NearestNeighboursHead(5, 1e-4).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert probabilities[0, rows.labels[0]] > 0.86  # itself, at such a temperature, and one vote of six is everybody's


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
    fitted = NearestNeighboursHead(1000, 0.5).fit(rows, seed=0)
    arrays = fitted.arrays()
    query = unseen / np.linalg.norm(unseen, axis=1, keepdims=True)
    votes = np.exp(query @ arrays["neighbours"].T / arrays["temperature"]) * arrays["neighbour_weight"]
    shares = votes @ np.eye(3)[arrays["neighbour_labels"]]
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose((1000 * shares + 1 / 3) / 1001, fitted.probabilities(unseen), atol=1e-5)
    assert arrays["k"] == 1000


@pytest.mark.parametrize(("name", "value"), [("k", 0), ("k", -3), ("temperature", 0), ("temperature", float("nan"))])
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        NearestNeighboursHead(**{name: value})
    assert caught.value.where == f"--{name}"
