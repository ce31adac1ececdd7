"""Inner folds: images stay whole, classes are spread, and neither order nor names decide."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.parts.inner_folds import Images, deal_inner


def make_rows(counts: tuple[int, ...] = (10, 7, 2, 1), views: int = 3) -> TrainingRows:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = rng.normal(size=(len(labels) * views, 5)).astype(np.float32)
    images = np.repeat(np.arange(len(labels)), views)
    return TrainingRows(features, np.repeat(labels, views), np.full(len(features), 1 / views), images)


def test_the_images_of_rows_are_found() -> None:
    images = Images.of(make_rows())
    np.testing.assert_array_equal(images.first, 3 * np.arange(20))
    np.testing.assert_array_equal(images.index, np.repeat(np.arange(20), 3))
    np.testing.assert_array_equal(np.bincount(images.labels), [10, 7, 2, 1])
    np.testing.assert_allclose(images.weight, 1)
    np.testing.assert_array_equal(np.flatnonzero(images.alone()), [19])


@pytest.mark.parametrize("folds", [2, 5])
def test_every_class_is_spread_evenly(folds: int) -> None:
    rows = make_rows()
    images = Images.of(rows)
    inner = deal_inner(rows, images, folds)
    for label in range(4):
        sizes = np.bincount(inner[images.labels == label], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


def test_copies_share_a_fold_where_their_run_allows() -> None:
    rows = make_rows((10,))
    rows.features[3:6] = rows.features[:3]
    order = np.argsort(rows.features[::3].sum(axis=1))
    inner = deal_inner(rows, Images.of(rows))
    assert abs(inner[0] - inner[1]) <= 1
    np.testing.assert_array_equal(inner[order], np.repeat(np.arange(5), 2))


def test_order_of_images_and_names_of_classes_change_no_fold() -> None:
    rows = make_rows()
    inner = deal_inner(rows, Images.of(rows))
    turn = np.random.default_rng(1).permutation(20)
    row = (3 * turn[:, None] + np.arange(3)).ravel()
    renamed = np.array([2, 0, 3, 1])[rows.labels[row]]
    other = TrainingRows(rows.features[row], renamed, rows.weight, rows.images)
    np.testing.assert_array_equal(deal_inner(other, Images.of(other)), inner[turn])


def in_clusters(*clusters: int, labels: tuple[int, ...]) -> tuple[TrainingRows, Images]:
    """One row an image."""
    count = len(labels)
    features = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    rows = TrainingRows(features, np.array(labels), np.ones(count), np.arange(count), np.array(clusters))
    return rows, Images.of(rows)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_cluster_is_in_one_fold_whatever_its_images_are_like(*, mixed: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 12)
    clusters = rng.integers(9, size=48) if mixed else 5 * labels + rng.integers(5, size=48)
    rows, images = in_clusters(*clusters, labels=tuple(labels))
    inner = deal_inner(rows, images)
    assert all(len(set(inner[clusters == cluster])) == 1 for cluster in clusters)
    assert len(set(inner)) == 5
    for label in range(0 if mixed else 4):  # the clusters of a class are spread
        assert len(set(inner[labels == label])) == min(5, len(set(clusters[labels == label])))


def test_clusters_are_dealt_by_how_their_images_look_on_average() -> None:
    rows, images = in_clusters(0, 1, 0, 1, 2, 3, labels=(0,) * 6)
    rows.features[:] = np.array([5, 1, 7, 3, 4, 9])[:, None]  # means 6, 2, 4, 9
    assert deal_inner(rows, images, 2).tolist() == [1, 0, 1, 0, 0, 1]


def test_an_image_is_alone_if_its_class_is_one_cluster() -> None:
    _, images = in_clusters(0, 0, 1, 1, 2, 3, labels=(0, 0, 1, 2, 2, 3))
    assert images.alone().tolist() == [True, True, True, False, False, True]


def test_copies_are_one_piece_of_evidence() -> None:
    _, images = in_clusters(0, 0, 0, 1, 1, 2, labels=(0, 0, 0, 1, 2, 1))
    assert images.repeated(np.ones(6, dtype=bool)) == 6 / 4
    assert images.repeated(np.arange(6) < 3) == 3
    assert images.repeated(np.zeros(6, dtype=bool)) == 1
    assert images.most_rows() == 3
    _, single = in_clusters(3, 2, 0, 1, labels=(0, 0, 1, 1))
    assert (single.repeated(np.ones(4, dtype=bool)), single.most_rows()) == (1, 1)


def test_images_of_one_scene_are_told_from_images_of_several() -> None:
    _, images = in_clusters(0, 0, 1, 2, labels=(0, 0, 0, 1))
    assert images.of_one_scene(np.array([True, True, False, True]))
    assert not images.of_one_scene(np.array([True, False, False, True]))  # an image a class
    assert not images.of_one_scene(np.ones(4, dtype=bool))
