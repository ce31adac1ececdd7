"""Folds: images are dealt out whole clusters at a time, evenly by class, by content and seed and nothing else."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.folds.deal import (
    assign_folds,
    cluster_images,
    cluster_key,
    folds_from_column,
    unite_images,
    unscored_classes,
)

Ints = npt.NDArray[np.int64]
Images = tuple[list[int], list[str], list[str]]  # labels, hashes, groups

quick = settings(max_examples=60, deadline=None)


@st.composite
def image_sets(draw: st.DrawFn) -> Images:
    """Labels, hashes with copies among them, and groups; at least five clusters are likely."""
    count = draw(st.integers(2, 40))
    labels = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    hashes = draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count))
    groups = draw(st.lists(st.integers(0, 2 * count), min_size=count, max_size=count))
    return labels, [f"hash {code}" for code in hashes], [f"group {code}" for code in groups]


@st.composite
def single_images(draw: st.DrawFn) -> tuple[Ints, list[str]]:
    """Labels and hashes without copies."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) >= 7))
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    salt = draw(st.integers(0, 10**6))
    return labels, [f"{salt} {index}" for index in range(len(labels))]


def deal(labels: list[int] | Ints, hashes: list[str], groups: list[str] | None = None, *, seed: int = 0) -> Ints:
    """Folds, at most five."""
    clusters = cluster_images(hashes, groups)
    folds = min(5, int(clusters.max()) + 1)
    return assign_folds(np.array(labels, dtype=np.int64), clusters, hashes, folds=folds, seed=seed)


def enough(images: Images) -> bool:
    return int(cluster_images(images[1], images[2]).max()) >= 1


@quick
@given(image_sets())
def test_clusters_are_the_connected_images(images: Images) -> None:
    _, hashes, groups = images
    clusters = cluster_images(hashes, groups)
    reach = np.array([[a == b for b in hashes] for a in hashes]) | np.array([[a == b for b in groups] for a in groups])
    for _ in hashes:  # the naive transitive closure
        wider = (reach.astype(int) @ reach.astype(int)) > 0
        if (wider == reach).all():
            break
        reach = wider
    np.testing.assert_array_equal(clusters[:, None] == clusters[None, :], reach)


def test_copies_join_groups_transitively() -> None:
    clusters = cluster_images(["a", "b", "b", "c", "d"], ["p", "p", "q", "q", "r"])
    assert clusters.tolist() == [0, 0, 0, 0, 1]


def test_without_groups_only_equal_content_belongs_together() -> None:
    clusters = cluster_images(["a", "b", "a"], None)
    assert clusters[0] == clusters[2] != clusters[1]


@quick
@given(image_sets(), st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=20))
def test_pairs_join_what_they_touch_and_nothing_else(images: Images, drawn: list[tuple[int, int]]) -> None:
    _, hashes, groups = images
    pairs = [(one % len(hashes), other % len(hashes)) for one, other in drawn]
    union = unite_images(hashes, groups)
    for one, other in pairs:
        union.join(one, other)
    joined = union.clusters()
    # A pair is what a shared group is: one more column in which the two, and no others, have the same value.
    renamed = dict(enumerate(cluster_images(hashes, groups).tolist()))
    for one, other in pairs:
        keep, gone = renamed[one], renamed[other]
        renamed = {image: keep if name == gone else name for image, name in renamed.items()}
    expected = np.array([renamed[image] for image in range(len(hashes))])
    np.testing.assert_array_equal(joined[:, None] == joined, expected[:, None] == expected)


@quick
@given(image_sets().filter(enough), st.integers(0, 3))
def test_every_image_is_in_one_fold_and_no_cluster_is_split(images: Images, seed: int) -> None:
    labels, hashes, groups = images
    folds = deal(labels, hashes, groups, seed=seed)
    clusters = cluster_images(hashes, groups)
    assert folds.shape == (len(labels),)
    assert set(folds.tolist()) == set(range(min(5, int(clusters.max()) + 1)))  # no fold is empty
    for cluster in range(int(clusters.max()) + 1):
        assert len(set(folds[clusters == cluster].tolist())) == 1


@quick
@given(single_images(), st.integers(2, 7), st.integers(0, 3))
def test_single_images_are_spread_evenly_by_class(images: tuple[Ints, list[str]], folds: int, seed: int) -> None:
    labels, hashes = images
    dealt = assign_folds(labels, cluster_images(hashes, None), hashes, folds=folds, seed=seed)
    counts = np.zeros((int(labels.max()) + 1, folds), dtype=int)
    np.add.at(counts, (labels, dealt), 1)
    assert (np.ptp(counts, axis=1) <= 1).all()
    uneven = int((np.bincount(labels) % folds > 0).sum())
    assert np.ptp(counts.sum(axis=0)) <= uneven  # a class that divides evenly moves no fold's size


def test_fold_sizes_stay_close_when_no_class_divides_evenly() -> None:
    labels = np.repeat(np.arange(50), 3).astype(np.int64)
    for seed in range(10):
        sizes = np.bincount(deal(labels, [f"image {index}" for index in range(150)], seed=seed))
        assert sizes.sum() == 150
        assert np.ptp(sizes) <= 1


@quick
@given(image_sets().filter(enough), st.randoms(use_true_random=False))
def test_the_order_of_the_images_changes_no_fold(images: Images, random: Random) -> None:
    labels, hashes, groups = images
    order = list(range(len(labels)))
    random.shuffle(order)
    folds = deal(labels, hashes, groups)
    moved = deal([labels[i] for i in order], [hashes[i] for i in order], [groups[i] for i in order])
    np.testing.assert_array_equal(moved, folds[order])


@quick
@given(image_sets().filter(enough), st.permutations(range(5)))
def test_the_order_of_the_classes_changes_no_fold(images: Images, order: list[int]) -> None:
    labels, hashes, groups = images
    renumbered = [order[label] for label in labels]
    np.testing.assert_array_equal(deal(renumbered, hashes, groups), deal(labels, hashes, groups))


def test_another_seed_gives_other_folds_and_the_same_seed_the_same() -> None:
    labels, hashes = np.repeat(np.arange(4), 10).astype(np.int64), [f"image {index}" for index in range(40)]
    dealt = [deal(labels, hashes, seed=seed) for seed in (0, 0, 1, 2)]
    np.testing.assert_array_equal(dealt[0], dealt[1])
    assert (dealt[0] != dealt[2]).any()
    assert (dealt[2] != dealt[3]).any()


def test_the_same_images_get_the_same_folds_on_every_machine_and_in_every_version() -> None:
    # Golden: scores of runs made months apart are compared, so a change of these folds is a change of the protocol.
    labels = np.repeat(np.arange(3), 4).astype(np.int64)
    assert deal(labels, [f"image {index}" for index in range(12)]).tolist() == [2, 0, 1, 4, 4, 3, 1, 0, 1, 3, 2, 0]


def dealt_naively(labels: list[int], clusters: list[int], hashes: list[str], *, folds: int, seed: int) -> list[int]:
    """The rule as it is told, in whole fractions: larger clusters first, then class by class, each to the fold with the
    smallest share of its classes so far, then with the fewest images."""
    sets = [[image for image, own in enumerate(clusters) if own == cluster] for cluster in range(max(clusters) + 1)]
    keys = [min(cluster_key(hashes[image], seed) for image in images) for images in sets]
    first = {
        label: min(key for key, images in zip(keys, sets, strict=True) if label in [labels[image] for image in images])
        for label in set(labels)
    }
    order = sorted(
        range(len(sets)), key=lambda one: (-len(sets[one]), min(first[labels[image]] for image in sets[one]), keys[one])
    )
    held: list[list[int]] = [[] for _ in range(folds)]
    for cluster in order:

        def burden(fold: int, images: list[int] = sets[cluster]) -> tuple[Fraction, int, int]:
            there = Counter(labels[image] for image in held[fold])
            shares = [Fraction(there[labels[image]], labels.count(labels[image]) ** 2) for image in images]
            return sum(shares, Fraction(0)), len(held[fold]), fold

        held[min(range(folds), key=burden)] += sets[cluster]
    return [next(fold for fold in range(folds) if image in held[fold]) for image in range(len(labels))]


@pytest.mark.parametrize("seed", range(12))
def test_groups_that_span_classes_go_where_their_classes_have_the_smallest_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.integers(5 + 2 * seed, size=60)
    labels = rng.choice(4, p=[0.5, 0.3, 0.15, 0.05], size=60)
    hashes = [f"image {seed} {number}" for number in range(60)]
    clusters = cluster_images(hashes, groups.astype(str).tolist())
    found = assign_folds(labels, clusters, hashes, folds=2 + seed % 4, seed=seed)
    assert found.tolist() == dealt_naively(labels.tolist(), clusters.tolist(), hashes, folds=2 + seed % 4, seed=seed)


def test_every_fold_gets_its_share_of_every_class_from_groups_that_span_them() -> None:
    """Forty sites with photos of a frequent, a less frequent and a rare class each, in numbers of their own."""
    for seed in range(5):
        counts = np.random.default_rng(seed).integers(0, (6, 4, 2), size=(40, 3), endpoint=True)
        labels = np.concatenate([np.repeat(np.arange(3), own) for own in counts])
        groups = np.repeat(np.arange(40), counts.sum(axis=1)).astype(str).tolist()
        folds = deal(labels, [f"image {index}" for index in range(len(labels))], groups, seed=seed)
        for label, most in enumerate((6, 4, 2)):
            assert np.ptp(np.bincount(folds[labels == label], minlength=5)) <= most  # of the photos of one site


@pytest.mark.parametrize("folds", [-1, 0, 1, 7])
def test_too_few_or_too_many_folds_are_an_error_that_says_the_range(folds: int) -> None:
    hashes = ["a", "b", "c", "d", "e", "f", "f"]
    with pytest.raises(FrozenprobeError, match="2 to 6 folds") as caught:
        assign_folds(np.zeros(7, dtype=np.int64), cluster_images(hashes, None), hashes, folds=folds, seed=0)
    assert caught.value.found == str(folds)


def test_as_many_folds_as_clusters_leave_one_out() -> None:
    hashes = ["a", "b", "c", "a"]
    folds = assign_folds(np.array([0, 0, 1, 0]), cluster_images(hashes, None), hashes, folds=3, seed=0)
    assert sorted(folds[:3].tolist()) == [0, 1, 2]
    assert folds[3] == folds[0]


def test_the_users_folds_are_kept() -> None:
    assert folds_from_column(["b", "a", "b", "c"]).tolist() == [1, 0, 1, 2]


def test_a_fold_column_with_one_fold_is_an_error() -> None:
    with pytest.raises(FrozenprobeError, match="two different folds"):
        folds_from_column(["a", "a"])


@pytest.mark.parametrize("name", ["-1", " -1", "-1.0", "-01 "])
def test_minus_one_is_no_fold_and_beside_it_one_is_enough(name: str) -> None:
    assert folds_from_column(["b", name, "b", "-1", "a"]).tolist() == [1, -1, 1, -1, 0]
    assert folds_from_column([name, "0"]).tolist() == [-1, 0]


@pytest.mark.parametrize("column", [["-1", "-1"], ["-1", "-1.0"], ["-2", "-2"]])
def test_a_fold_column_that_holds_nothing_out_is_an_error(column: list[str]) -> None:
    with pytest.raises(FrozenprobeError, match="one that is not -1") as caught:
        folds_from_column(column)
    assert "--folds 5" in caught.value.remedy


def test_a_class_is_unscored_where_one_fold_has_all_its_images_and_none_is_of_minus_one() -> None:
    labels, folds = np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, -1, 1, 1, -1, -1, 1])
    assert unscored_classes(labels, folds).tolist() == [1, 3]


def test_a_class_within_one_fold_is_not_scored() -> None:
    labels, folds = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    assert unscored_classes(labels, folds).tolist() == [1, 2]


@quick
@given(image_sets().filter(enough))
def test_exactly_the_scored_classes_are_seen_by_every_fold_that_holds_them(images: Images) -> None:
    labels, hashes, groups = images
    folds, truth = deal(labels, hashes, groups), np.array(labels)
    unscored = set(unscored_classes(truth, folds).tolist())
    for label in set(labels):
        holding = set(folds[truth == label].tolist())
        unseen = any(not (truth[folds != fold] == label).any() for fold in holding)
        assert unseen == (label in unscored)


@quick
@given(single_images())
def test_a_class_of_two_different_images_is_scored(images: tuple[Ints, list[str]]) -> None:
    labels, hashes = images
    unscored = unscored_classes(labels, deal(labels, hashes))
    assert unscored.tolist() == np.flatnonzero(np.bincount(labels) == 1).tolist()


def test_classes_of_very_different_size_keep_their_shares() -> None:
    labels = np.repeat(np.arange(3), [100, 10, 5]).astype(np.int64)
    folds = deal(labels, [f"image {index}" for index in range(115)])
    for label, count in enumerate([100, 10, 5]):
        assert np.bincount(folds[labels == label], minlength=5).tolist() == [math.ceil(count / 5)] * 5
