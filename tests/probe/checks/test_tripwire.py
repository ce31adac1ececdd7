"""The tripwire: silent where images are held out whole, loud where a view of a held-out image was trained on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.checks.tripwire import Tripwire, judge_shuffled, shuffle_labels
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.registry import make_head

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

IMAGES, VIEWS, CLASSES = 60, 4, 5
LABELS = np.arange(IMAGES) % CLASSES
FitPredict = Callable[[Ints, Ints, Ints], Ints]  # (labels, images to train on, held out) -> classes of the last
FOLDS = np.random.default_rng(1).permutation(IMAGES) % 5


def make_views(seed: int = 0) -> Floats:
    """`(images, views, D)`: classes apart, views of an image nearly equal."""
    rng = np.random.default_rng(seed)
    images = 2 * rng.normal(size=(CLASSES, 20))[LABELS] + rng.normal(size=(IMAGES, 20))
    return (images[:, None] + 0.05 * rng.normal(size=(IMAGES, VIEWS, 20))).astype(np.float32)


def shuffled_accuracy(fit_predict: FitPredict, labels: Ints, clusters: Ints, folds: Ints, *, seed: int) -> Tripwire:
    """A protocol, fold by fold, on shuffled labels."""
    shuffled = shuffle_labels(labels, clusters, seed=seed)
    predicted = np.empty(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held = folds == fold
        predicted[held] = fit_predict(shuffled, np.flatnonzero(~held), np.flatnonzero(held))
    return judge_shuffled(predicted, shuffled, clusters)


def protocol(head: str, vectors: Floats) -> FitPredict:
    """A head on `(n, views, D)`, with its default scaling."""
    settings: dict[str, float | int] = {"k": 1} if head == "knn" else {}
    trainer = Trainer(make_head(head, settings), vectors, np.zeros(len(vectors), dtype=np.int64))

    def fit_predict(labels: Ints, train: Ints, held: Ints) -> Ints:
        predicted: Ints = (
            replace(trainer, labels=labels, total=CLASSES).fit(train).predict(vectors[held]).argmax(axis=1)
        )
        return predicted

    return fit_predict


@pytest.mark.parametrize("head", ["lda", "knn", "logreg"])
def test_it_is_silent_where_images_are_held_out_whole(head: str) -> None:
    found = shuffled_accuracy(protocol(head, make_views()), LABELS, np.arange(IMAGES), FOLDS, seed=0)
    assert not found.leaks
    assert found.accuracy < found.limit
    assert found.p_value > 1e-3


@pytest.mark.parametrize("head", ["lda", "knn", "logreg"])
def test_it_is_loud_where_the_views_of_an_image_are_split_between_folds(head: str) -> None:
    rows = make_views().reshape(IMAGES * VIEWS, 1, 20)
    owner = np.repeat(np.arange(IMAGES), VIEWS)
    by_row = np.random.default_rng(2).permutation(len(rows)) % 5
    split = shuffled_accuracy(protocol(head, rows), LABELS[owner], owner, by_row, seed=0)
    assert split.leaks
    assert split.accuracy >= split.limit
    whole = shuffled_accuracy(protocol(head, rows), LABELS[owner], owner, FOLDS[owner], seed=0)
    assert not whole.leaks


def test_it_is_loud_where_a_fit_sees_held_out_labels() -> None:
    cheat = shuffled_accuracy(lambda labels, train, held: labels[held], LABELS, np.arange(IMAGES), FOLDS, seed=0)
    assert cheat.accuracy == 1
    assert cheat.leaks


def test_always_answering_the_largest_class_is_no_leak() -> None:
    labels = np.array([0] * 50 + [1] * 10)
    found = shuffled_accuracy(
        lambda labels, train, held: np.full(len(held), np.bincount(labels[train]).argmax()),
        labels, np.arange(60), FOLDS, seed=3,
    )  # fmt: skip
    assert found.accuracy == 50 / 60
    assert found.chance == pytest.approx(50 / 60)
    assert not found.leaks


def test_a_sound_protocol_is_accused_about_as_often_as_promised() -> None:
    def guess(labels: Ints, train: Ints, held: Ints) -> Ints:
        return labels[np.random.default_rng(int(labels[train] @ train)).choice(train, len(held))]

    clusters = np.repeat(np.arange(30), 2)  # every image twice: right or wrong together or not, the bound must hold
    values = [shuffled_accuracy(guess, LABELS, clusters, clusters % 5, seed=seed).p_value for seed in range(400)]
    assert np.mean(np.array(values) < 0.05) < 0.08
    assert min(values) > 1e-4


def test_labels_are_dealt_out_among_clusters_and_do_not_tell_the_images_of_one_apart() -> None:
    clusters = np.array([0, 0, 1, 2, 2, 2, 3])
    labels = np.array([4, 4, 1, 2, 2, 2, 3])
    dealt = [shuffle_labels(labels, clusters, seed=seed) for seed in (0, 0, 1, 2, 3)]
    np.testing.assert_array_equal(dealt[0], dealt[1])
    assert len({tuple(each.tolist()) for each in dealt}) > 2
    for each in dealt:
        first = each[[0, 2, 3, 6]]
        assert sorted(first.tolist()) == [1, 2, 3, 4]
        np.testing.assert_array_equal(each, first[clusters])


def test_the_p_value_is_the_binomial_sum() -> None:
    """12 images alone in their clusters, all predicted as the class that one in four of them has."""
    shuffled = np.repeat(np.arange(4), 3)
    found = judge_shuffled(np.zeros(12, dtype=np.int64), shuffled, np.arange(12))
    exact = [
        sum(math.comb(12, i) * Fraction(1, 4) ** i * Fraction(3, 4) ** (12 - i) for i in range(k, 13)) for k in (3, 9)
    ]
    assert found.chance == found.accuracy == 0.25
    assert found.p_value == pytest.approx(float(exact[0]), rel=1e-10)
    assert found.limit == 9 / 12
    assert exact[1] < 1e-3


def test_where_nothing_can_be_right_nothing_leaks_and_where_all_is_chance_neither() -> None:
    labels = np.array([0, 0, 0, 1])
    assert judge_shuffled(np.full(4, 2), labels, np.arange(4)).p_value == 1
    assert not judge_shuffled(np.zeros(4, dtype=np.int64), labels, np.arange(4)).leaks


def test_one_class_cannot_be_shuffled() -> None:
    with pytest.raises(FrozenprobeError, match="two classes"):
        shuffled_accuracy(
            lambda *_: np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), *[np.arange(3)] * 2, seed=0
        )


def test_images_that_are_right_and_wrong_together_count_as_one() -> None:
    """Ten clusters of ten: five of them right is no more than a coin shows, fifty of a hundred single images is."""
    shuffled = np.repeat(np.arange(5), 20)
    predicted = np.where(np.arange(100) // 10 % 2 == 0, shuffled, (shuffled + 1) % 5)
    found = judge_shuffled(predicted, shuffled, np.arange(100) // 10)
    assert (found.accuracy, found.chance) == (0.5, pytest.approx(0.2))
    assert found.p_value == pytest.approx(float(binom.sf(4, 10, 0.2)))
    assert not found.leaks
    assert judge_shuffled(predicted, shuffled, np.arange(100)).leaks
