"""The tripwire: silent where images are held out whole, loud where a view of a held-out image was trained on."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.checks.tripwire import FitPredict, binomial_tail, shuffle_labels, shuffled_accuracy
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.head import make_head

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

IMAGES, VIEWS, CLASSES = 60, 4, 5
LABELS = np.arange(IMAGES) % CLASSES
FOLDS = np.random.default_rng(1).permutation(IMAGES) % 5


def make_views(seed: int = 0) -> Floats:
    """`(images, views, D)`: classes apart, views of an image nearly equal."""
    rng = np.random.default_rng(seed)
    images = 2 * rng.normal(size=(CLASSES, 20))[LABELS] + rng.normal(size=(IMAGES, 20))
    return (images[:, None] + 0.05 * rng.normal(size=(IMAGES, VIEWS, 20))).astype(np.float32)


def protocol(head: str, vectors: Floats) -> FitPredict:
    """A head on `(n, views, D)`, with its default scaling."""
    settings: dict[str, float | int] = {"k": 1} if head == "knn" else {}
    trainer = Trainer(make_head(head, settings), vectors, np.zeros(len(vectors), dtype=np.int64))

    def fit_predict(labels: Ints, train: Ints, held: Ints) -> Ints:
        answers: Ints = replace(trainer, labels=labels, total=CLASSES).fit(train).predict(vectors[held]).argmax(axis=1)
        return answers

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
    assert found.accuracy == found.majority == 50 / 60
    assert found.chance == pytest.approx(50 / 60)
    assert found.by_shares == pytest.approx((50 / 60) ** 2 + (10 / 60) ** 2)
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


def test_the_tail_is_the_binomial_sum() -> None:
    exact = [
        float(sum(math.comb(12, i) * Fraction(1, 8) ** i * Fraction(7, 8) ** (12 - i) for i in range(k, 13)))
        for k in range(13)
    ]
    np.testing.assert_allclose(binomial_tail(12, 1 / 8), exact, rtol=1e-10)
    np.testing.assert_array_equal(binomial_tail(3, 0.0), [1, 0, 0, 0])
    np.testing.assert_array_equal(binomial_tail(3, 1.0), [1, 1, 1, 1])


def test_one_class_cannot_be_shuffled() -> None:
    with pytest.raises(FrozenprobeError, match="two classes"):
        shuffled_accuracy(
            lambda *_: np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), *[np.arange(3)] * 2, seed=0
        )
