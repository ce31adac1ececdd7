"""Features larger than memory, through `cross_validate`: which heads stream, what the others are told, the limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.store import write_features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.heads.parts.temperature import Choice
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.stream import moments as streaming
from frozenprobe.probe.stream import outsized
from frozenprobe.probe.stream.outsized import bytes_needed, memory_limit
from tests.conftest import SPEC, MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")

SMALL = 8000  # bytes: less than the features of `make_features` need


@pytest.mark.parametrize("scale", ["global", "standard"])
@pytest.mark.parametrize("aggregate", ["rows", "logit", "mean", "clean"])
@pytest.mark.usefixtures("before_temperature")
def test_streamed_lda_is_that_in_memory(scale: str, aggregate: str, make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5, per_class=9, unusable=(2,))
    asked = {"head": "lda", "settings": {"shrinkage": 0.3}, "folds": 4, "scale": scale, "aggregate": aggregate}
    whole = cross_validate(features, ProbeOptions(**asked))  # type: ignore[arg-type]
    parts = cross_validate(features, ProbeOptions(**asked, memory=SMALL))  # type: ignore[arg-type]
    np.testing.assert_array_equal(parts.folds, whole.folds)
    np.testing.assert_allclose(parts.oof, whole.oof, atol=2e-4)
    np.testing.assert_allclose(parts.test, whole.test, atol=2e-4)
    np.testing.assert_allclose(parts.test[2], np.full(4, 1 / 4))  # could not be decoded: the shares of the classes
    assert parts.model.keys() == whole.model.keys()
    for one, other in zip(parts.fold_scores, whole.fold_scores, strict=True):
        assert (one.images, one.accuracy) == (other.images, other.accuracy)
    assert any(note.startswith("STREAMED") for note in parts.notes)
    assert not any(note.startswith("STREAMED") for note in whole.notes)


@pytest.mark.usefixtures("before_temperature")
def test_streamed_lda_balances_classes(make_features: MakeFeatures) -> None:
    features = make_features(noise=2.5, classes=2, labels=[0] * 24 + [1] * 6)
    shares = [
        cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.3}, class_weight=weight, memory=SMALL)).oof.mean(
            axis=0
        )[1]
        for weight in (None, "balanced")
    ]
    assert shares[1] > shares[0] + 0.05


@pytest.mark.parametrize("head", ["logreg", "knn", "svm", "kernel"])
def test_a_head_that_needs_the_rows_is_refused_with_sizes_and_the_heads_that_do_not(
    head: str, make_features: MakeFeatures
) -> None:
    features = make_features()
    needed = 4 * 3 * (24 * (5 + 2) + 7 * 2) * 12
    assert bytes_needed(features, Views((0, 1, 2, 3, 4), (0, 1), (0, 1))) == needed
    with pytest.raises(FrozenprobeError, match=rf"{needed / 1e9:.3g} GB: --head {head}") as refusal:
        cross_validate(features, ProbeOptions(head, memory=SMALL))
    assert "8e-06 GB allowed" in refusal.value.found
    assert "lda or ridge or linear" in refusal.value.remedy
    assert cross_validate(features, ProbeOptions(head, memory=needed)).oof.shape == (24, 4)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"transductive": True}, "--transductive"), ({"calibrate": True, "head": "linear"}, "--calibrate with linear")],
)
def test_what_cannot_be_streamed_is_refused(
    options: dict[str, object], named: str, make_features: MakeFeatures
) -> None:
    with pytest.raises(FrozenprobeError, match=named):
        cross_validate(make_features(), ProbeOptions(**({"head": "lda", "memory": SMALL} | options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "size", "says"),
    [
        ({"head": "lda"}, 0.0, "the same direction"),
        ({"head": "ridge", "scale": "standard"}, 0.0, "the same features"),
        ({"head": "linear", "settings": {"epochs": 1}}, 0.0, "the same direction"),
        ({"head": "auto"}, 0.0, "the same direction"),
        ({"head": "linear", "settings": {"epochs": 1}, "scale": "none"}, 1e-6, "e-06"),
        ({"head": "lda", "scale": "none"}, 1e20, r"e\+20"),
    ],
)
def test_streamed_features_that_a_head_can_learn_nothing_from_are_refused(
    options: dict[str, Any], size: float, says: str, make_features: MakeFeatures
) -> None:
    plain = make_features()
    vectors = plain.read("train", range(5)) * np.float32(size) + np.float32(1 - (size > 0))
    features = rewrite(plain, "useless.h5", vectors=vectors)
    with pytest.raises(FrozenprobeError, match=says) as refusal:
        cross_validate(features, ProbeOptions(**options, memory=SMALL))
    assert "useless.h5" in refusal.value.where
    assert ("--scale standard" if size else "another --backbone") in refusal.value.remedy


def test_several_files_are_refused(make_features: MakeFeatures) -> None:
    files = [make_features(), make_features(name="other.h5", seed=1)]
    with pytest.raises(FrozenprobeError, match="several feature files"):
        cross_validate(files, ProbeOptions("lda", memory=SMALL))


@pytest.mark.parametrize("memory", [0, -5, float("nan")])
def test_memory_that_is_none_is_refused(memory: float, make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="--memory"):
        cross_validate(make_features(), ProbeOptions("lda", memory=memory))


def test_auto_falls_back_to_lda_or_ridge_and_says_so(make_features: MakeFeatures) -> None:
    features = make_features(noise=1.0, per_class=12, views=30)
    result = cross_validate(features, ProbeOptions(memory=200_000))
    assert result.options.head == "auto"
    assert result.chosen.split(",")[0] in ("lda", "ridge")
    assert any("AUTO TRIED LESS" in note for note in result.notes)
    assert (result.oof.argmax(axis=1) == features.train.labels).mean() > 0.8


def test_every_fold_of_auto_takes_the_head_of_the_lower_inner_loss(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, losses = make_features(noise=1.5, per_class=12, views=30), []
    choose = streaming.choose_by_loss

    def spy(*given: Any) -> Choice:
        losses.append((found := choose(*given)).loss)
        return found

    monkeypatch.setattr(streaming, "choose_by_loss", spy)
    auto = cross_validate(features, ProbeOptions(memory=200_000))
    lower = np.array(losses).reshape(6, 2).argmin(axis=1)  # of lda and ridge, in 5 folds and the final fit
    took = [
        ("lda", "ridge").index(says.split(",")[0])
        for says in (*(row.description for row in auto.fold_scores), auto.chosen)
    ]
    assert took == lower.tolist()
    for fold in range(5):
        alone = cross_validate(features, ProbeOptions(("lda", "ridge")[took[fold]], memory=200_000))
        np.testing.assert_allclose(auto.oof[auto.folds == fold], alone.oof[auto.folds == fold], atol=1e-6)


def test_shuffled_labels_score_at_chance_when_streamed(make_features: MakeFeatures) -> None:
    result = cross_validate(make_features(per_class=12), ProbeOptions("ridge", tripwire=True, memory=SMALL * 2))
    assert any("tripwire" in note and "as it must be" in note for note in result.notes)


def test_near_duplicates_are_looked_for_only_where_clean_views_fit(make_features: MakeFeatures) -> None:
    plain = make_features(per_class=8, noise=1.5)
    vectors = plain.read("train", range(5))
    vectors[1] = vectors[0] + 1e-4
    features = rewrite(plain, "copies.h5", vectors=vectors)
    found = cross_validate(features, ProbeOptions("lda", memory=SMALL * 3))
    assert any(note.startswith("STREAMED") for note in found.notes)
    assert found.clusters[0] == found.clusters[1]
    missed = cross_validate(features, ProbeOptions("lda", memory=SMALL))
    assert len(set(missed.clusters.tolist())) == 32
    assert any("NEAR DUPLICATES WERE NOT LOOKED FOR" in note for note in missed.notes)


def test_the_limit_is_half_of_the_memory_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outsized, "total_memory", lambda: 4096 * 1000)
    assert memory_limit() == 4096 * 500
    monkeypatch.setattr(outsized, "total_memory", lambda: None)
    assert memory_limit() is None


def test_without_a_limit_that_the_system_tells_nothing_is_streamed(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outsized, "memory_limit", lambda: SMALL)
    assert any(note.startswith("STREAMED") for note in cross_validate(make_features(), ProbeOptions("lda")).notes)
    monkeypatch.setattr(outsized, "memory_limit", lambda: None)
    assert not any(note.startswith("STREAMED") for note in cross_validate(make_features(), ProbeOptions("lda")).notes)


IMAGES, DIM, AUGMENTED, CLASSES = 8_000, 256, 10, 10
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
import scipy.linalg
from frozenprobe.cache.store import open_features
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
path, memory, head = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
settings = dict(part.split("=") for part in sys.argv[4:])
if head == "linear":
    import frozenprobe.probe.stream.linear
    import torch
    torch.optim.AdamW([torch.zeros(2, requires_grad=True)])
features = open_features(path)
np.ones((300, 300)) @ np.ones((300, 300))  # the buffers of the library of matrices are not ours
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + memory + 40_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.isfinite(features.read("train", range(12)).copy())
except MemoryError:
    print("too large")
settings = {name: float(value) if "." in value else int(value) for name, value in settings.items()}
result = cross_validate(features, ProbeOptions(head, settings, folds=4, memory=memory))
print((result.oof.argmax(axis=1) == features.train.labels).mean())
print(result.notes)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8,000 images x 12 views x 256, class by class."""
    labels = np.sort(np.arange(IMAGES) % CLASSES)
    train = Split(
        ids=tuple(f"{image}.jpg" for image in range(IMAGES)),
        hashes=tuple(f"{image:064x}" for image in range(IMAGES)),
        usable=np.ones(IMAGES, dtype=bool),
        labels=labels,
    )
    spec = type(SPEC)(**(vars(SPEC) | {"storage_dtype": "float16"}))
    names, views = tuple(f"class {label}" for label in range(CLASSES)), tuple(f"aug{view}" for view in range(AUGMENTED))
    contents = Contents(spec, (("head-input", DIM),), ("clean", "hflip"), views, names, train, None, None)
    centres = np.random.default_rng(0).normal(size=(CLASSES, DIM))

    def read_block(images: slice, split: Split, wanted: object) -> npt.NDArray[np.float16]:
        rng = np.random.default_rng(images.start)
        rows = centres[labels[images]] + 3 * rng.normal(size=(len(labels[images]), DIM))
        return (rows[:, None] + rng.normal(size=(1, 2 + AUGMENTED, DIM))).astype(np.float16)

    path = tmp_path_factory.mktemp("large") / "large.h5"
    write_features(path, contents, read_block)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to a limit of its memory")
@pytest.mark.parametrize(
    ("memory", "probe"),
    [
        (50_000_000, ("lda",)),
        (140_000_000, ("ridge",)),  # enough to look for near duplicates
        (50_000_000, ("linear", "epochs=2", "lr=0.005", "batch=128")),
    ],
)
def test_cross_validate_stays_below_the_memory_it_was_given(memory: int, probe: tuple[str, ...], large: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(large), str(memory), *probe], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    refused, accuracy, notes = run.stdout.splitlines()
    assert refused == "too large"
    assert float(accuracy) > 0.9
    assert "STREAMED" in notes
    assert ("NEAR DUPLICATES" in notes) == (memory < 100_000_000)
