"""Batches through a network: the device and dtype that are chosen, and numbers that hold in each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT, find_backbone
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing

CPU = torch.device("cpu")
OPTIONS = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pixels(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def embedder(network: nn.Module, dtype: str = "float32", preprocessing: Preprocessing | None = None) -> Embedder:
    how = preprocessing or Preprocessing(32, 32)
    return Embedder(Backbone(find_backbone("resnet18.in1k"), network.eval(), None, how, ""), CPU, dtype)


def test_input_is_scaled_and_normalised_by_channel() -> None:
    how = Preprocessing(32, 32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    batch = pixels(2)
    found = embedder(nn.Flatten(), preprocessing=how).embed(batch, [None, None]).reshape(2, 3, 32, 32)
    expected = (batch / 255 - how.mean) / how.std
    assert np.abs(found - expected.transpose(0, 3, 1, 2)).max() < 1e-6


def test_erased_box_is_zero_after_normalisation_in_its_row_alone() -> None:
    batch = pixels(3)
    plain = embedder(nn.Flatten()).embed(batch, [None] * 3).reshape(3, 3, 32, 32)
    found = embedder(nn.Flatten()).embed(batch, [None, (4, 5, 6, 7), None]).reshape(3, 3, 32, 32)
    inside = np.zeros_like(found, dtype=bool)
    inside[1, :, 4:10, 5:12] = True
    assert not found[inside].any()
    assert np.array_equal(found[~inside], plain[~inside])


def test_given_pixels_are_left_as_they_are() -> None:
    batch = pixels(2)
    before = batch.copy()
    embedder(nn.Flatten()).embed(batch, [(0, 0, 32, 32), None])
    assert np.array_equal(batch, before)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.mark.parametrize(("dtype", "least"), [("bfloat16", 0.9999), ("float16", 0.999999)])
def test_half_precision_is_close_to_float32(tiny_vit: Path, dtype: str, least: float) -> None:
    """Measured on this network: 0.999998 and 0.9999998."""
    backbone = load_backbone(ANY_VIT, tiny_vit, OPTIONS)
    batch = pixels(16)
    whole, half = (Embedder(backbone, CPU, name).embed(batch, [None] * 16) for name in ("float32", dtype))
    assert half.dtype == np.float32
    assert not np.array_equal(whole, half)
    assert cosines(whole, half).min() > least


class Overflowing(nn.Module):
    """Squares what it is given by a matrix product, which autocast runs in half precision: 300^2 > 65504."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, bool]] = []
        self.register_buffer("identity", torch.eye(3))

    def __deepcopy__(self, memo: dict[int, object]) -> Overflowing:
        return self  # there is no weight to cast, and the batches are to be counted

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append((len(images), torch.is_autocast_enabled("cpu")))
        means = images.mean(dim=(2, 3))
        return (means @ self.identity) * means.to((means @ self.identity).dtype)


def test_a_row_that_overflows_float16_is_computed_in_float32() -> None:
    """Three of four rows stay as float16 made them; the fourth alone goes through again."""
    how = Preprocessing(32, 32, mean=(0.0, 0.0, 0.0), std=(1 / 300,) * 3)
    batch = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    batch += np.array([10, 200, 255, 30], dtype=np.uint8)[:, None, None, None]
    network = Overflowing()
    runner = embedder(network, "float16", how)
    found = runner.embed(batch, [None] * 4)
    exact = embedder(Overflowing(), "float32", how).embed(batch, [None] * 4)
    assert np.isfinite(found).all()
    assert np.array_equal(found[2], exact[2])
    assert found[2, 0] == pytest.approx(90_000)
    assert not np.array_equal(found[[0, 1, 3]], exact[[0, 1, 3]])
    assert found == pytest.approx(exact, rel=2e-3)
    assert network.batches == [(4, True), (1, False)]
    assert runner.overflowed == 1
    runner.embed(batch[:2], [None] * 2)
    assert runner.overflowed == 1


def test_float16_that_holds_everything_is_computed_once() -> None:
    network = Overflowing()
    embedder(network, "float16").embed(pixels(3), [None] * 3)
    assert network.batches == [(3, True)]


def test_row_that_is_nan_in_float32_too_is_handed_on() -> None:
    """Whoever stores the rows refuses them by the name of the image."""

    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3)) * torch.nan

    assert np.isnan(embedder(Broken(), "float16").embed(pixels(2), [None] * 2)).all()


def test_no_gradient_is_kept() -> None:
    seen: list[bool] = []

    class Watching(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_inference_mode_enabled())
            return images.mean(dim=(2, 3))

    embedder(Watching()).embed(pixels(1), [None])
    assert seen == [True]


def test_digest_is_the_same_after_the_network_has_run(tiny_vit: Path) -> None:
    before, after = load_backbone(ANY_VIT, tiny_vit, OPTIONS), load_backbone(ANY_VIT, tiny_vit, OPTIONS)
    Embedder(after, CPU, "bfloat16").embed(pixels(2), [None] * 2)
    assert after.digest == before.digest


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("dtype", "least"), [("float32", 1 - 1e-6), ("bfloat16", 0.9999), ("float16", 0.99999)])
def test_cuda_gives_the_cpus_features(tiny_vit: Path, dtype: str, least: float) -> None:
    batch = pixels(16)
    there = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), torch.device("cuda"), dtype).embed(batch, [None] * 16)
    here = Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), CPU, "float32").embed(batch, [None] * 16)
    assert cosines(there, here).min() > least
    if dtype == "float32":
        assert np.abs(there - here).max() < 1e-5


class Cramped(nn.Module):
    """A network that has memory for so many views at once, and says it as `error`."""

    def __init__(self, room: int, error: type[RuntimeError], message: str) -> None:
        super().__init__()
        self.room, self.error, self.message = room, error, message
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        if len(images) > self.room:
            raise self.error(self.message)
        return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 GiB"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_that_runs_out_costs_no_row(error: type[RuntimeError], message: str) -> None:
    """Batches of 16 fall back to 4 once and for all; rows and their order are as with room for everything."""
    cramped, batch = Cramped(5, error, message), pixels(19)
    erased = [None, (0, 0, 32, 32)] + [None] * 17
    runner = embedder(cramped)
    runner.batch_size = 16
    found = runner.embed(batch, erased)
    assert np.array_equal(found, embedder(Cramped(99, error, message)).embed(batch, erased))
    assert cramped.batches == [16, 8, 4, 4, 4, 4, 3]
    assert runner.batch_size == 4
    runner.embed(batch[:8], [None] * 8)
    assert cramped.batches[7:] == [4, 4]


def test_a_batch_size_that_another_thread_halves_meanwhile_costs_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share an embedder: one of them may run out of memory while another one's batch is computed."""
    shared, batch = embedder(nn.Flatten()), pixels(7)
    expected = shared.embed(batch, [None] * 7)
    shared.batch_size, forward = 4, shared.forward

    def halving(images: torch.Tensor) -> torch.Tensor:
        shared.batch_size = 2
        return forward(images)

    monkeypatch.setattr(shared, "forward", halving)
    assert np.array_equal(shared.embed(batch, [None] * 7), expected)


def test_fidelity_is_the_worst_row_and_the_difference_a_part_of_the_largest_feature() -> None:
    """Against an engine that doubles one feature of one row: the others stay."""
    exact, batch = embedder(nn.Flatten()), torch.from_numpy(pixels(3))
    right = exact.embed(batch.numpy(), [None] * 3)
    worst = np.unravel_index(np.abs(right).argmax(), right.shape)
    forward = exact.forward

    def doubling(images: torch.Tensor) -> torch.Tensor:
        features = forward(images).clone()
        features[worst[0], worst[1]] *= 2
        return features

    exact.forward = doubling
    found = exact.fidelity(batch, [None] * 3)
    changed = right[worst[0]].astype(np.float64)
    changed[worst[1]] *= 2
    cosine = changed @ right[worst[0]] / np.linalg.norm(changed) / np.linalg.norm(right[worst[0]].astype(np.float64))
    assert (found.rows, found.difference) == (3, pytest.approx(1))
    assert found.cosine == pytest.approx(cosine)
    assert found.cosine < 1


def test_no_memory_for_one_view_is_an_error_and_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(FrozenprobeError, match="Memory for one view"):
        embedder(Cramped(0, torch.OutOfMemoryError, "out of memory")).embed(pixels(3), [None] * 3)
    with pytest.raises(RuntimeError, match="shapes"):
        embedder(Cramped(0, RuntimeError, "shapes do not fit")).embed(pixels(3), [None] * 3)


def test_compiled_code_always_sees_the_same_shape() -> None:
    """The last batch is filled up, not compiled anew; what was added is in no row."""
    network = Cramped(99, RuntimeError, "")
    runner = embedder(network)
    exact, seen = runner.forward, []

    def compiled(images: torch.Tensor) -> torch.Tensor:
        seen.append((images.shape, images.stride()))  # torch.compile takes other strides for another shape
        return exact(images)

    runner.engine, runner.batch_size, runner.forward = "compile", 4, compiled
    found = runner.embed(pixels(6), [None] * 6)
    assert network.batches == [4, 4]
    assert seen[0] == seen[1]
    assert np.abs(found - exact(runner._normalise(torch.from_numpy(pixels(6)), [None] * 6)).numpy()).max() < 1e-6
