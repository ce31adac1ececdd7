"""Metrics: scikit-learn's numbers."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics

from frozenprobe.probe.stats import metrics

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def make_predictions(classes: int = 6, images: int = 80, *, seed: int = 0) -> tuple[Doubles, Ints]:
    """Probabilities that are often right; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=images - classes)])
    powers = np.exp(rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels])
    return powers / powers.sum(axis=1, keepdims=True), labels


def count(probabilities: Doubles, labels: Ints) -> Ints:
    return metrics.confusion(probabilities.argmax(axis=1), labels, probabilities.shape[1])


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_scikit_learns(seed: int) -> None:
    probabilities, labels = make_predictions(seed=seed)
    predicted, counts = probabilities.argmax(axis=1), count(probabilities, labels)
    assert metrics.accuracy(probabilities, labels) == sklearn.metrics.accuracy_score(labels, predicted)
    assert metrics.log_loss(probabilities, labels) == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    assert metrics.macro_f1(counts) == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    assert metrics.balanced_accuracy(counts) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, predicted)
    )
    np.testing.assert_array_equal(counts, sklearn.metrics.confusion_matrix(labels, predicted))
    assert metrics.top_k(probabilities, labels, 6) == 1
    for k in (1, 2, 5):
        expected = sklearn.metrics.top_k_accuracy_score(labels, probabilities, k=k)
        assert metrics.top_k(probabilities, labels, k) == pytest.approx(expected)


def test_the_table_of_classes_is_scikit_learns() -> None:
    probabilities, labels = make_predictions(images=30)
    table = metrics.class_table(count(probabilities, labels))
    precision, recall, f1, images = sklearn.metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), zero_division=0
    )
    for key, expected in (("precision", precision), ("recall", recall), ("f1", f1), ("images", images)):
        np.testing.assert_allclose(table[key], expected)


def test_classes_that_do_not_occur_do_not_count() -> None:
    probabilities, labels = make_predictions()
    wide = np.hstack([probabilities, np.zeros((len(labels), 3))])
    assert metrics.macro_f1(count(wide, labels)) == pytest.approx(metrics.macro_f1(count(probabilities, labels)))
    assert metrics.balanced_accuracy(count(wide, labels)) == metrics.balanced_accuracy(count(probabilities, labels))


def test_a_class_answered_but_never_true_lowers_f1_as_in_scikit_learn() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    counts = metrics.confusion(predicted, labels, 4)
    assert metrics.macro_f1(counts) == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    assert metrics.balanced_accuracy(counts) == 0.75  # the recall of a class without images is not defined


def test_probability_zero_for_the_truth_is_a_large_finite_loss() -> None:
    assert metrics.log_loss(np.array([[0.0, 1.0]]), np.array([0])) == pytest.approx(15 * np.log(10))


def test_ties_count_against_the_top_k() -> None:
    undecided = np.full((2, 4), 0.25)
    assert metrics.top_k(undecided, np.array([0, 3]), 3) == 0
    assert metrics.top_k(undecided, np.array([0, 3]), 4) == 1


def test_confused_pairs_add_both_ways_and_leave_out_the_diagonal_and_zeros() -> None:
    counts = np.array([[9, 2, 0], [3, 9, 1], [0, 0, 9]])
    assert metrics.confused_pairs(counts) == [(0, 1, 5), (1, 2, 1)]
    assert metrics.confused_pairs(counts, most=1) == [(0, 1, 5)]
    assert metrics.confused_pairs(np.diag([3, 4])) == []


def test_no_numpy_warning_on_the_way() -> None:
    probabilities, labels = make_predictions(images=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics.class_table(count(probabilities, labels))
        metrics.log_loss(np.eye(6)[labels], labels)
