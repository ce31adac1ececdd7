"""Fixtures: small image folders in odd sizes, feature files of synthetic vectors, a tiny real network's weights."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny matrices: threads would only wait for each other
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's would spin while they wait, on cores that others need

import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from frozenprobe.cache.container.read import Vectors
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import Features, open_features, write_features
from frozenprobe.probe.heads.parts.temperature import Choice, with_temperature
from frozenprobe.system.csv_tables import Table

if TYPE_CHECKING:
    from frozenprobe.extract.views.cut import Job

SPEC = FeatureSpec(
    backbone="synthetic",
    weights_digest="0" * 64,
    preprocessing='{"name":"weights"}',
    recipe="mild",
    recipe_version=1,
    seed=0,
    decoding="full",
    augment_on="cpu",
    tap="head-input",
    engine="torch",
    compute_dtype="float32",
    storage_dtype="float32",
)


# A run of the suite is repeatable: what fails once fails again. `--hypothesis-profile explore` looks for new examples.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("explore", derandomize=False, deadline=None)
SEARCH = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=SEARCH)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long`: the fault harness injects hundreds to thousands of faults in place of a few."""
    parser.addoption("--long", action="store_true", help="inject many faults (tests/faults), for tens of minutes")


@pytest.fixture
def before_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """LDA and ridge answer as they are solved: what their temperature is fitted to differs from route to route."""
    monkeypatch.setattr(Choice, "settle", lambda choice, model, *rows, **chosen: with_temperature(model, 1.0, **chosen))


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that write many small files and do not ask whether they survive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Waited(BaseException):
    """Somebody waits for what never comes."""


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Fail after some seconds: what waits for a pipe that nobody writes to waits for ever."""

    def stop(number: int, frame: object) -> None:
        raise Waited

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def write_image(path: Path, key: int, size: tuple[int, int] = (61, 47)) -> Path:
    """A smooth random picture, different for every key; JPEG or PNG by the ending."""
    rng = np.random.default_rng(key)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """`data/train` with 3 classes x 4 images, `data/test` with 5, and a sample submission; odd sizes."""
    data = tmp_path / "data"
    for label, name in enumerate(["10", "2", "äpfel rot"]):
        for index in range(4):
            write_image(data / "train" / name / f"{index}.jpg", 100 * label + index, (61 + index, 47 + 2 * label))
    for index in range(5):
        write_image(data / "test" / f"{index:03d}.jpg", 1000 + index, (45 + index, 70))
    rows = "".join(f"{index:03d}.jpg,2\n" for index in range(5))
    (data / "sample_submission.csv").write_text("ID,Label\n" + rows, encoding="utf-8")
    return data


VIEWS_OF_JOBS = ("clean", "hflip", "direct", "aug1", "aug2")


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Four images in odd sizes, and five views of each to cut."""
    from frozenprobe.extract.views.cut import Job

    paths = [write_image(tmp_path / f"{index}.png", index, (40 + index, 31)) for index in range(4)]
    return [Job(path, hashlib.sha256(path.read_bytes()).hexdigest(), VIEWS_OF_JOBS) for path in paths]


MakeFeatures = Callable[..., Features]


@pytest.fixture
def make_features(tmp_path: Path) -> MakeFeatures:
    """Writes and opens a feature file of Gaussian classes; see the inner function for what can be asked for."""

    def make(
        *,
        name: str = "synthetic.h5",
        classes: int = 4,
        per_class: int = 6,
        test: int = 7,
        views: int = 3,
        test_views: tuple[str, ...] = ("clean", "hflip"),
        dim: int = 12,
        taps: tuple[tuple[str, int], ...] | None = None,
        noise: float = 0.6,
        seed: int = 0,
        class_names: tuple[str, ...] | None = None,
        labels: list[int] | None = None,
        hashes: tuple[str, ...] | None = None,
        groups: tuple[str, ...] | None = None,
        folds: tuple[str, ...] | None = None,
        sample: Table | None = None,
        unusable: tuple[int, ...] = (),
        created: str = "2026-01-01T00:00:00.000000+00:00",
    ) -> Features:
        rng = np.random.default_rng(seed)
        dim = sum(each for _, each in taps) if taps else dim
        centres = rng.normal(size=(classes, dim))
        truth = np.array(labels if labels is not None else np.repeat(np.arange(classes), per_class), dtype=np.int64)
        augmented = tuple(f"aug{view + 1}" for view in range(views))
        codes = hashes or tuple(f"{index:064x}" for index in range(len(truth)))
        test_truth = rng.integers(classes, size=test)
        test_codes = tuple(f"{10_000 + index:064x}" for index in range(test))
        usable = np.array([index not in unusable for index in range(test)], dtype=bool)
        train = Split(
            ids=tuple(f"image {index}.jpg" for index in range(len(truth))),
            hashes=codes,
            usable=np.ones(len(truth), dtype=bool),
            labels=truth,
            groups=groups,
            folds=folds,
        )
        test_split = Split(tuple(f"t{index}.jpg" for index in range(test)), test_codes, usable) if test else None
        contents = Contents(
            spec=SPEC,
            taps=taps or (("head-input", dim),),
            test_views=test_views,
            augmented_views=augmented,
            class_names=class_names or tuple(f"class {label}" for label in range(classes)),
            train=train,
            test=test_split,
            sample=sample,
            about={"created": created, "licence": "none"},
        )
        path = tmp_path / "features" / name
        rows: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
        for code, label in zip(codes, truth, strict=True):
            if (code, "clean") not in rows:
                image = centres[label] + noise * rng.normal(size=dim)
                drawn = image + 0.2 * noise * rng.normal(size=(len(contents.views), dim))
                rows |= {(code, view): row for view, row in zip(contents.views, drawn, strict=True)}
        for code, label in zip(np.array(test_codes)[usable].tolist(), test_truth[usable], strict=True):
            drawn = centres[label] + noise * rng.normal(size=(len(test_views), dim))
            rows |= {(code, view): row for view, row in zip(test_views, drawn, strict=True)}
        store = RowStore(path, contents)  # one piece: a piece an image would cost an fsync an image
        store.add([code for code, _ in rows], [view for _, view in rows], np.array([*rows.values()], dtype=np.float32))
        write_features(path, contents, store.read_block)
        store.discard()
        return open_features(path)

    return make


def rewrite(
    features: Features,
    name: str,
    *,
    vectors: Vectors | None = None,
    test_vectors: Vectors | None = None,
    **changes: object,
) -> Features:
    """The feature file once more under another name, with other vectors or other contents."""
    kept = {field.name: getattr(features, field.name) for field in fields(Contents)}
    contents = Contents(**(kept | changes))
    rows: dict[tuple[str, str], Vectors] = {}
    for split_name, split, views in contents.splits:
        given = vectors if split_name == "train" else test_vectors
        stored = features.read(split_name, range(len(views))) if given is None else given
        for code, image in zip(split.hashes, stored, strict=True):
            rows |= {(code, view): row for view, row in zip(views, image, strict=True)}

    def read_block(images: slice, split: Split, views: Sequence[str]) -> Vectors:
        return np.array([[rows[code, view] for view in views] for code in split.hashes[images]])

    path = features.path.with_name(name)
    write_features(path, contents, read_block)
    return open_features(path)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict in torchvision's VisionTransformer layout: 32 px, patch 8, width 24, 2 blocks; seeded values."""
    import torch
    from torchvision.models import VisionTransformer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
        for parameter in vit.parameters():  # torchvision starts the classifier at zero
            torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path_factory.mktemp("weights") / "tiny_vit.pth"
    torch.save(vit.state_dict(), path)
    return path
