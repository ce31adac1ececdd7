"""Engines: the same features from each, chosen by what is installed and where it pays."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute import engines
from frozenprobe.extract.compute.engines import choose_engine, make_engine, onnx_engine, with_cast_weights
from frozenprobe.extract.options import WeightsOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
FLOAT, BF16 = torch.float32, torch.bfloat16
OPTIONS = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def vit(tiny_vit: Path) -> nn.Module:
    return load_backbone(ANY_VIT, tiny_vit, OPTIONS).network


@pytest.fixture
def convnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """As a part of the largest feature."""
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("which", ["vit", "convnet"])
def test_onnxruntime_gives_torchs_features_at_every_batch_size(which: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("onnxruntime")
    network = request.getfixturevalue(which)
    engine = make_engine("onnxruntime", network, CPU, FLOAT, side=32, threads=1)
    for count in (1, 3, 7):
        with torch.inference_mode():
            expected = network(images(count))
        found = engine(images(count).contiguous(memory_format=torch.channels_last))
        assert found.dtype is FLOAT
        assert difference(found, expected) < 1e-5


@pytest.mark.parametrize("which", ["vit", "convnet"])
def test_openvino_gives_torchs_features_at_every_batch_size_from_any_thread(
    which: str, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("openvino")
    network = request.getfixturevalue(which)
    exact, rounded = (make_engine("openvino", network, CPU, each, side=32, threads=1) for each in (FLOAT, BF16))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda count: exact(images(count)), [1, 3, 7, 3] * 4))
    with torch.inference_mode():
        for count, features in zip([1, 3, 7, 3] * 4, found, strict=True):
            assert features.dtype is FLOAT
            assert difference(features, network(images(count))) < 1e-5
        assert difference(rounded(images(3)), network(images(3))) < 0.05


@pytest.mark.skipif(os.name == "nt" or not (shutil.which("c++") or shutil.which("g++")), reason="no C++ compiler")
def test_compiled_network_gives_torchs_features(vit: nn.Module) -> None:
    assert choose_engine("compile", vit, CPU, "float32") == "compile"
    engine = make_engine("compile", vit, CPU, FLOAT, side=32, threads=1)
    with ThreadPoolExecutor(4) as pool:  # one of them compiles, the others wait
        found = list(pool.map(lambda seed: engine(images(2, seed)), range(6)))
    with torch.inference_mode():
        for seed, features in enumerate(found):
            assert difference(features, vit(images(2, seed))) < 1e-5


def test_the_newer_exporter_serves_where_the_older_is_gone(vit: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export, calls = torch.onnx.export, []

    def without_the_older(*args: object, dynamo: bool, **others: object) -> object:
        calls.append(dynamo)
        if not dynamo:
            raise TypeError("export() got an unexpected keyword argument 'dynamo'")
        return export(*args, dynamo=True, **others)

    monkeypatch.setattr(torch.onnx, "export", without_the_older)
    engine = onnx_engine(vit, side=32, threads=1)
    assert calls == [False, True]
    with torch.inference_mode():
        assert difference(engine(images(5)), vit(images(5))) < 1e-5
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_casting_the_weights_beforehand_changes_no_bit(convnet: nn.Module, dtype: torch.dtype) -> None:
    """Autocast would cast them at every call; what it leaves in float32 stays there."""
    convnet.fc = nn.Linear(512, 3)
    before = {name: tensor.clone() for name, tensor in convnet.state_dict().items()}
    cast = with_cast_weights(convnet, dtype)
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype):
        assert torch.equal(cast(images(3)), convnet(images(3)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in convnet.state_dict().items())
    kinds = {
        type(module): next(module.parameters()).dtype for module in cast.modules() if list(module.parameters(False))
    }
    assert {kinds[nn.Conv2d], kinds[nn.Linear]} == {dtype}
    assert kinds[nn.BatchNorm2d] is FLOAT


@pytest.mark.parametrize(
    ("which", "device", "dtype", "installed", "engine"),
    [
        ("convnet", CPU, "float32", "onnxruntime openvino", "onnxruntime"),
        ("convnet", CPU, "float32", "openvino", "openvino"),
        ("convnet", CPU, "float32", "", "torch"),
        ("convnet", CPU, "bfloat16", "onnxruntime", "torch"),
        ("convnet", CPU, "float16", "onnxruntime openvino", "torch"),
        ("convnet", CUDA, "float32", "onnxruntime openvino", "torch"),
        ("vit", CPU, "float32", "onnxruntime", "torch"),
        ("vit", CPU, "float32", "onnxruntime openvino", "openvino"),
        ("vit", CPU, "bfloat16", "openvino", "openvino"),
        ("vit", CUDA, "bfloat16", "openvino", "torch"),
    ],
)
def test_auto_is_what_is_fastest_and_installed(
    which: str,
    device: torch.device,
    dtype: str,
    installed: str,
    engine: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda name: name in installed.split())
    assert choose_engine("auto", request.getfixturevalue(which), device, dtype) == engine


def test_an_engine_that_cannot_run_here_says_why(convnet: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FrozenprobeError, match="float32 on cuda"):
        choose_engine("onnxruntime", convnet, CUDA, "float32")
    with pytest.raises(FrozenprobeError, match="bfloat16 on cpu"):
        choose_engine("onnxruntime", convnet, CPU, "bfloat16")
    with pytest.raises(FrozenprobeError, match="--device cpu --dtype float32 or bfloat16"):
        choose_engine("openvino", convnet, CPU, "float16")
    monkeypatch.setattr(engines, "is_installed", lambda name: False)
    with pytest.raises(MissingExtra, match=r"pip install 'frozenprobe\[onnx\]'"):
        choose_engine("onnxruntime", convnet, CPU, "float32")
    with pytest.raises(MissingExtra, match=r"pip install 'frozenprobe\[openvino\]'"):
        choose_engine("openvino", convnet, CPU, "bfloat16")
    monkeypatch.setattr(engines.shutil, "which", lambda name: None)
    with pytest.raises(FrozenprobeError, match="no C\\+\\+ compiler"):
        choose_engine("compile", convnet, CPU, "float32")


def test_onnxruntime_may_be_called_from_many_threads(convnet: nn.Module) -> None:
    pytest.importorskip("onnxruntime")
    engine = make_engine("onnxruntime", convnet, CPU, FLOAT, side=32, threads=1)
    alone = [engine(images(2, seed)) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: engine(images(2, seed)), range(8)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
