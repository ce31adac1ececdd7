"""Subsets of the training images: nested, content decides, copies together, and no dearer than training with all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.probe.folds.deal import cluster_images
from frozenprobe.probe.folds.subsets import (
    draw_order,
    draws_of,
    first_of_each_class,
    half_of_each_class,
    subset_sizes,
    training_counts,
    typical,
)

HASHES = tuple(f"{index:064x}" for index in range(12))
ALONE = np.arange(12)
LABELS = np.repeat([0, 1, 2], [6, 4, 2])


def chosen(size: int, *, seed: int = 0, draw: int = 0) -> set[int]:
    order = draw_order(ALONE, HASHES, seed=seed, draw=draw)
    return set(first_of_each_class(np.arange(12), LABELS, order, size).tolist())


def test_a_class_gives_as_many_as_asked_or_all_it_has() -> None:
    for size, counts in ((1, [1, 1, 1]), (2, [2, 2, 2]), (3, [3, 3, 2]), (5, [5, 4, 2]), (9, [6, 4, 2])):
        assert np.bincount(LABELS[sorted(chosen(size))]).tolist() == counts


@given(seed=st.integers(0, 1000), draw=st.integers(0, 5), size=st.integers(1, 5))
def test_subsets_of_a_draw_are_nested(seed: int, draw: int, size: int) -> None:
    assert chosen(size, seed=seed, draw=draw) <= chosen(size + 1, seed=seed, draw=draw)


def test_half_is_half_of_the_clusters_of_every_class_rounded_up() -> None:
    order = draw_order(ALONE, HASHES, seed=0, draw=0)
    half = half_of_each_class(np.arange(12), LABELS, order)
    assert np.bincount(LABELS[half]).tolist() == [3, 2, 1]
    for size, label in ((3, 0), (2, 1), (1, 2)):
        assert {image for image in half.tolist() if LABELS[image] == label} <= chosen(size)
    assert np.bincount(LABELS[half_of_each_class(np.array([0, 1, 2, 6, 10]), LABELS, order)]).tolist() == [2, 1, 1]
    together = draw_order(ALONE // 3, HASHES, seed=0, draw=0)
    whole = half_of_each_class(np.arange(12), LABELS, together)
    assert {tuple(whole[LABELS[whole] == 0])} <= {(0, 1, 2), (3, 4, 5)}


def test_draws_and_seeds_differ_and_repeat() -> None:
    drawn = {frozenset(chosen(2, seed=seed, draw=draw)) for seed in (0, 1) for draw in range(3)}
    assert len(drawn) == 6
    assert chosen(2, seed=1, draw=2) == chosen(2, seed=1, draw=2)


@given(st.permutations(range(12)))
def test_the_order_of_the_images_changes_no_subset(order: list[int]) -> None:
    hashes = [HASHES[image] for image in order]
    places = draw_order(ALONE, hashes, seed=0, draw=1)
    found = first_of_each_class(np.arange(12), LABELS[order], places, 2)
    assert {order[image] for image in found} == chosen(2, draw=1)


def test_every_image_of_a_class_is_drawn_equally_often() -> None:
    counts = np.zeros(12)
    for draw in range(3000):
        counts[sorted(chosen(2, draw=draw))] += 1
    np.testing.assert_allclose(counts / 3000, 2 / np.repeat([6, 4, 2], [6, 4, 2]), atol=0.04)


def test_copies_and_groups_come_together_and_count_once() -> None:
    hashes = ("a", "a", "b", "c", "d", "e")
    clusters = cluster_images(hashes, groups=("1", "2", "2", "3", "4", "5"))  # the first three images are one cluster
    labels = np.array([0, 0, 0, 0, 1, 1])
    for draw in range(5):
        order = draw_order(clusters, hashes, seed=0, draw=draw)
        found = first_of_each_class(np.arange(6), labels, order, 1).tolist()
        assert found[:-1] in ([0, 1, 2], [3])
    assert typical(training_counts(labels, clusters, np.array([0, 0, 0, 1, 0, 1]))) == pytest.approx(1)


def test_a_cluster_in_two_classes_counts_in_each() -> None:
    labels, order = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 2])
    assert first_of_each_class(np.arange(4), labels, order, 1).tolist() == [0, 1]


def test_only_the_images_offered_are_chosen() -> None:
    order = draw_order(ALONE, HASHES, seed=0, draw=0)
    offered = np.array([1, 3, 7, 8, 11])
    assert first_of_each_class(offered, LABELS, order, 9).tolist() == offered.tolist()


def test_counts_are_clusters_outside_each_fold() -> None:
    labels, folds = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 1, 0])
    clusters = np.array([0, 1, 1, 2, 3, 4])
    # outside fold 0: class 0 has cluster 1, class 1 cluster 3, class 2 nothing; outside fold 1: clusters 0, 2 and 4
    assert training_counts(labels, clusters, folds).tolist() == [1, 1, 1, 1, 1]


def test_twice_the_images_of_every_class_double_the_size() -> None:
    counts = np.array([2, 5, 9])
    assert typical(2 * counts) == pytest.approx(2 * typical(counts))
    assert typical(np.array([8] * 400)) == 8  # exactly: it is printed


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [([8, 8], [1, 2, 4]), ([1, 1], []), ([2, 2], [1]), ([9, 9], [1, 2, 4]), ([11, 11], [1, 2, 4, 8])],
)
def test_sizes_double_and_leave_a_good_part_out(counts: list[int], sizes: list[int]) -> None:
    assert subset_sizes(np.array(counts)) == sizes


def test_one_large_class_does_not_make_sizes_at_which_only_it_changes() -> None:
    assert subset_sizes(np.array([8] * 99 + [5000])) == [1, 2, 4]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_the_cost_is_bounded_and_smaller_sizes_are_drawn_at_least_as_often(values: list[int]) -> None:
    counts = np.array(values)
    sizes = subset_sizes(counts)
    draws = [draws_of(size, counts) for size in sizes]
    assert all(1 <= draw <= 5 for draw in draws)
    assert draws == sorted(draws, reverse=True)
    trained_on = [draw * np.minimum(counts, size).sum() for size, draw in zip(sizes, draws, strict=True)]
    assert all(images <= counts.sum() for images in trained_on)
