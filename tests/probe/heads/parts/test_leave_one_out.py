"""Left-out answers in closed form against really fitting again without each image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.parts.inner_folds import Images
from frozenprobe.probe.heads.parts.leave_one_out import blocks_of
from frozenprobe.probe.heads.ridge import Spectrum

Doubles = npt.NDArray[np.float64]


def make_rows(dim: int, *, views: tuple[int, ...] = (3,), images: int = 24, seed: int = 0) -> TrainingRows:
    """Overlapping classes of images with so many views (in turn) and unequal weights."""
    rng = np.random.default_rng(seed)
    times = np.resize(views, images)
    image = np.repeat(np.arange(images), times)
    labels = np.arange(images) % 4
    centres = np.random.default_rng(7).normal(size=(4, dim))
    features = (centres[labels] + rng.normal(size=(images, dim)))[image] + 0.3 * rng.normal(size=(len(image), dim)) + 5
    return TrainingRows(features.astype(np.float32), labels[image], rng.uniform(0.2, 2, size=len(image)), image)


def least_squares(rows: TrainingRows, kept: npt.NDArray[np.bool_], penalty: float) -> tuple[Doubles, Doubles]:
    """W^T and b by the normal equations in float64, the intercept as a feature without a penalty."""
    x = np.column_stack([rows.features[kept].astype(np.float64), np.ones(kept.sum())])
    weighted = x * rows.weight[kept][:, None]
    ridge = penalty * np.eye(x.shape[1])
    ridge[-1, -1] = 0
    solution = np.linalg.solve(weighted.T @ x + ridge, weighted.T @ np.eye(4)[rows.labels[kept]])
    return solution[:-1], solution[-1]


@pytest.mark.parametrize("dim", [5, 100])  # fewer features than rows, and more
@pytest.mark.parametrize("views", [(1,), (3,), (2, 1, 4)])
def test_every_answer_is_that_of_a_fit_without_the_image(dim: int, views: tuple[int, ...]) -> None:
    rows = make_rows(dim, views=views)
    images = Images.of(rows)
    spectrum = Spectrum.of(rows)
    penalties = [0.03, 1.0, 300.0]
    path = spectrum.smoother.leave_out(images, 4, [t * spectrum.unit for t in penalties])
    for penalty, answers in zip(penalties, path, strict=True):
        for image, first in enumerate(images.first):
            slopes, intercept = least_squares(rows, images.index != image, penalty * spectrum.unit)
            expected = rows.features[first].astype(np.float64) @ slopes + intercept
            np.testing.assert_allclose(answers[image], expected, atol=2e-4)


def test_the_order_of_the_images_changes_no_answer() -> None:
    rows = make_rows(5)
    turn = np.random.default_rng(1).permutation(24)
    row = (3 * turn[:, None] + np.arange(3)).ravel()
    turned = TrainingRows(rows.features[row], rows.labels[row], rows.weight[row], rows.images)
    (one,), (other,) = (Spectrum.of(each).smoother.leave_out(Images.of(each), 4, [1.0]) for each in (rows, turned))
    np.testing.assert_allclose(other, one[turn], atol=1e-4)


@pytest.mark.parametrize("dim", [5, 100])
@pytest.mark.parametrize("views", [(1,), (3,), (2, 1, 4)])
@pytest.mark.parametrize("mixed", [False, True])
def test_every_answer_is_that_of_a_fit_without_the_cluster(dim: int, views: tuple[int, ...], *, mixed: bool) -> None:
    rows = make_rows(dim, views=views)
    cluster = np.random.default_rng(3).integers(4, size=24) if mixed else 4 * (np.arange(24) // 8) + np.arange(24) % 4
    rows = replace(rows, clusters=cluster[rows.images])
    images, spectrum = Images.of(rows), Spectrum.of(rows)
    penalties = [0.03, 1.0, 300.0]
    path = spectrum.smoother.leave_out(images, 4, [t * spectrum.unit for t in penalties])
    for penalty, answers in zip(penalties, path, strict=True):
        for image, first in enumerate(images.first):
            slopes, intercept = least_squares(rows, rows.clusters != cluster[image], penalty * spectrum.unit)
            expected = rows.features[first].astype(np.float64) @ slopes + intercept
            np.testing.assert_allclose(answers[image], expected, atol=3e-4)


def test_where_all_is_one_cluster_nothing_is_predicted() -> None:
    rows = replace(make_rows(5), clusters=np.zeros(72, dtype=np.int64))
    (answers,) = Spectrum.of(rows).smoother.leave_out(Images.of(rows), 4, [1.0])
    assert not answers.any()


def test_clusters_are_taken_together_with_those_of_their_shape() -> None:
    """Of images 0 to 4 with 2, 1, 2, 1, 2 rows and the labels 0, 0, 1, 0, 0, in the clusters 0, 1, 0, 1, 2."""
    image = np.array([0, 0, 1, 2, 2, 3, 4, 4])
    labels, cluster = np.array([0, 0, 1, 0, 0]), np.array([0, 1, 0, 1, 2])
    rows = TrainingRows(np.zeros((8, 1), dtype=np.float32), labels[image], np.ones(8), image, cluster[image])
    found = [
        (block.rows.tolist(), block.images.tolist(), block.places.tolist(), block.mixed)
        for block in blocks_of(Images.of(rows))
    ]
    assert found == [
        ([[6, 7]], [[4]], [[0]], False),
        ([[2, 5]], [[1, 3]], [[0, 1]], False),
        ([[0, 1, 3, 4]], [[0, 2]], [[0, 2]], True),
    ]
