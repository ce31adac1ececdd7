"""Notes: what a user should know before believing a number is said, and only if it is so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.probe.checks.notes import note_duplicates, note_guessing
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.folds.deal import split_clusters
from frozenprobe.probe.folds.duplicates import find_clusters
from frozenprobe.probe.options import ProbeOptions
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter


def notes(features: object, head: str = "lda", **options: object) -> str:
    return "\n".join(cross_validate(features, ProbeOptions(head=head, **options)).notes)  # type: ignore[arg-type]


def code(number: int) -> str:
    return f"{number:064x}"


def test_clean_data_needs_no_note(make_features: MakeFeatures) -> None:
    assert notes(make_features()) == ""


def test_classes_that_are_not_scored_are_named(make_features: MakeFeatures) -> None:
    said = notes(make_features(classes=4, labels=[0] * 5 + [1] * 5 + [2] + [3]))
    assert "2 classes are trained on but not scored" in said
    assert "class 2, class 3" in said


def test_copies_are_counted(make_features: MakeFeatures) -> None:
    hashes = (*map(code, range(20)), *map(code, (0, 1, 6, 6)))
    said = notes(make_features(labels=[0] * 6 + [1] * 6 + [2] * 6 + [3] * 2 + [0, 0, 1, 1], hashes=hashes))
    assert "4 training images are copies of others" in said
    assert "copies stay in one fold" in said
    assert "contradict" not in said


def test_copies_with_another_label_are_said_to_contradict(make_features: MakeFeatures) -> None:
    hashes = (*map(code, range(23)), code(0))  # the last image, of class 3, is the first one, of class 0
    assert "1 of these copies lie in another class" in notes(make_features(hashes=hashes))


def test_test_images_that_are_training_images_are_named(make_features: MakeFeatures) -> None:
    hashes = (*map(code, range(23)), code(10_002))  # the code of the fixture's third test image
    assert "1 test images are training images, byte for byte: t2.jpg (image 23.jpg)" in notes(
        make_features(hashes=hashes)
    )


def test_bad_test_images_are_named(make_features: MakeFeatures) -> None:
    assert "2 test images could not be decoded" in notes(make_features(unusable=(0, 5)))


def test_groups_are_counted_and_promised_to_stay_together(make_features: MakeFeatures) -> None:
    groups = tuple(f"patient {index % 12}" for index in range(24))
    assert "12 groups; no group is split between folds" in notes(make_features(groups=groups))


def test_a_fold_column_is_mentioned_only_where_it_is_used(make_features: MakeFeatures) -> None:
    features = make_features(folds=tuple("abc"[index % 3] for index in range(24)))
    assert "folds are those of the fold column" in notes(features)
    assert "fold column" not in notes(features, folds=3)


@pytest.mark.parametrize("kind", ["groups", "hashes"])
def test_a_fold_column_that_splits_copies_or_groups_is_a_warning_and_no_promise_is_made(
    kind: str, make_features: MakeFeatures
) -> None:
    pairs = tuple(code(index // 2) for index in range(24))
    torn = make_features(folds=tuple("ab"[index % 2] for index in range(24)), **{kind: pairs})
    assert "splits 12 clusters" in notes(torn)
    assert "stay in one fold" not in notes(torn)
    assert "no group is split" not in notes(torn)
    assert "splits" not in notes(torn, folds=2)
    whole = make_features(folds=tuple("ab"[index // 2 % 2] for index in range(24)), **{kind: pairs})
    assert "splits" not in notes(whole)


def test_split_clusters_finds_exactly_those_in_several_folds() -> None:
    assert split_clusters([0, 0, 1, 1, 2], [0, 1, 2, 2, 0]).tolist() == [0]  # type: ignore[arg-type]


def test_the_report_head_says_what_it_trains_and_answers_on(make_features: MakeFeatures) -> None:
    features = make_features(classes=2, test_views=("clean", "direct"))
    assert "trained on augmented views only; test images answered on direct" in notes(features, "report")
    assert "augmented views only" not in notes(features)


def test_without_a_test_set_nothing_is_said_about_it(make_features: MakeFeatures) -> None:
    features = replace(make_features(unusable=(1,)), test=None)
    assert "test images" not in notes(features)


def test_predictions_that_are_no_better_than_guesses_are_said_to_be(make_features: MakeFeatures) -> None:
    labels = np.arange(40) % 2
    predicted, alone = np.where(np.arange(40) < 30, labels, 1 - labels), np.arange(40)
    assert note_guessing(predicted, labels, alone, scale="global") == []  # 75 % right of 40
    (note,) = note_guessing(predicted, labels, alone // 10, scale="global")  # but of four clusters that is little
    assert "75.0% right out of fold, where 50.0% would be" in note
    assert "p = 0.16" in note
    assert "--scale" not in note
    rare = np.arange(40) < 4
    (note,) = note_guessing(np.zeros(40, dtype=np.int64), rare.astype(np.int64), alone, scale="none")
    assert "90.0% right out of fold, where 90.0% would be" in note  # the share of a class is no merit
    assert note.endswith("try --scale standard")
    (note,) = note_guessing(np.zeros(40, dtype=np.int64), np.zeros(40, dtype=np.int64), alone, scale=None)
    assert "p = 1.00" in note
    assert "NO BETTER THAN GUESSING" in notes(make_features(noise=1000.0))


def test_families_that_the_features_are_nothing_for_are_left_out_of_auto_and_named(make_features: MakeFeatures) -> None:
    plain = make_features(noise=0.1)
    lengths = 10 + abs(plain.read("train", range(5)).mean(axis=2, keepdims=True))
    said = notes(rewrite(plain, "line.h5", vectors=lengths * np.arange(1, 13)), "auto", scale="none", budget=0.0)
    (line,) = (each for each in said.splitlines() if each.startswith("LEFT OUT"))
    assert "the same direction for all of them: " in line
    assert "cosine" in line
    assert "lda" not in line
    assert "LEFT OUT" not in notes(plain, "auto", scale="none", budget=0.0)


def with_copies(features: Features, copies: dict[int, int], test_copies: dict[int, int]) -> Features:
    """The features with images that are nearly others: (training or test image) -> the training image it copies."""
    vectors, test = features.read("train", range(len(features.views))), features.read("test", (0, 1))
    for image, original in copies.items():
        vectors[image] = vectors[original] + 1e-3
    for image, original in test_copies.items():
        test[image] = vectors[original, :2] + 1e-3
    return rewrite(features, "copies.h5", vectors=vectors, test_vectors=test)


def near_notes(features: Features, *, torn: int = 0, **options: object) -> str:
    found = find_clusters(features, ProbeOptions(**options))  # type: ignore[arg-type]
    return "\n".join(note_duplicates(features, found, torn=torn))


def test_near_duplicates_are_counted_and_promised_to_stay_together(make_features: MakeFeatures) -> None:
    features = with_copies(make_features(dim=40), {1: 0, 2: 0, 9: 7}, {})
    said = near_notes(features)
    assert "5 training images have near duplicates" in said
    assert "near duplicates stay in one fold" in said
    assert "two classes" not in said
    assert "test images" not in said
    assert "stay in one fold" not in near_notes(features, torn=1)
    assert near_notes(make_features(dim=40)) == near_notes(features, near_duplicates=0.0) == ""


def test_near_duplicates_in_two_classes_are_named(make_features: MakeFeatures) -> None:
    said = near_notes(with_copies(make_features(dim=40), {20: 3}, {}))
    assert "1 pairs of near duplicates lie in two classes" in said
    assert "image 3.jpg (class 0) and image 20.jpg (class 3)" in said


def test_test_images_that_are_nearly_training_images_are_named_with_them(make_features: MakeFeatures) -> None:
    said = near_notes(with_copies(make_features(dim=40), {}, {4: 11, 2: 5}))
    assert "2 test images are near duplicates of training images: t2.jpg (image 5.jpg, 1.000), t4.jpg (image 11" in said


def test_a_class_whose_near_duplicates_cannot_be_kept_together_is_named(make_features: MakeFeatures) -> None:
    features = make_features(dim=40, labels=[0] * 6 + [1] * 6 + [2] * 2)
    said = near_notes(with_copies(features, {13: 12}, {}))
    assert "near duplicates of 1 classes do not stay in one fold" in said
    assert said.endswith("too high: class 2")


def test_chains_that_were_cut_are_said(make_features: MakeFeatures) -> None:
    features = make_features(dim=40)
    found = replace(find_clusters(features, ProbeOptions()), chained=3, pairs=np.array([[0, 1]]), threshold=0.9)
    assert "3 pairs of near duplicates may lie in two folds" in "\n".join(note_duplicates(features, found, torn=0))


def test_it_is_said_where_copies_cannot_be_told_from_different_images(make_features: MakeFeatures) -> None:
    features = make_features(dim=40)
    found = find_clusters(features, ProbeOptions())
    assert found.threshold == found.reach
    assert note_duplicates(features, found, torn=0) == []
    dense = replace(found, threshold=0.9999, reach=0.95)
    (note,) = note_duplicates(features, dense, torn=0)
    assert "different images are as close as changed copies" in note
    assert "0.950" in note
    assert "0.9999" in note
    assert note_duplicates(features, dense, torn=1) == []
