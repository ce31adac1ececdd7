"""Features that a head can learn nothing from are refused before it is fitted, and no others."""

import numpy as np
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats
from frozenprobe.probe.fit.spread import LOOKED_AT, find_fault
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.options import SCALES


def make_vectors(count: int = 30) -> Floats:
    return np.random.default_rng(0).normal(1, 1, (count, 2, 6)).astype(np.float32)


def line(count: int = 30) -> Floats:
    """One direction, different lengths."""
    return np.outer(np.linspace(1, 9, 2 * count), np.arange(1, 7)).reshape(count, 2, 6).astype(np.float32)


def fault(
    vectors: Floats, head: str = "lda", scale: str = "global", aggregate: str = "rows"
) -> FrozenprobeError | None:
    return find_fault(vectors, head=head, scale=scale, aggregate=aggregate, file="features/a.h5")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("head", HEADS)
def test_equal_features_are_refused_by_every_head_and_others_by_none(head: str, scale: str) -> None:
    assert fault(make_vectors(), head, scale) is None
    for value in (0.0, 0.3, 1e20, 1e-24):
        found = fault(np.full((30, 2, 6), value, dtype=np.float32), head, scale)
        assert found is not None
        assert found.found == "the same features for all of them"
        assert "features/a.h5" in found.where
        assert f"--head {head}" in found.where
        assert "6 feature(s)" in found.where


def test_views_that_differ_do_not_hide_images_that_do_not() -> None:
    vectors = make_vectors()
    vectors[:] = vectors[:1]
    assert fault(vectors) is not None
    assert fault(vectors, aggregate="clean") is not None


def test_of_views_that_are_trained_on_one_that_differs_is_enough() -> None:
    vectors = make_vectors()
    vectors[:, 0] = vectors[0, 0]  # the clean view
    assert fault(vectors) is fault(vectors, aggregate="mean") is None
    assert fault(vectors, aggregate="clean") is not None


def test_features_that_differ_in_length_alone_are_refused_where_lengths_are_nothing_with_the_options_to_paste() -> None:
    for head, scale in (("logreg", "global"), ("logreg", "l2"), ("cosine", "none"), ("knn", "global")):
        found = fault(line(), head, scale)
        assert found is not None
        assert found.found == "the same direction for all of them"
        other = "lda" if HEADS[head].directions else head
        assert f"--head {other} --scale standard" in found.remedy
        assert fault(line(), other, "standard") is None
    assert fault(line(), "logreg", "none") is None
    assert fault(line()[..., :1], "logreg") is None  # of one feature `global` keeps the length
    assert fault(line()[..., :1], "cosine", "none") is not None


def test_one_image_that_differs_is_enough_wherever_it_is() -> None:
    vectors = np.full((3 * LOOKED_AT, 2, 6), 0.3, dtype=np.float32)
    vectors[1, :, 2] = 0.4
    assert fault(vectors) is None
    assert fault(vectors, scale="standard") is None


@pytest.mark.parametrize("size", [1e-30, 1e-24, 1e20, 1e30])
def test_features_of_any_size_are_taken_where_a_scaling_undoes_it(size: float) -> None:
    vectors = make_vectors() * np.float32(size)
    assert all(fault(vectors, "svm", scale) is None for scale in ("global", "l2", "standard"))
    refused = fault(vectors, "lda", "none")
    assert refused is not None
    assert "--scale standard" in refused.remedy
    assert fault(vectors, "cosine", "none") is None


@pytest.mark.parametrize("head", HEADS)
def test_a_penalty_or_a_learning_rate_in_units_of_tiny_features_is_refused(head: str) -> None:
    refused = fault(make_vectors() * np.float32(1e-6), head, "none") is not None
    assert refused == (head in ("logreg", "svm", "linear", "mlp", "report"))
