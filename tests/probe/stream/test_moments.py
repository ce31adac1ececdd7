"""Streaming: the same answers as from rows in memory, in a bounded part of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.store import Features, write_features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.lda import SHRINKAGES, ShrinkageLdaHead
from frozenprobe.probe.heads.parts.scaling import fit_scaling
from frozenprobe.probe.heads.parts.temperature import apply_temperature, fit_temperature
from frozenprobe.probe.heads.ridge import RidgeHead
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import SCALES
from frozenprobe.probe.stream.moments import Stream, stream_probe
from tests.conftest import SPEC, MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")

Doubles = npt.NDArray[np.float64]
VIEWS = Views(train=(0, 1, 2, 3, 4), val=(0, 1), test=(0, 1))
SMALL = 8000  # bytes: blocks of a few images


def make_stream(features: Features, *, scale: str = "global", memory: int = SMALL, folds: int = 4) -> Stream:
    count = len(features.train)
    weight, labels = np.linspace(0.5, 1.5, count), features.train.labels
    return Stream(
        features, VIEWS, labels, np.arange(count) % folds, weight, np.arange(count), scale=scale, memory=memory
    )


def in_memory(stream: Stream, head: ShrinkageLdaHead | RidgeHead, fold: int | None) -> tuple[LinearModel, Doubles]:
    """The head fitted to the rows outside a fold, and its answers to all training images."""
    vectors, labels = stream.features.read("train", VIEWS.train), stream.labels
    kept = np.flatnonzero(stream.folds != (-1 if fold is None else fold))
    rows, weight = vectors[kept].reshape(-1, vectors.shape[2]), np.repeat(stream.weight[kept] / 5, 5)
    scaling = fit_scaling(stream.scale, rows, weight)
    training = TrainingRows(scaling.apply(rows), np.repeat(labels[kept], 5), weight, np.repeat(np.arange(len(kept)), 5))
    model = head.fit(training, seed=0)
    shown = scaling.apply(vectors[:, VIEWS.val])
    return model, np.mean([model.probabilities(shown[:, view]) for view in (0, 1)], axis=0)


def plain(model: LinearModel) -> LinearModel:
    """The model before its temperature."""
    temperature = model.chosen["temperature"]
    return replace(
        model, coefficients=temperature * model.coefficients, intercepts=temperature * model.intercepts, chosen={}
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("head", [ShrinkageLdaHead(0.3), RidgeHead(0.1)], ids=["lda", "ridge"])
def test_a_pinned_head_is_that_of_rows_in_memory_but_for_the_temperature(
    head: ShrinkageLdaHead | RidgeHead, scale: str, make_features: MakeFeatures
) -> None:
    stream = make_stream(make_features(noise=1.5, per_class=9), scale=scale)
    streamed = stream_probe(stream, head)
    for fold, found in [*enumerate(streamed.fold_models), (None, streamed.final)]:
        model, _ = in_memory(stream, head, fold)
        one, other = plain(found.head), plain(model)
        np.testing.assert_allclose(
            one.coefficients, other.coefficients, rtol=1e-3, atol=1e-4 * np.abs(other.coefficients).max()
        )
        np.testing.assert_allclose(one.intercepts, other.intercepts, rtol=1e-3, atol=1e-3)
        # in memory other images are left out: every one, or a fifth; here a third or a quarter of them at once
        assert 0.5 < found.head.chosen["temperature"] / model.chosen["temperature"] < 2


@pytest.mark.parametrize("memory", [1, SMALL, 1 << 20])
def test_the_size_of_blocks_changes_no_answer(memory: int, make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5)
    whole = stream_probe(make_stream(features, memory=1 << 26), ShrinkageLdaHead(0.3))
    parts = stream_probe(make_stream(features, memory=memory), ShrinkageLdaHead(0.3))
    for one, other in zip((*parts.fold_models, parts.final), (*whole.fold_models, whole.final), strict=True):
        np.testing.assert_allclose(plain(one.head).coefficients, plain(other.head).coefficients, rtol=1e-3, atol=1e-4)


def scatter_of(rows: TrainingRows) -> float:
    """The mean variance of a feature within classes."""
    away = [
        rows.features[rows.labels == label] - rows.features[rows.labels == label].mean(axis=0) for label in range(4)
    ]
    return float(np.square(np.concatenate(away)).mean())


def test_the_choice_is_the_plain_loop_over_the_other_folds(make_features: MakeFeatures) -> None:
    stream = make_stream(make_features(noise=2.5, per_class=12), memory=1 << 26)
    labels, vectors = stream.labels, stream.features.read("train", VIEWS.train)
    outside = stream.folds != 0
    every, weights = vectors[outside].reshape(-1, 12), np.repeat(stream.weight[outside] / 5, 5)
    scaled = fit_scaling("global", every, weights).apply(every)
    final = scatter_of(TrainingRows(scaled, np.repeat(labels[outside], 5), weights, np.arange(len(every))))
    losses = []
    for shrinkage in SHRINKAGES:
        scores = np.zeros((len(labels), 4))
        for inner in (1, 2, 3):
            kept = outside & (stream.folds != inner)
            rows, weight = vectors[kept].reshape(-1, 12), np.repeat(stream.weight[kept] / 5, 5)
            scaling = fit_scaling("global", rows, weight)
            training = TrainingRows(scaling.apply(rows), np.repeat(labels[kept], 5), weight, np.arange(len(rows)))
            model = plain(ShrinkageLdaHead(shrinkage).fit(training, seed=0))
            shown = scaling.apply(vectors[stream.folds == inner, 0])
            larger = scatter_of(training) / final  # it knows less of the scatter within classes than the final fit
            scores[stream.folds == inner] = larger * (shown @ model.coefficients.T + model.intercepts)
        temperature = fit_temperature(scores[outside], labels[outside], stream.weight[outside], unknown=1.0)
        chances = apply_temperature(scores, temperature)[np.arange(len(labels)), labels]
        losses.append((np.average(-np.log(chances[outside]), weights=stream.weight[outside]), shrinkage, temperature))
    _, shrinkage, temperature = min(losses)
    found = stream_probe(stream, ShrinkageLdaHead()).fold_models[0].head.chosen
    assert found == {"shrinkage": shrinkage, "temperature": pytest.approx(temperature, rel=1e-2)}


@pytest.mark.parametrize("head", [ShrinkageLdaHead(), RidgeHead(), ShrinkageLdaHead(0.3), RidgeHead(0.1)])
@pytest.mark.parametrize("folds", [2, 5])
def test_poison_in_a_fold_changes_no_answer_of_it(
    head: ShrinkageLdaHead | RidgeHead, folds: int, make_features: MakeFeatures
) -> None:
    features = make_features(noise=1.5)
    clean = stream_probe(make_stream(features, folds=folds, memory=1 << 26), head)
    vectors = features.read("train", range(5))
    held = np.arange(24) % folds == 1
    vectors[held] += 3
    train = Split(features.train.ids, features.train.hashes, features.train.usable, (features.train.labels + held) % 4)
    poisoned = rewrite(features, "poisoned.h5", vectors=vectors, train=train)
    found = stream_probe(make_stream(poisoned, folds=folds, memory=1 << 26), head)
    one, other = (each.fold_models[1].head for each in (found, clean))  # the origin of the sums may round otherwise
    np.testing.assert_allclose(one.coefficients, other.coefficients, rtol=1e-3, atol=1e-4)
    assert one.chosen == pytest.approx(other.chosen, rel=1e-3)
    assert np.abs(found.final.head.coefficients - clean.final.head.coefficients).max() > 1e-3


def test_a_class_of_one_image_gets_probability_zero_without_it(make_features: MakeFeatures) -> None:
    stream = make_stream(make_features(classes=3, labels=[0] * 8 + [1] * 8 + [2]))
    for head in (ShrinkageLdaHead(), RidgeHead()):
        streamed = stream_probe(stream, head)
        assert streamed.oof[16, 2] == 0
        np.testing.assert_allclose(streamed.oof.sum(axis=1), 1, atol=1e-9)


def test_a_sample_is_enough_to_choose_on(make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5, per_class=40)
    streamed = stream_probe(make_stream(features, memory=20_000), RidgeHead())
    assert (streamed.oof.argmax(axis=1) == features.train.labels).mean() > 0.7
    assert 1e-3 < streamed.final.head.chosen["temperature"] < 1


def test_without_test_images_there_is_still_a_model(make_features: MakeFeatures) -> None:
    assert stream_probe(make_stream(make_features(test=0)), ShrinkageLdaHead(0.3)).test.shape == (0, 4)


def test_features_that_are_not_finite_are_refused_with_the_images_name(make_features: MakeFeatures) -> None:
    features = make_features()
    vectors = features.read("train", range(5))
    vectors[20, 3] = np.nan
    with pytest.raises(FrozenprobeError, match=r"image 20\.jpg"):
        stream_probe(make_stream(rewrite(features, "broken.h5", vectors=vectors)), RidgeHead())


def test_progress_is_told_to_the_end(make_features: MakeFeatures) -> None:
    told: list[tuple[str, int, int]] = []
    stream_probe(make_stream(make_features()), RidgeHead(), progress=lambda *step: told.append(step))
    for stage, total in (("summing", 24), ("fitting", 5), ("predicting", 24)):
        assert [step for step in told if step[0] == stage][-1] == (stage, total, total)


IMAGES, DIM, AUGMENTED = 16_000, 256, 10
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import scipy.linalg
from frozenprobe.cache.store import open_features
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.stream.moments import Stream, stream_probe
from frozenprobe.probe.inputs import Views
path = Path(sys.argv[1])
features = open_features(path)
count = len(features.train)
views, labels = Views(tuple(range(12)), (0, 1), (0,)), features.train.labels
stream = Stream(features, views, labels, np.arange(count) % 4, np.ones(count), np.arange(count), memory=20 << 20)
np.ones((300, 300)) @ np.ones((300, 300))  # the buffers of the library of matrices are not ours
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + path.stat().st_size * 3 // 4
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    features.read("train", range(12))
except MemoryError:
    print("too large")
streamed = stream_probe(stream, ShrinkageLdaHead())
print((streamed.oof.argmax(axis=1) == features.train.labels).mean())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to a limit of its memory")
def test_features_larger_than_the_memory_it_takes_are_probed(tmp_path: Path) -> None:
    labels = np.arange(IMAGES) % 10
    views = tuple(f"aug{view}" for view in range(AUGMENTED))
    train = Split(
        ids=tuple(f"{image}.jpg" for image in range(IMAGES)),
        hashes=tuple(f"{image:064x}" for image in range(IMAGES)),
        usable=np.ones(IMAGES, dtype=bool),
        labels=labels,
    )
    spec = type(SPEC)(**(vars(SPEC) | {"storage_dtype": "float16"}))
    names = tuple(f"class {label}" for label in range(10))
    contents = Contents(spec, (("head-input", DIM),), ("clean", "hflip"), views, names, train, None, None)
    centres = np.random.default_rng(0).normal(size=(10, DIM))

    def read_block(images: slice, split: Split, wanted: object) -> npt.NDArray[np.float16]:
        rng = np.random.default_rng(images.start)
        rows = centres[labels[images]] + 3 * rng.normal(size=(len(labels[images]), DIM))
        return (rows[:, None] + rng.normal(size=(1, 2 + AUGMENTED, DIM))).astype(np.float16)

    path = tmp_path / "large.h5"
    write_features(path, contents, read_block)
    size = path.stat().st_size
    assert size > 95e6
    run = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    refused, accuracy = run.stdout.splitlines()
    assert refused == "too large"  # reading all rows at once, before any of them is scaled
    assert float(accuracy) > 0.9


def test_a_cluster_lies_in_one_section(make_features: MakeFeatures) -> None:
    features = make_features(per_class=12)
    clusters = np.arange(48) // 12 * 6 + np.arange(48) % 6  # two images of a class each
    stream = replace(make_stream(features, folds=2), folds=clusters % 2, clusters=clusters)
    sections = stream.sections
    assert len(set(sections)) == 6
    assert all(len(set(sections[clusters == cluster])) == 1 for cluster in range(24))
