"""Class means in cosine similarity: the naive loop, leave-one-image-out scores, a calibrated temperature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.heads import prototypes
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.prototypes import COLDEST, UNKNOWN, PrototypeHead, fit_vmf_temperature

Doubles = npt.NDArray[np.float64]


def make_rows(images: int = 30, views: int = 3, *, noise: float = 1.0, seed: int = 0) -> TrainingRows:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(images) % 3, views).astype(np.int64)
    image = np.repeat(np.arange(images), views)
    centres = np.random.default_rng(99).normal(size=(3, 6))
    features = centres[labels] + noise * rng.normal(size=(images, 6))[image] + 0.2 * rng.normal(size=(len(labels), 6))
    weight = np.repeat(rng.uniform(0.5, 2, images) / views, views)
    return TrainingRows(features.astype(np.float32), labels, weight, image)


def subset(rows: TrainingRows, kept: npt.NDArray[np.bool_]) -> TrainingRows:
    return TrainingRows(rows.features[kept], rows.labels[kept], rows.weight[kept], rows.images[kept])


def naive_cosines(rows: TrainingRows, queries: Doubles) -> Doubles:
    """`(n, C)`, one query and class at a time."""
    features = rows.features.astype(float)
    result = np.zeros((len(queries), rows.classes))
    for label in range(rows.classes):
        of_class = rows.labels == label
        unit = features[of_class] / np.linalg.norm(features[of_class], axis=1, keepdims=True)
        mean = rows.weight[of_class] @ unit
        for number, query in enumerate(queries.astype(float)):
            result[number, label] = query @ mean / (np.linalg.norm(query) * np.linalg.norm(mean))
    return result


def test_it_is_bayes_rule_for_the_weighted_means() -> None:
    rows, unseen = make_rows(), make_rows(seed=1).features
    share = np.bincount(rows.labels, weights=rows.weight) / rows.weight.sum()
    expected = softmax(naive_cosines(rows, unseen) / 0.2 + np.log(share))
    probabilities = PrototypeHead(temperature=0.2).fit(rows, seed=0).probabilities(unseen)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("together", ["image", "of a class", "of all classes"])
def test_the_temperature_is_fitted_on_scores_by_means_without_the_cluster(
    together: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows()
    clusters = {"image": rows.images, "of a class": rows.images % 6, "of all classes": rows.images // 5}[together]
    rows = replace(rows, clusters=clusters)
    seen: dict[str, Doubles] = {}

    def spy(cosines: Doubles, *others: Doubles) -> float:
        seen["cosines"] = cosines
        return 1.0

    monkeypatch.setattr(prototypes, "fit_vmf_temperature", spy)
    PrototypeHead().fit(rows, seed=0)
    for image in range(30):
        own = rows.images == image
        expected = naive_cosines(subset(rows, clusters != clusters[own][0]), rows.features[own])
        np.testing.assert_allclose(seen["cosines"][own], expected, atol=1e-5)


def test_the_fitted_temperature_has_the_least_loss() -> None:
    rows = make_rows(noise=1.5)
    cosines, log_shares = naive_cosines(make_rows(seed=5, noise=1.5), rows.features), np.log([0.2, 0.3, 0.5])
    here = np.arange(len(rows.labels)), rows.labels

    def loss(temperature: float) -> float:
        return float(-rows.weight @ np.log(softmax(cosines / temperature + log_shares)[here]))

    fitted = fit_vmf_temperature(cosines.astype(np.float32), log_shares, rows.labels, rows.weight)
    grid = np.geomspace(0.02, 5, 400)
    best = grid[np.argmin([loss(temperature) for temperature in grid])]
    assert 0.03 < best < 4  # inside the grid, so that this says something
    assert fitted == pytest.approx(best, rel=0.02)
    assert loss(fitted) <= min(loss(temperature) for temperature in grid) + 1e-9


def test_probabilities_of_unseen_images_are_calibrated() -> None:
    rows, unseen = make_rows(300, noise=2), make_rows(600, noise=2, seed=1)
    probabilities = PrototypeHead().fit(rows, seed=0).probabilities(unseen.features)
    accuracy = (probabilities.argmax(axis=1) == unseen.labels).mean()
    assert 0.5 < accuracy < 0.95
    assert probabilities.max(axis=1).mean() == pytest.approx(accuracy, abs=0.05)


def test_a_class_of_one_image_is_answered_but_fits_no_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows()
    lonely = subset(rows, (rows.labels != 2) | (rows.images == 2))
    labels: list[npt.NDArray[np.int64]] = []
    monkeypatch.setattr(
        prototypes, "fit_vmf_temperature", lambda *given: labels.append(given[2]) or fit_vmf_temperature(*given)
    )
    fitted = PrototypeHead().fit(lonely, seed=0)
    np.testing.assert_array_equal(labels[0], lonely.labels[lonely.labels != 2])
    assert fitted.probabilities(rows.features[rows.images == 2]).argmax(axis=1).tolist() == [2, 2, 2]
    single = subset(rows, rows.images < 3)
    assert PrototypeHead().fit(single, seed=0).temperature == UNKNOWN


def test_separable_classes_stop_at_the_end_of_the_range() -> None:
    temperature = PrototypeHead().fit(make_rows(noise=0.01), seed=0).temperature
    assert COLDEST <= temperature < 0.05


def test_equal_views_that_share_a_weight_change_nothing() -> None:
    rows, unseen = make_rows(views=1), make_rows(seed=1).features
    many = TrainingRows(*(np.repeat(each, 4, axis=0) for each in (rows.features, rows.labels)), *(
        np.repeat(each, 4) for each in (rows.weight / 4, rows.images)
    ))  # fmt: skip
    one, other = (PrototypeHead().fit(each, seed=0) for each in (rows, many))
    assert other.temperature == pytest.approx(one.temperature, rel=1e-4)
    np.testing.assert_allclose(other.probabilities(unseen), one.probabilities(unseen), atol=1e-5)


def test_a_weight_pulls_towards_its_class_and_only_the_direction_of_a_row_counts() -> None:
    rows = make_rows()
    heavy = TrainingRows(rows.features, rows.labels, np.where(rows.labels == 1, 5, 1) * rows.weight, rows.images)
    plain, pulled = (PrototypeHead(0.5).fit(each, seed=0) for each in (rows, heavy))
    assert (pulled.probabilities(rows.features)[:, 1] > plain.probabilities(rows.features)[:, 1]).all()
    np.testing.assert_allclose(plain.probabilities(9 * rows.features), plain.probabilities(rows.features), atol=1e-5)


def test_a_row_of_zeros_gets_the_shares() -> None:
    rows = make_rows()
    share = np.bincount(rows.labels, weights=rows.weight) / rows.weight.sum()
    probabilities = PrototypeHead().fit(rows, seed=0).probabilities(np.zeros((1, 6), dtype=np.float32))
    np.testing.assert_allclose(probabilities[0], share, atol=1e-6)


def test_arrays_answer_without_the_head() -> None:
    rows = make_rows()
    fitted = PrototypeHead().fit(rows, seed=0)
    arrays = fitted.arrays()
    unit = rows.features / np.linalg.norm(rows.features, axis=1, keepdims=True)
    scores = unit @ arrays["prototypes"].T / arrays["temperature"] + arrays["log_shares"]
    np.testing.assert_allclose(softmax(scores), fitted.probabilities(rows.features), atol=1e-4)


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_temperature_out_of_range_is_an_error(value: float) -> None:
    with pytest.raises(FrozenprobeError, match="above 0") as caught:
        PrototypeHead(value)
    assert caught.value.where == "--temperature"


def test_classes_of_one_cluster_fit_no_temperature() -> None:
    rows = make_rows()
    assert PrototypeHead().fit(replace(rows, clusters=rows.labels), seed=0).temperature == UNKNOWN
    assert np.isfinite(PrototypeHead().fit(replace(rows, clusters=np.minimum(rows.images, 1)), seed=0).temperature)
