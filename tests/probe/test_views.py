"""Which views are trained on, scored on and answered on."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.views import Views, choose_views, read_finite
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter


@pytest.fixture
def features(make_features: MakeFeatures) -> Features:
    """Three fixed views and four augmented ones."""
    return make_features(test_views=("clean", "hflip", "direct"), views=4)


def choose(features: Features, *, augmented_only: bool = False, **options: object) -> Views:
    return choose_views(features, ProbeOptions(**options), augmented_only=augmented_only)  # type: ignore[arg-type]


def test_all_views_are_trained_on_and_the_fixed_ones_scored_and_answered_on(features: Features) -> None:
    assert choose(features) == Views((0, 1, 2, 3, 4, 5, 6), (0, 1, 2), (0, 1, 2))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_views_k_means_the_first_k_augmented_ones(features: Features, count: int) -> None:
    views = choose(features, views=count)
    assert views.train == (0, 1, 2, *range(3, 3 + count))
    assert views.val == views.test == (0, 1, 2)


def test_random_views_are_never_scored_on(features: Features) -> None:
    for augmented_only in (False, True):
        views = choose(features, augmented_only=augmented_only)
        assert max(views.val + views.test) < len(features.test_views)


def test_test_views_are_used_in_the_order_of_the_file(features: Features) -> None:
    views = choose(features, test_views=("direct", "clean"))
    assert views.val == views.test == (0, 2)
    assert views.train == (0, 2, 3, 4, 5, 6)


def test_the_report_trains_on_augmented_views_scores_the_clean_and_answers_on_direct(features: Features) -> None:
    assert choose(features, augmented_only=True) == Views((3, 4, 5, 6), (0,), (2,))
    assert choose(features, augmented_only=True, views=2).train == (3, 4)


def test_the_report_answers_on_the_clean_view_where_direct_is_not_stored(make_features: MakeFeatures) -> None:
    assert choose(make_features(), augmented_only=True).test == (0,)


def test_the_report_can_be_told_its_test_views(features: Features) -> None:
    assert choose(features, augmented_only=True, test_views=("hflip",)) == Views((3, 4, 5, 6), (1,), (1,))


def test_the_report_without_augmented_views_is_an_error_that_says_how_to_get_them(features: Features) -> None:
    with pytest.raises(FrozenprobeError, match=r"--recipe report --views 9"):
        choose(features, augmented_only=True, views=0)


@pytest.mark.parametrize("count", [-1, 5])
def test_more_views_than_stored_are_an_error_that_says_how_to_get_them(features: Features, count: int) -> None:
    with pytest.raises(FrozenprobeError, match="the file has 4") as caught:
        choose(features, views=count)
    assert caught.value.where == "--views"


def test_an_unknown_test_view_is_an_error_that_lists_those_stored(features: Features) -> None:
    with pytest.raises(FrozenprobeError, match="clean, hflip, direct"):
        choose(features, test_views=("clean", "hflop"))


def test_read_finite_reads_the_views_asked_for(features: Features) -> None:
    with h5py.File(features.path) as file:
        stored = file["train/features/head-input"][:]
    np.testing.assert_array_equal(read_finite(features, "train", (5, 0)), stored[[5, 0]].swapaxes(0, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_with_the_images_names(features: Features, value: float) -> None:
    train, test = features.read("train", range(len(features.views))), features.read("test", range(3))
    train[2, 1, 3] = test[4, 0, 0] = value
    features = rewrite(features, "broken.h5", vectors=train, test_vectors=test)
    with pytest.raises(FrozenprobeError, match=r"1 train images: image 2\.jpg"):
        read_finite(features, "train", (0, 1))
    with pytest.raises(FrozenprobeError, match=r"1 test images: t4\.jpg"):
        read_finite(features, "test", (0,))
    assert np.isfinite(read_finite(features, "train", (0, 2))).all()  # a view that is not used hurts nobody
