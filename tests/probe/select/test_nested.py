"""Nested choice: every answer that a choice is made on comes from a fit without that image and without the fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.select.nested import (
    NestedFolds,
    logits_of,
    predict_all,
    predict_held_out,
)

COUNT, CLASSES = 36, 3


def labels_and_folds(folds: int) -> tuple[Ints, Ints]:
    rng = np.random.default_rng(folds)
    return np.arange(COUNT) % CLASSES, rng.permutation(np.arange(COUNT) % folds)


def deal_in_three(images: Ints) -> Ints:
    return np.arange(len(images)) // 2 % 3


def make_plan(folds: int, deal: Callable[[Ints], Ints] = deal_in_three) -> tuple[NestedFolds, Ints, Ints]:
    labels, fold = labels_and_folds(folds)
    return NestedFolds.of(fold, labels, deal), labels, fold


# The nested


@pytest.mark.parametrize("folds", [2, 3, 4, 5, 7])
def test_the_first_fits_go_without_one_fold_and_answer_it(folds: int) -> None:
    nested, _, fold = make_plan(folds)
    for k in range(folds):
        np.testing.assert_array_equal(nested.subsets[k], np.flatnonzero(fold != k))
        (held,) = nested.held_out[k]
        assert held.fold is None
        np.testing.assert_array_equal(held.images, np.flatnonzero(fold == k))


@pytest.mark.parametrize("folds", [4, 5, 7])
def test_from_four_folds_on_each_is_chosen_for_on_its_two_neighbours(folds: int) -> None:
    nested, _, fold = make_plan(folds)
    assert len(nested.subsets) == 2 * folds  # a fit without a pair serves both of it
    for k in range(folds):
        neighbours = np.isin(fold, ((k - 1) % folds, (k + 1) % folds))
        np.testing.assert_array_equal(nested.chosen_on[k], np.flatnonzero(neighbours))


@pytest.mark.parametrize("folds", [2, 3])
def test_of_fewer_folds_the_whole_training_part_is_dealt_again(folds: int) -> None:
    dealt: list[list[int]] = []

    def deal(images: Ints) -> Ints:
        dealt.append(images.tolist())
        return deal_in_three(images)

    nested, _, fold = make_plan(folds, deal)
    assert dealt == [np.flatnonzero(fold != k).tolist() for k in range(folds)]
    assert len(nested.subsets) == folds + 3 * folds
    for k in range(folds):
        np.testing.assert_array_equal(nested.chosen_on[k], np.flatnonzero(fold != k))


@dataclass(frozen=True)
class FitOf:
    """Stands for a fit: its answer to any image is the class that has its own number."""

    number: int
    total: int
    head: Any = field(default_factory=lambda: type("Head", (), {"convergence": Convergence()})())

    def predict(self, vectors: Floats) -> npt.NDArray[np.float64]:
        return np.eye(self.total)[np.full(len(vectors), self.number)]


@pytest.mark.parametrize("folds", [2, 3, 4, 5, 7])
def test_every_answer_comes_from_a_fit_that_saw_neither_the_image_nor_the_fold_it_chooses_for(folds: int) -> None:
    nested, labels, fold = make_plan(folds)
    total = len(nested.subsets)
    fits: list[Any] = [FitOf(number, total) for number in range(total)]
    answers = predict_held_out(fits, np.zeros((COUNT, 1, 1), dtype=np.float32), nested, total)
    by = answers.oof.argmax(axis=1)
    for image in range(COUNT):
        assert image not in nested.subsets[by[image]]
        assert (fold[nested.subsets[by[image]]] != fold[image]).all()
    for k in range(folds):
        assert len(nested.chosen_on[k]) > 0
        assert (fold[nested.chosen_on[k]] != k).all()
        assert (np.diff(nested.chosen_on[k]) > 0).all()  # sorted, and each once
        for image, own in zip(nested.chosen_on[k], answers.inner[k].argmax(axis=1), strict=True):
            seen = nested.subsets[own]
            assert image not in seen
            assert not np.isin(np.flatnonzero(fold == k), seen).any()
            assert labels[image] in labels[seen]


def test_images_of_a_class_that_a_fit_has_not_seen_choose_nothing() -> None:
    # class 2 lives in folds 0 and 1 alone: a fit without both cannot know it
    folds = np.arange(24) % 4
    labels = np.arange(24) // 4 % 2
    labels[(folds < 2) & (np.arange(24) >= 16)] = 2
    nested = NestedFolds.of(folds, labels, deal_in_three)
    for k, number in ((0, 1), (1, 0)):
        neighbours = np.isin(folds, ((k - 1) % 4, (k + 1) % 4))
        unknown = np.flatnonzero((folds == number) & (labels == 2))
        assert len(unknown) > 0
        assert not np.isin(unknown, nested.chosen_on[k]).any()
        np.testing.assert_array_equal(nested.chosen_on[k], np.setdiff1d(np.flatnonzero(neighbours), unknown))


def test_a_fit_that_would_see_one_class_is_not_made() -> None:
    # without folds 0 and 1 only class 0 is left
    folds = np.arange(20) % 4
    labels = np.where(folds < 2, np.arange(20) // 4 % 2, 0)
    nested = NestedFolds.of(folds, labels, deal_in_three)
    assert len(nested.subsets) == 4 + 3
    for subset in nested.subsets:
        assert len(np.unique(labels[subset])) == 2
    np.testing.assert_array_equal(nested.chosen_on[0], np.flatnonzero(folds == 3))


def test_a_plan_without_inner_parts_has_nothing_to_choose_on() -> None:
    nested, _, _ = make_plan(2, lambda images: np.zeros(len(images), dtype=np.int64))
    assert len(nested.subsets) == 2
    assert [len(images) for images in nested.chosen_on] == [0, 0]


# Predictions


def make_inputs(seed: int = 0) -> tuple[Inputs, Ints]:
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNT) % CLASSES
    images = rng.normal(size=(CLASSES, 8))[labels] + rng.normal(size=(COUNT, 8))
    train = (images[:, None] + 0.3 * rng.normal(size=(COUNT, 3, 8))).astype(np.float32)
    return Inputs("", train, train[:, :2], train[:0, :2]), labels


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("aggregate", ["rows", "logit", "mean", "clean"])
@pytest.mark.usefixtures("before_temperature")
def test_answers_are_those_of_fits_made_one_by_one(folds: int, aggregate: str) -> None:
    inputs, labels = make_inputs()
    nested = NestedFolds.of(labels_and_folds(folds)[1], labels, deal_in_three)
    candidates = [
        Candidate("lda", "global", aggregate, {"shrinkage": 0.3}),
        Candidate("lda", "global", aggregate, {"shrinkage": 0.7}),
        Candidate("cosine", "global", aggregate),
    ]
    told: list[tuple[int, int]] = []
    found = [
        *predict_all(
            candidates,
            [inputs],
            labels,
            np.arange(len(labels)),
            nested,
            options=ProbeOptions(),
            total=CLASSES,
            progress=lambda *news: told.append(news),
        )
    ]
    assert told == [(2, 3), (3, 3)]  # family by family
    seen = inputs.aggregated(aggregate)
    for candidate, answers in zip(candidates, found, strict=True):
        trainer = Trainer(
            make_head(candidate.head, candidate.settings), seen.train, labels, geometric=aggregate == "logit"
        )
        for subset, held_out in zip(nested.subsets, nested.held_out, strict=True):
            fitted = trainer.fit(subset)
            for held in held_out:
                alone = logits_of(fitted.predict(seen.val[held.images]))
                if held.fold is None:
                    kept = answers.oof[held.images]
                else:
                    kept = answers.inner[held.fold][np.isin(nested.chosen_on[held.fold], held.images)]
                np.testing.assert_allclose(kept, alone, rtol=1e-4, atol=2e-3)


def test_trial_settings_are_those_of_the_fits_that_choose_but_not_of_the_last() -> None:
    inputs, labels = make_inputs()
    nested = NestedFolds.of(labels_and_folds(4)[1], labels, deal_in_three)
    candidate = Candidate("logreg", "global", "mean", {"c": 1.0}, 0, {"max_iter": 1})
    clusters = np.arange(len(labels))
    (answers,) = predict_all([candidate], [inputs], labels, clusters, nested, options=ProbeOptions(), total=CLASSES)
    assert all(state.iterations == 1 for state in answers.convergence)
    assert candidate.final().trial == {}
    assert candidate.final().settings == {"c": 1.0}


def test_a_candidate_says_what_it_is() -> None:
    inputs, _ = make_inputs()
    sources = [inputs, Inputs("small.h5", inputs.train, inputs.val, inputs.test)]
    assert Candidate("lda", "global", "rows", {"shrinkage": 0.3}).describe(sources) == "lda, shrinkage = 0.3 (rows)"
    other = Candidate("logreg", "standard", "mean", {"c": 1.0, "tol": None}, 1)
    assert other.describe(sources) == "logreg, c = 1.0 (mean, standard, small.h5)"
    assert other.describe_family(sources) == "logreg (mean, standard, small.h5)"


def test_choices_among_some_images_ask_about_those_alone_and_everything_is_still_predicted_out_of_fold() -> None:
    nested, _, folds = make_plan(5)
    seen = np.arange(COUNT) % 3 == 0
    few = nested.among(seen)
    assert [subset.tolist() for subset in few.subsets] == [subset.tolist() for subset in nested.subsets]
    for k in range(5):
        np.testing.assert_array_equal(few.chosen_on[k], np.intersect1d(nested.chosen_on[k], np.flatnonzero(seen)))
        assert [held.fold for held in few.held_out[k]] == [None]
        np.testing.assert_array_equal(few.held_out[k][0].images, np.flatnonzero(folds == k))
    for held_out in few.held_out[5:]:
        assert all(seen[held.images].all() for held in held_out)
    assert sum(len(held.images) for row in few.held_out[5:] for held in row) == 2 * seen.sum()


def test_flat_lists_every_asking() -> None:
    nested, _, _ = make_plan(5)
    assert sum(map(len, nested.held_out)) == 5 + 2 * 5
