"""Batch size, threads, and the distance to float32: found by measuring, here on networks that say what they want."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT, find_backbone
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute import tuning
from frozenprobe.extract.compute.embedder import Embedder, Fidelity
from frozenprobe.extract.compute.tuning import LONG, check_fidelity, faster_of, find_batch_size, make_embedder
from frozenprobe.extract.views.cut import Job, ViewSettings
from frozenprobe.extract.views.preprocessing import Preprocessing
from frozenprobe.images.places import Place
from tests.extract.compute.test_embedder import CPU, OPTIONS, pixels


class Clock:
    """A device whose batches take a fixed time and a time a view, and that holds only so many views."""

    def __init__(self, fixed: float, each: float, room: int) -> None:
        self.fixed, self.each, self.room, self.now = fixed, each, room, 0.0
        self.batch_size, self.device = 0, CPU

    def start(self, batch: list[torch.Tensor], erased: list[None]) -> Callable[[], None]:
        while self.batch_size > self.room:
            self.batch_size //= 2
        self.now += self.fixed * -(-len(batch) // self.batch_size) + self.each * len(batch)
        return lambda: None


@pytest.mark.parametrize(
    ("fixed", "each", "room", "size"),
    [
        (0.0, 1.0, 1000, 8),  # nothing is gained by more than the least
        (10.0, 1.0, 1000, 256),  # the largest that is tried: 256 + 10 against 2 x (128 + 10) is 3.8 % faster
        (4.0, 1.0, 1000, 128),
        (10.0, 1.0, 40, 32),  # 64 do not fit
        (10.0, 1.0, 3, 2),  # not even the least
    ],
)
def test_the_smallest_batch_is_found_that_is_nearly_as_fast_as_the_next(
    fixed: float, each: float, room: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Clock(fixed, each, room)
    monkeypatch.setattr(tuning, "perf_counter", lambda: device.now)
    assert find_batch_size(device, 1) == size  # type: ignore[arg-type]


def test_memory_that_runs_out_in_an_embedder_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch takes a second, so each is faster than half of it, until 32 views find no room."""
    embedder = Embedder(backbone_of(nn.Flatten()), CPU, "float32")
    forward = embedder.forward

    def cramped(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    embedder.forward = cramped
    monkeypatch.setattr(tuning, "perf_counter", itertools.count().__next__)
    assert find_batch_size(embedder, 32) == 16


def test_views_that_do_not_fit_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Clock(100.0, 1.0, 1000)
    monkeypatch.setattr(tuning, "perf_counter", lambda: device.now)
    measured, sizes, lack = tuning.views_a_second, [], "CUDA out of memory"

    def scarce(embedder: Embedder, side: int, views: int) -> float:
        sizes.append(views)
        if views > 32:
            raise RuntimeError(lack)
        return measured(embedder, side, views)

    monkeypatch.setattr(tuning, "views_a_second", scarce)
    assert find_batch_size(device, 1) == 32  # type: ignore[arg-type]
    assert sizes == [8, 16, 32, 64]
    lack = "something else"
    with pytest.raises(RuntimeError, match="something else"):
        find_batch_size(device, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("views", "each", "compiles", "chosen"),
    [
        (int(LONG) - 1, 0.5, False, "eager"),  # the pass is over before compiling would pay
        (int(LONG), 0.5, True, "compiled"),
        (10_000, 0.99, True, "compiled"),
        (10_000, 1.01, True, "eager"),  # compiled code that is no faster is not kept
    ],
)
def test_a_long_pass_is_compiled_if_that_is_faster_indeed(
    views: int, each: float, compiles: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = {"eager": Clock(0.0, 1.0, 1000), "compiled": Clock(0.0, each, 1000)}
    for device in devices.values():
        device.batch_size = 8
    made = []

    def make_compiled() -> Clock:
        made.append(1)
        return devices["compiled"]

    monkeypatch.setattr(tuning, "perf_counter", lambda: sum(device.now for device in devices.values()))
    found = faster_of(devices["eager"], make_compiled, side=1, views=views)  # type: ignore[arg-type]
    assert found is devices[chosen]
    assert bool(made) == compiles


def test_without_a_compiler_a_long_pass_goes_on_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = Clock(0.0, 1.0, 1000)
    device.batch_size = 8
    monkeypatch.setattr(tuning, "perf_counter", lambda: device.now)

    def fail() -> Embedder:
        raise RuntimeError("Cannot find a working triton installation.\nMore information")

    with caplog.at_level(logging.INFO, "frozenprobe"):
        assert faster_of(device, fail, side=1, views=10_000) is device  # type: ignore[arg-type, comparison-overlap]
    assert caplog.messages == ["blocks are not compiled: Cannot find a working triton installation."]


@pytest.mark.parametrize(
    ("device", "engine", "views", "asked"),
    [
        ("cuda", "torch", 100, True),
        ("cuda", "torch", None, False),  # an engine was typed
        ("cuda", "compile", 100, False),
        ("cpu", "torch", 100, False),
    ],
)
def test_only_the_engine_that_nobody_chose_may_be_compiled_and_only_on_cuda(
    device: str, engine: str, views: int | None, asked: bool, tiny_vit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, seen = load_backbone(ANY_VIT, tiny_vit, OPTIONS), []

    def note(embedder: Embedder, make: Callable[[], Embedder], *, side: int, views: int) -> Embedder:
        seen.append((side, views, make.keywords["engine"], make.keywords["batch_size"]))  # type: ignore[attr-defined]
        return embedder

    class Elsewhere:
        def __init__(self, *given: object, engine: str, batch_size: int, threads: int) -> None:
            self.batch_size = batch_size

    monkeypatch.setattr(tuning, "faster_of", note)
    monkeypatch.setattr(tuning, "Embedder", Elsewhere)
    how: dict[str, Any] = {"engine": engine, "threads": 1, "batch_size": 16, "views": views}
    make_embedder(backbone, torch.device(device), "bfloat16", **how)
    assert seen == ([(32, 100, "compile", 16)] if asked else [])


@pytest.mark.parametrize(
    ("typed", "engine", "size"), [(None, "torch", 4), (None, "onnxruntime", 1), (7, "torch", 7), (7, "onnxruntime", 7)]
)
def test_on_a_cpu_a_few_views_are_a_batch_unless_a_number_is_typed(
    typed: int | None, engine: str, size: int, tiny_vit: Path
) -> None:
    if engine == "onnxruntime":
        pytest.importorskip("onnxruntime")
    backbone = load_backbone(ANY_VIT, tiny_vit, OPTIONS)
    embedder = make_embedder(backbone, CPU, "float32", engine=engine, threads=1, batch_size=typed)
    assert embedder.batch_size == size


@pytest.fixture
def places(jobs: list[Job]) -> dict[str, Place]:
    return {job.content_hash: job.path for job in jobs}


@pytest.fixture
def settings() -> ViewSettings:
    return ViewSettings(Preprocessing(36, 32), "mild", 0, 10**6)


def test_float32_in_torch_is_its_own_measure(tiny_vit: Path, places: dict[str, Place], settings: ViewSettings) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "float32")
    assert check_fidelity(embedder, places, settings) is None


def test_the_distance_of_bfloat16_is_measured_on_real_views(
    tiny_vit: Path,
    places: dict[str, Place],
    settings: ViewSettings,
) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "bfloat16")
    fidelity = check_fidelity(embedder, places, settings)
    assert fidelity is not None
    assert fidelity.rows == 2
    assert 0.999 < fidelity.cosine < 1
    assert 1e-4 < fidelity.difference < 0.1


def backbone_of(network: nn.Module) -> Backbone:
    return Backbone(find_backbone("resnet18.in1k"), network.eval(), None, Preprocessing(36, 32), "")


def test_an_engine_with_other_features_is_refused(
    tiny_vit: Path,
    places: dict[str, Place],
    settings: ViewSettings,
) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "float32")
    exact = embedder.forward
    embedder.engine, embedder.forward = "onnxruntime", lambda images: exact(images) * (1 + 1e-3)
    with pytest.raises(FrozenprobeError, match="take --engine torch"):
        check_fidelity(embedder, places, settings)
    embedder.forward = lambda images: exact(images) * (1 + 1e-6)
    fidelity = check_fidelity(embedder, places, settings)
    assert fidelity is not None
    assert fidelity.difference == pytest.approx(1e-6, rel=0.2)


def test_distance_is_told_in_cosine_and_in_parts_of_the_largest_feature() -> None:
    class Means(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3))

    embedder = Embedder(backbone_of(Means()), CPU, "float32")
    exact = embedder.forward
    embedder.forward = lambda images: exact(images) + torch.tensor([0.1, 0.0, 0.0])
    batch = pixels(3)
    found = embedder.fidelity(torch.from_numpy(batch), [None] * 3)
    rows = exact(embedder._normalise(torch.from_numpy(batch), [None] * 3)).numpy().astype(float)
    moved = rows + np.array([0.1, 0, 0])
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(rows, moved, strict=True)]
    assert found == Fidelity(3, pytest.approx(min(cosines)), pytest.approx(0.1 / np.abs(rows).max(), rel=1e-5))
