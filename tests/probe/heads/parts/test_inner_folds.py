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
