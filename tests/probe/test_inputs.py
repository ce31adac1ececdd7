"""From feature files to arrays: ways to treat views, and several files of the same images."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.inputs import Inputs, Views, choose_views, read_finite, read_inputs
from frozenprobe.probe.options import ProbeOptions
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")


def read(*files: Features) -> list[Inputs]:
    return read_inputs(files, [choose_views(each, ProbeOptions(), augmented_only=False) for each in files])


def test_one_file_is_one_source_without_a_name(make_features: MakeFeatures) -> None:
    features = make_features(views=2)
    (source,) = read(features)
    assert source.name == ""
    np.testing.assert_array_equal(source.train, features.read("train", range(4)))
    np.testing.assert_array_equal(source.val, features.read("train", (0, 1)))
    np.testing.assert_array_equal(source.test, features.read("test", (0, 1)))


@pytest.mark.parametrize(("how", "views"), [("rows", 4), ("logit", 4), ("mean", 1), ("clean", 1)])
def test_views_are_treated_as_asked(how: str, views: int, make_features: MakeFeatures) -> None:
    (source,) = read(make_features(views=2))
    made = source.aggregated(how)
    assert made.train.shape[1] == views
    if how == "mean":
        np.testing.assert_allclose(made.train[:, 0], source.train.mean(axis=1), atol=1e-6)
        np.testing.assert_allclose(made.test[:, 0], source.test.mean(axis=1), atol=1e-6)
    if how == "clean":
        np.testing.assert_array_equal(made.val[:, 0], source.val[:, 0])


def test_an_unknown_way_names_the_nearest(make_features: MakeFeatures) -> None:
    (source,) = read(make_features())
    with pytest.raises(FrozenprobeError, match="did you mean mean"):
        source.aggregated("meen")


def test_files_of_other_order_views_and_width_are_matched_by_id(make_features: MakeFeatures) -> None:
    one = make_features(name="one.h5", views=3, dim=5)
    other = make_features(name="other.h5", views=1, dim=7, seed=1)
    order = np.random.default_rng(0).permutation(24)
    train = other.train
    shuffled = rewrite(
        other,
        "shuffled.h5",
        vectors=other.read("train", range(3))[order],
        train=replace(
            train,
            ids=tuple(train.ids[row] for row in order),
            hashes=tuple(train.hashes[row] for row in order),
            labels=train.labels[order],
        ),
    )
    first, second, joined = read(one, shuffled)
    assert [first.name, second.name, joined.name] == ["one", "shuffled", "side by side"]
    np.testing.assert_array_equal(second.train, other.read("train", range(3)))
    assert joined.train.shape == (24, 3, 12)
    assert joined.val.shape == (24, 2, 12)
    left, right = joined.train[..., :5], joined.train[..., 5:]
    np.testing.assert_allclose(np.linalg.norm(left, axis=2), 1, atol=1e-6)
    np.testing.assert_allclose(right * np.linalg.norm(second.train, axis=2, keepdims=True), second.train, atol=1e-5)


def test_files_of_other_images_or_labels_are_refused(make_features: MakeFeatures) -> None:
    one = make_features(name="one.h5")
    train = one.train
    others = {
        "label": replace(train, labels=np.roll(train.labels, 1)),
        "content": replace(train, hashes=(*train.hashes[:-1], "f" * 64)),
        "id": replace(train, ids=(*train.ids[:-1], "another.jpg")),
    }
    for kind, split in others.items():
        other = rewrite(one, f"{kind}.h5", vectors=one.read("train", range(len(one.views))), train=split)
        with pytest.raises(FrozenprobeError, match="The same train images") as caught:
            read(one, other)
        assert "image 23.jpg" in str(caught.value) or kind == "label"
    fewer = make_features(name="fewer.h5", test=3)
    with pytest.raises(FrozenprobeError, match="The same test images"):
        read(one, fewer)


# Which views are trained on, scored on and predicted on


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
