"""Batches through a network: the device and dtype that are chosen, and numbers that hold in each of them."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT, find_backbone
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute import embedder as compute
from frozenprobe.extract.compute.embedder import Embedder, Fidelity, is_out_of_memory
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.preprocessing import Preprocessing

CPU = torch.device("cpu")
OPTIONS = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(autouse=True, scope="module")
def nothing_to_collect() -> Iterator[None]:
    """It takes a fifth of a second in a process with so many modules, and here memory never truly runs out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "gc", SimpleNamespace(collect=lambda: 0))
        yield


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

    def __init__(self, room: int, error: type[Exception], message: str) -> None:
        super().__init__()
        self.room, self.error, self.message = room, error, message
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        if len(images) > self.room:
            raise self.error(self.message)
        return images.mean(dim=(2, 3))


class OrtFail(Exception):
    """As ONNX Runtime's errors are no RuntimeError."""


HERE, PINNED = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: ",
    "CUDA error: out of memory\nSearch for",
)
ORT = "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. Status Message: "
ARENA = "/bfc_arena.cc:360 void* BFCArena::AllocateRawInternal(size_t) Failed to allocate memory for requested buffer"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        torch.OutOfMemoryError(""),
        torch.AcceleratorError(PINNED),
        RuntimeError(HERE + "can't allocate memory: you tried to allocate 1073741824 bytes. Error code 12"),
        RuntimeError(HERE + "not enough memory: you tried to allocate 1073741824 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5.56 GB, max allowed: 6.80 GB)."),
        RuntimeError("Invalid buffer size: 9.75 GB"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("backend='inductor' raised:\nOutOfMemoryError: CUDA out of memory."),
        RuntimeError("could not create a primitive"),  # oneDNN, in a convolution for whose code there was no room
        OrtFail(ORT + ARENA + " of size 1073741824"),
        OrtFail(ORT + "bad allocation"),
        RuntimeError("Check 'ptr' failed at src/plugins/intel_cpu/src/cpu_memory.cpp:257:\nFailed to allocate 7 bytes"),
        MemoryError(),
        MemoryError("Unable to allocate 16.0 GiB for an array with shape (2147483648,) and data type float64"),
    ],
    ids=lambda error: str(error)[-30:],
)
def test_memory_that_ran_out_is_known_by_what_is_said(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("out of resource: shared memory, Required: 131072, Hardware limit: 101376"),  # at any batch size
        RuntimeError("Found no NVIDIA driver on your system"),
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        OrtFail(ORT + "Input channels C is not equal to kernel channels"),
    ],
    ids=lambda error: str(error)[-30:],
)
def test_other_errors_are_not_taken_for_memory_that_ran_out(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("error", "message"),
    [(torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate"), (OrtFail, ORT + ARENA), (MemoryError, "")],
)
def test_memory_that_runs_out_costs_no_row(error: type[Exception], message: str) -> None:
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


Fails = Callable[[int, int], bool]  # (calls before this one, views in it) -> whether memory runs out in it


def cramp(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, fails: Fails) -> list[int]:
    """Let memory run out in a function of batches; the views in each of its calls."""
    function, calls = getattr(where, name), []

    def cramped(batch: Any, *rest: Any) -> Any:
        calls.append(len(batch))
        if fails(len(calls) - 1, len(batch)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return function(batch, *rest)

    monkeypatch.setattr(where, name, cramped)
    return calls


class Widening(Overflowing):
    """Squares every channel's mean, and tells views from each other by their other numbers, too."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(images), images.flatten(1)], dim=1)


PLACES = {
    "stacking and sending": lambda runner: (runner.staging, "stack"),
    "normalising": lambda runner: (runner, "_normalise"),
    "the forward pass": lambda runner: (runner, "forward"),
    "fetching": lambda runner: (runner.staging, "fetch"),
}
FAILS: dict[str, tuple[Fails, int]] = {
    "once": (lambda before, views: before == 0, 8),
    "while more than 3 views": (lambda before, views: views > 3, 2),
}
BOXES = [None, (0, 0, 20, 32), None, (4, 5, 6, 7)] * 5


@pytest.mark.parametrize("often", FAILS)
@pytest.mark.parametrize("place", PLACES)
def test_memory_that_runs_out_anywhere_on_the_way_costs_no_row(
    place: str, often: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, left = FAILS[often]
    batch, runner = pixels(20), embedder(nn.Flatten())
    expected = runner.embed(batch, BOXES)
    runner.batch_size = 16
    calls = cramp(monkeypatch, *PLACES[place](runner), fails)
    assert np.array_equal(runner.embed(batch, BOXES), expected)
    assert runner.batch_size == left
    assert max(calls[-3:]) == left


@pytest.mark.parametrize("often", FAILS)
@pytest.mark.parametrize("place", [*PLACES, "the exact pass"])
def test_fidelity_survives_memory_that_runs_out(place: str, often: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 takes half as many views at once; what is compared stays the same."""
    (fails, left), batch = FAILS[often], list(torch.from_numpy(pixels(20)))
    runner = embedder(nn.Flatten())
    forward = runner.forward
    runner.forward = lambda images: forward(images) * 1.5
    expected = runner.fidelity(batch, BOXES)
    runner.batch_size = 16
    calls = cramp(monkeypatch, *(PLACES | {"the exact pass": lambda runner: (runner, "exact")})[place](runner), fails)
    found = runner.fidelity(batch, BOXES)
    assert found == expected == Fidelity(20, pytest.approx(1), pytest.approx(0.5))
    if place != "the exact pass":
        assert runner.batch_size == left
    else:
        assert (runner.batch_size, calls[-1]) == ((8, 4) if often == "once" else (4, 2))


@pytest.mark.parametrize("often", FAILS)
def test_rows_that_overflow_float16_survive_memory_that_runs_out(often: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third row but one, of which a box takes most: five of the first batch, one of the last, boxes and all."""
    how = Preprocessing(32, 32, mean=(0.0, 0.0, 0.0), std=(1 / 300,) * 3)
    batch = pixels(20) // 4
    batch[::3] |= 224
    runner = embedder(Widening(), "float16", how)
    expected = runner.embed(batch, BOXES)
    assert runner.overflowed == 6
    broken = [0, 3, 6, 12, 15, 18]
    assert np.array_equal(expected[broken], embedder(Widening(), "float32", how).embed(batch, BOXES)[broken])
    runner.batch_size = 16
    calls = cramp(monkeypatch, runner, "exact", FAILS[often][0])
    assert np.array_equal(runner.embed(batch, BOXES), expected)
    assert runner.overflowed == 12
    assert (runner.batch_size, calls) == ((8, [5, 4, 1, 1]) if often == "once" else (4, [5, 4, 2, 2, 1, 1]))


@given(
    st.integers(1, 12), st.integers(1, 20), st.dictionaries(st.sampled_from(list(PLACES)), st.sets(st.integers(0, 8)))
)
def test_every_row_comes_once_and_in_order_whichever_calls_run_out_of_memory(
    views: int, batch_size: int, broken: dict[str, set[int]]
) -> None:
    """Or, after as many failures as there are halves, an error that says so."""
    runner, batch = embedder(nn.Flatten()), pixels(views, side=2)
    runner.mean, runner.std = torch.zeros(6), torch.ones(6)
    expected = batch.transpose(0, 3, 1, 2).reshape(views, -1) / np.float32(255)
    runner.batch_size = batch_size
    with pytest.MonkeyPatch.context() as patch:
        for place, calls in broken.items():
            cramp(patch, *PLACES[place](runner), lambda before, _, calls=calls: before in calls)
        try:
            assert np.array_equal(runner.embed(batch, [None] * views), expected)
        except FrozenprobeError:
            assert runner.batch_size == 1
            assert 2 ** (sum(map(len, broken.values())) - 1) >= (batch_size + 1) // 2


def test_what_failed_holds_no_memory_any_more_when_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, held, alive = embedder(nn.Flatten()), [], []
    cramp(monkeypatch, runner, "forward", lambda before, views: before == 0)
    stack = runner.staging.stack

    def watched(parts: list[torch.Tensor]) -> torch.Tensor:
        there = stack(parts)
        held.append(weakref.ref(there))
        return there

    monkeypatch.setattr(runner.staging, "stack", watched)
    monkeypatch.setattr(runner, "_free", lambda: alive.append([each() for each in held]))
    runner.embed(pixels(4), [None] * 4)
    assert alive == [[None]]


def test_threads_that_run_out_of_memory_together_halve_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, batch, together = embedder(nn.Flatten()), pixels(16), Barrier(3, timeout=20)
    expected = shared.embed(batch, [None] * 16)
    shared.batch_size, forward = 16, shared.forward

    def cramped(images: torch.Tensor) -> torch.Tensor:
        if len(images) == 16:
            together.wait()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    monkeypatch.setattr(shared, "forward", cramped)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: shared.embed(batch, [None] * 16), range(3)):
            assert np.array_equal(found, expected)
    assert shared.batch_size == 8
    assert caplog.messages == ["out of memory at a batch size of 16: going on with 8; no row is lost"]


def test_compiled_code_is_freed_and_compiled_anew_for_the_smaller_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile itself, with a backend that tells what it compiles, and that memory runs out above 3 views."""
    compiled: list[int] = []

    def backend(graph: Any, inputs: list[torch.Tensor]) -> Any:
        views = max(len(each) for each in inputs if each.dim() == 4)
        compiled.append(views)

        def run(*given: torch.Tensor) -> Any:
            if views > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return graph.forward(*given)

        return run

    runner, batch, resets = embedder(nn.Flatten()), pixels(5), []
    expected, reset = runner.embed(batch, [None] * 5), torch.compiler.reset
    monkeypatch.setattr(torch.compiler, "reset", lambda: (resets.append(runner.batch_size), reset()))
    runner.engine, runner.batch_size = "compile", 8
    runner.forward = torch.compile(nn.Sequential(nn.Flatten()), dynamic=False, backend=backend)
    try:
        assert np.array_equal(runner.embed(batch, [None] * 5), expected)
        assert np.array_equal(runner.embed(batch, [None] * 5), expected)
    finally:
        reset()
    assert (resets, compiled) == ([4, 2], [8, 4, 2])


def test_graphs_are_freed_when_the_gpu_is_done_with_them_and_before_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    for where, name in ((torch.cuda, "synchronize"), (torch.compiler, "reset"), (torch.cuda, "empty_cache")):
        monkeypatch.setattr(where, name, lambda *given, name=name: done.append(name))
    runner = embedder(nn.Flatten())
    runner.device, runner.engine = torch.device("cuda"), "compile"
    runner._back_off(32, "out of memory")
    assert (done, runner.batch_size) == (["synchronize", "reset", "empty_cache"], 16)


class Stream:
    """A CUDA stream whose events are reached when somebody waits for them."""

    def __init__(self) -> None:
        self.waited = 0

    def record_event(self) -> SimpleNamespace:
        return SimpleNamespace(synchronize=self.synchronize)

    def synchronize(self) -> None:
        self.waited += 1

    def wait_stream(self, other: Stream) -> None:
        pass


@pytest.fixture
def on_streams(monkeypatch: pytest.MonkeyPatch) -> tuple[Embedder, Stream, Stream]:
    """An embedder that copies as on CUDA, the stream of its copies, and that of its computation."""
    runner, copies, computation = embedder(nn.Flatten()), Stream(), Stream()
    runner.staging.stream = copies  # type: ignore[assignment]
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computation)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(compute, "pinned_memory", lambda shape, dtype: torch.empty(shape, dtype=dtype))
    return runner, copies, computation


def test_nothing_is_waited_for_between_slices(
    on_streams: tuple[Embedder, Stream, Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for computation before all is asked for, and for a copy only where its memory is to be used again."""
    runner, copies, computation = on_streams
    cramp(monkeypatch, runner, "forward", lambda before, views: views > 5)
    batch, runner.batch_size = pixels(15), 6
    finish = runner.start(list(torch.from_numpy(batch)), BOXES[:15])
    assert (runner.batch_size, computation.waited) == (3, 0)
    assert copies.waited == 1 + 5 - runner.staging.depth
    assert np.array_equal(finish(), embedder(nn.Flatten()).embed(batch, BOXES[:15]))
    assert computation.waited == 5


def test_pinned_memory_that_cannot_be_had_is_replaced_by_ordinary_memory_with_one_word(
    on_streams: tuple[Embedder, Stream, Stream], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runner, batch = on_streams[0], pixels(15)
    asked: list[tuple[int, ...]] = []

    def refuse(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        asked.append(shape)
        if len(asked) == 4:
            raise torch.AcceleratorError(PINNED)
        return torch.empty(shape, dtype=dtype)

    monkeypatch.setattr(compute, "pinned_memory", refuse)
    runner.batch_size = 3
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(runner.embed(batch, [None] * 15), embedder(nn.Flatten()).embed(batch, [None] * 15))
    assert (runner.batch_size, len(asked)) == (3, 4)
    assert caplog.messages == ["no more pinned memory: copies to and from cpu are slower from here on"]


def test_pinned_memory_that_is_refused_for_another_reason_is_an_error(
    on_streams: tuple[Embedder, Stream, Stream], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(compute, "pinned_memory", refuse)
    with pytest.raises(RuntimeError, match="illegal"):
        on_streams[0].embed(pixels(1), [None])


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
