"""Halves of what a fold trains on, by class and by cluster: nothing of the fold itself, and no part that is no half."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from frozenprobe.probe.fit.halves import HALVED_FOLDS, Halves
from frozenprobe.probe.options import ProbeOptions
from tests.probe.test_predict import make_task


def test_a_half_is_of_every_class_outside_its_fold_and_splits_no_cluster() -> None:
    task = make_task(ProbeOptions("lda"))
    clusters = np.arange(len(task.labels)) // 2
    folds = clusters % 4
    task = replace(task, clusters=clusters, folds=folds, scored=task.labels > 0)
    halves = Halves.of(task)
    assert len(halves.subsets) == len(halves.held) == HALVED_FOLDS
    for fold, (half, held) in enumerate(zip(halves.subsets, halves.held, strict=True)):
        np.testing.assert_array_equal(held, np.flatnonzero((folds == fold) & (task.labels > 0)))
        assert (folds[half] != fold).all()
        left = np.setdiff1d(np.flatnonzero(folds != fold), half)
        assert not np.isin(clusters[half], clusters[left]).any()
        trained, total = (np.bincount(task.labels[some]) for some in (half, np.flatnonzero(folds != fold)))
        assert (abs(trained - total / 2) <= 2).all()
    training = sum((folds != fold).sum() for fold in range(HALVED_FOLDS))
    assert halves.times == training / sum(map(len, halves.subsets))


def test_where_a_class_is_one_cluster_nothing_is_halved_and_nothing_answered() -> None:
    task = make_task(ProbeOptions("lda"))
    halves = Halves.of(replace(task, clusters=task.labels))
    assert (halves.subsets, halves.held, halves.times) == ([], [], 1.0)
    nothing = halves.answered([], task.sources[0].val, np.zeros((len(task.labels), task.classes)))
    assert len(nothing.images) == 0
    assert nothing.fewer.shape == nothing.more.shape == (0, task.classes)


def test_what_a_half_says_stands_beside_what_all_images_say_of_the_same_image() -> None:
    task = make_task(ProbeOptions("lda"))
    halves = Halves.of(task)
    more = np.arange(len(task.labels) * task.classes, dtype=float).reshape(len(task.labels), -1)

    class Fit:
        def __init__(self, number: int) -> None:
            self.number = number

        def predict(self, vectors: Any) -> Any:
            return np.full((len(vectors), task.classes), self.number)

    fits: list[Any] = [Fit(0), Fit(1)]
    found = halves.answered(fits, task.sources[0].val, more)
    np.testing.assert_array_equal(found.more, more[found.images])
    np.testing.assert_array_equal(found.fewer[:, 0], task.folds[found.images])
    assert found.times == halves.times
