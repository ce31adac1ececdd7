"""Batch size, threads, and the distance to float32: found by measuring, here on networks that say what they want."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

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
from frozenprobe.extract.compute.tuning import check_fidelity, find_batch_size, make_embedder
from frozenprobe.extract.views.cut import Job, ViewSettings
from frozenprobe.extract.views.preprocessing import Preprocessing
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
def settings() -> ViewSettings:
    return ViewSettings(Preprocessing(36, 32), "mild", 0, 10**6)


def test_float32_in_torch_is_its_own_measure(tiny_vit: Path, jobs: list[Job], settings: ViewSettings) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "float32")
    assert check_fidelity(embedder, jobs, settings) is None


def test_the_distance_of_bfloat16_is_measured_on_real_views(
    tiny_vit: Path,
    jobs: list[Job],
    settings: ViewSettings,
) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "bfloat16")
    fidelity = check_fidelity(embedder, jobs, settings)
    assert fidelity is not None
    assert fidelity.rows == 2
    assert 0.999 < fidelity.cosine < 1
    assert 1e-4 < fidelity.difference < 0.1


def backbone_of(network: nn.Module) -> Backbone:
    return Backbone(find_backbone("resnet18.in1k"), network.eval(), None, Preprocessing(36, 32), "")


def test_features_far_from_float32_are_warned_of(
    jobs: list[Job],
    settings: ViewSettings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A difference of large numbers: what bfloat16 rounds away is all there is."""

    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("ones", torch.ones(3, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            means = images.mean(dim=(2, 3))
            return (1000 + means) @ self.ones - 3000

    embedder = Embedder(backbone_of(Cancelling()), CPU, "bfloat16")
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        check_fidelity(embedder, jobs, settings)
    assert "--dtype float32 is exact" in caplog.text


def test_an_engine_with_other_features_is_refused(
    tiny_vit: Path,
    jobs: list[Job],
    settings: ViewSettings,
) -> None:
    embedder = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "float32")
    exact = embedder.forward
    embedder.engine, embedder.forward = "onnxruntime", lambda images: exact(images) * (1 + 1e-3)
    with pytest.raises(FrozenprobeError, match="take --engine torch"):
        check_fidelity(embedder, jobs, settings)
    embedder.forward = lambda images: exact(images) * (1 + 1e-6)
    fidelity = check_fidelity(embedder, jobs, settings)
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
