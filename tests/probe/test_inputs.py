"""From feature files to arrays: ways to treat views, and several files of the same images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.inputs import Inputs, read_inputs
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.views import choose_views
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
