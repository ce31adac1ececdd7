"""The streamed linear layer: one pass an epoch for all folds, as accurate as in memory, blind to held-out images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from frozenprobe.cache.contents import Split
from frozenprobe.cache.store import Features
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.fit.trainer import FittedProbe
from frozenprobe.probe.heads import linear
from frozenprobe.probe.heads.linear import LinearHead
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.stream.linear import fit_linear, shuffled
from frozenprobe.probe.stream.moments import COPIES, Stream
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")

VIEWS = Views(train=(0, 1, 2, 3, 4), val=(0, 1), test=(0, 1))
BUFFER = 4 * COPIES * 64 * 12 * 2  # bytes: two blocks of the file in a buffer


def make_stream(features: Features, *, folds: int = 4, **changes: Any) -> Stream:
    count = len(features.train)
    weight, labels = np.ones(count), features.train.labels
    return Stream(
        features, VIEWS, labels, np.arange(count) % folds, weight, np.arange(count), **({"memory": BUFFER} | changes)
    )


def fit(stream: Stream, *, seed: int = 0, **settings: Any) -> list[FittedProbe]:
    return fit_linear(stream, LinearHead(**settings), seed=seed, tell=lambda stage, done, total: None)


@pytest.mark.parametrize("aggregate", ["rows", "mean", "clean"])
def test_it_is_as_accurate_as_in_memory_on_images_that_lie_class_by_class(
    aggregate: str, make_features: MakeFeatures
) -> None:
    features = make_features(per_class=100, noise=0.9)
    asked = {"head": "linear", "settings": {"epochs": 15, "lr": 0.01}, "aggregate": aggregate, "near_duplicates": 0.0}
    whole, parts = (
        cross_validate(features, ProbeOptions(**asked, memory=memory))  # type: ignore[arg-type]
        for memory in (None, 4 * BUFFER)
    )
    right = [(result.oof.argmax(axis=1) == features.train.labels).mean() for result in (whole, parts)]
    assert right[0] > 0.9
    assert right[1] > right[0] - 0.02
    assert (parts.test.argmax(axis=1) == whole.test.argmax(axis=1)).all()
    assert parts.refit.iterations == 15
    assert parts.refit.objective == pytest.approx(whole.refit.objective, rel=0.35)  # a small buffer mixes less


def test_a_seed_decides_everything(make_features: MakeFeatures) -> None:
    stream = make_stream(make_features(per_class=40))
    one, same, other = (fit(stream, seed=seed, epochs=2)[0].head.arrays()["coefficients"] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_an_epoch_reads_every_image_once_for_all_folds_and_shows_every_view_in_time(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = make_stream(make_features(per_class=40))
    read: list[tuple[int, int, int]] = []
    true_read = Features.read

    def spy(self: Features, split: str, views: Any, rows: slice = slice(None)) -> Any:
        if len(views) == 1:
            read.append((rows.start, rows.stop, views[0]))
        return true_read(self, split, views, rows)

    monkeypatch.setattr(Features, "read", spy)
    fit(stream, epochs=12)
    assert len(read) == 12 * 3
    for epoch in range(12):
        blocks = sorted(read[3 * epoch : 3 * epoch + 3])
        assert [block[:2] for block in blocks] == [(0, 64), (64, 128), (128, 160)]
    assert {view for *_, view in read} == set(VIEWS.train)
    orders = {tuple(start for start, *_ in read[3 * epoch : 3 * epoch + 3]) for epoch in range(12)}
    assert len(orders) > 2


def test_a_buffer_is_bounded_and_mixes_blocks(make_features: MakeFeatures) -> None:
    stream = make_stream(make_features(per_class=80))  # five blocks
    buffers = list(shuffled(stream, np.random.default_rng(0)))
    assert [len(images) for images, _ in buffers] == [len(rows) for _, rows in buffers]
    assert max(len(images) for images, _ in buffers) == 128
    assert sorted(np.concatenate([images for images, _ in buffers]).tolist()) == list(range(320))
    stored = stream.features.read("train", VIEWS.train)
    for images, rows in buffers:
        assert (np.abs(stored[images] - rows[:, None]).max(axis=2).min(axis=1) == 0).all()
        assert len(images) == 64 or len(set((images[:32] // 64).tolist())) == 2


@pytest.mark.parametrize("scale", ["global", "standard"])
def test_poison_in_a_fold_changes_nothing_of_the_layer_without_it(scale: str, make_features: MakeFeatures) -> None:
    features = make_features(per_class=40)
    clean = fit(make_stream(features, scale=scale), epochs=3)
    vectors = features.read("train", range(5))
    held = np.arange(160) % 4 == 1
    vectors[held] = 3 - 2 * vectors[held]
    train = Split(features.train.ids, features.train.hashes, features.train.usable, (features.train.labels + held) % 4)
    found = fit(make_stream(rewrite(features, "poisoned.h5", vectors=vectors, train=train), scale=scale), epochs=3)
    one, other = (each[1].head.arrays()["coefficients"] for each in (found, clean))
    np.testing.assert_allclose(one, other, atol=1e-4)  # the origin of the sums may round otherwise
    assert np.abs(found[-1].head.arrays()["coefficients"] - clean[-1].head.arrays()["coefficients"]).max() > 1e-3


def test_a_class_that_a_fold_never_saw_has_no_output_there(make_features: MakeFeatures) -> None:
    stream = make_stream(make_features(classes=3, labels=[0] * 8 + [1] * 8 + [2]))
    fitted = fit(stream, epochs=1)
    assert fitted[0].classes.tolist() == [0, 1]  # image 16, the only one of its class, is in fold 0
    assert fitted[1].classes.tolist() == [0, 1, 2]
    assert (fitted[0].predict(stream.features.read("train", VIEWS.val))[:, 2] == 0).all()


def test_without_epochs_named_there_are_as_many_as_in_memory(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "LEAST_STEPS", 150)
    features = make_features(per_class=200, dim=4, views=0)
    stream = make_stream(features, folds=2)
    stream = Stream(features, Views((0, 1), (0,), (0,)), stream.labels, stream.folds, stream.weight, stream.clusters)
    assert fit(stream, batch=400)[0].head.convergence.iterations == 75  # two steps an epoch
