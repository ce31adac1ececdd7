"""What runs the network: eager torch, torch.compile, ONNX Runtime or OpenVINO; in float32 all equal to 1e-4."""

from __future__ import annotations

import copy
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, local
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.extract.backbones.backbone import is_convolutional
from frozenprobe.extract.compute.lean_vit import LeanBlock, with_lean_blocks
from frozenprobe.extract.options import AUTO
from frozenprobe.system.cores import available_cores
from frozenprobe.system.devices import full_precision

log = logging.getLogger("frozenprobe")

ATTENTION = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
Engine = Callable[[torch.Tensor], torch.Tensor]  # (B, 3, S, S) float32, normalised -> (B, D) float32


class CpuEngine(NamedTuple):
    """An engine for CPUs alone, with threads of its own.

    Attributes:
        extra: that installs it.
        packages: it needs.
        dtypes: it computes in.
    """

    extra: str
    packages: tuple[str, ...]
    dtypes: tuple[str, ...]


CPU_ENGINES = {  # the fastest for convolutions first
    "onnxruntime": CpuEngine("onnx", ("onnxruntime", "onnx", "onnxscript"), ("float32",)),
    "openvino": CpuEngine("openvino", ("openvino",), ("float32", "bfloat16")),
}


def choose_engine(name: str, network: nn.Module, device: torch.device, dtype: str) -> str:
    """The engine called `name`.

    `auto` is the fastest that is installed. On a CPU that is for convolutional networks in float32 ONNX Runtime
    (measured twice as fast as torch) or OpenVINO, for others OpenVINO (ViTs: 1.15 times as fast, in bfloat16 1.3
    times); torch elsewhere.

    Raises:
        MissingExtra: the engine's package is not installed.
        FrozenprobeError: the engine cannot run on this device, in this dtype, or without a compiler.
    """
    serving = [each for each, about in CPU_ENGINES.items() if device.type == "cpu" and dtype in about.dtypes]
    if name == AUTO:
        order = serving if is_convolutional(network) else ["openvino"]
        return next((each for each in order if each in serving and is_installed(each)), "torch")
    if name in CPU_ENGINES:
        if name not in serving:
            remedy = f"leave --engine out, or take --device cpu --dtype {' or '.join(CPU_ENGINES[name].dtypes)}"
            raise cannot(name, f"{dtype} on {device.type}", remedy)
        if not is_installed(name):
            raise MissingExtra(name, CPU_ENGINES[name].extra)
    if name == "compile" and (sys.platform == "win32" or (not shutil.which("c++") and not shutil.which("g++"))):
        raise cannot(name, "no C++ compiler", "install g++, or leave --engine out")
    return name


def cannot(name: str, found: str, remedy: str) -> FrozenprobeError:
    """The error for an engine that cannot run here."""
    return FrozenprobeError(f"What the engine {name} needs", found=found, where="--engine", remedy=remedy)


def is_installed(engine: str) -> bool:
    """Whether the packages of an engine are there, without loading them."""
    return all(find_spec(package) for package in CPU_ENGINES[engine].packages)


def make_engine(
    name: str, network: nn.Module, device: torch.device, dtype: torch.dtype, *, side: int, threads: int
) -> Engine:
    """Make the engine that runs a network; it may be called from several threads.

    Args:
        name: `torch`, `compile`, `onnxruntime` or `openvino`.
        network: `(B, 3, S, S)` -> `(B, D)`, on the device.
        device: where it runs.
        dtype: of its products and convolutions; normalisation layers and softmax stay in float32.
        side: S.
        threads: that one call may use, where the engine has threads of its own.
    """
    if name == "onnxruntime":
        return onnx_engine(network, side=side, threads=threads)
    if name == "openvino":
        return openvino_engine(network, dtype, side=side, threads=threads)
    if name == "compile":
        return compiled_engine(with_cast_weights(network, dtype), device, dtype)
    return torch_engine(with_cast_weights(network, dtype), device, dtype)


def with_cast_weights(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with the weights of products and convolutions in the dtype that autocast would cast them to.

    Autocast does it at every call: for 300 million weights that is 1.8 GB to read and write a batch. Same numbers, but
    for torchvision's transformers, whose blocks are rebuilt: in float32, too, where ViT-L/16 gains 15 % on a CPU.
    """
    cast = with_lean_blocks(network, dtype)
    if dtype is torch.float32:
        return cast
    if cast is network:
        cast = copy.deepcopy(network)
    for module in cast.modules():
        # a convolution with a forward of its own may compute with its weights first, as weight standardisation does
        if isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward
        ):
            module.to(dtype)
    return cast


@contextmanager
def precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Within, torch computes in this dtype: by autocast, and what stays in float32 without rounding its inputs."""
    autocast = torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)
    with full_precision(device), fast_attention(device), autocast:
        yield


def fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """Within, attention on a Hopper GPU is cuDNN's where it can be: 319 against 224 TFLOP/s on an H100."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (9, 0):
        return nullcontext()
    return sdpa_kernel(ATTENTION, set_priority=True)


def torch_engine(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Engine:
    """The network as it is, under autocast where the dtype is not float32."""

    @torch.inference_mode()
    def run(images: torch.Tensor) -> torch.Tensor:
        with precision(device, dtype):
            features: torch.Tensor = network(images)
        return features.float()

    return run


def compiled_engine(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Engine:
    """The network through torch.compile: static shapes; CUDA graphs on CUDA, weights folded in on a CPU.

    Of lean blocks, which are all alike, one is compiled for all: seconds, where the whole takes minutes.
    """
    compiled: Any = network
    blocks = [module for module in network.modules() if isinstance(module, LeanBlock)]
    for block in blocks:
        block.compile(dynamic=False)
    if not blocks:
        options: dict[str, Any] = {"triton.cudagraphs": True} if device.type == "cuda" else {"freezing": True}
        compiled = torch.compile(network, dynamic=False, options=options)
    first, started = Lock(), False

    @torch.no_grad()  # compiled code does not take tensors of inference mode
    def call(images: torch.Tensor) -> torch.Tensor:
        with precision(device, dtype):
            features: torch.Tensor = compiled(images)
        return features.float().clone()  # a CUDA graph writes its next output over this one

    def run(images: torch.Tensor) -> torch.Tensor:
        nonlocal started
        if started:
            return call(images)
        with first:  # one thread compiles, the others wait for it
            features = call(images)
            started = True
            return features

    return run


def onnx_engine(network: nn.Module, *, side: int, threads: int) -> Engine:
    """The network through ONNX Runtime on the CPU; any batch size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:  # above 2 GB the weights are a file of their own beside the graph
        path = Path(folder, "network.onnx")
        export_onnx(network, path, side=side)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: torch.Tensor) -> torch.Tensor:
        (features,) = session.run(None, {name: images.contiguous().numpy()})
        return torch.from_numpy(features)

    return run


def export_onnx(network: nn.Module, path: Path, *, side: int) -> None:
    """Write a network with a free batch size as ONNX.

    torch's older exporter takes half a second where the newer one takes four; it is deprecated, so it may be gone.
    """
    images, names = torch.zeros(2, 3, side, side), {"input_names": ["images"], "output_names": ["features"]}
    older = {"dynamo": False, "dynamic_axes": {"images": {0: "batch"}, "features": {0: "batch"}}}
    newer = {"dynamo": True, "dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=4096)},)}
    with warnings.catch_warnings(), without_fast_path():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(network, (images,), str(path), verbose=False, **names, **older)  # type: ignore[arg-type]
        except Exception as error:  # of a dozen types: whatever it is, the newer one has its own answer
            log.debug("torch's older ONNX exporter: %s", error)
            torch.onnx.export(network, (images,), str(path), verbose=False, **names, **newer)  # type: ignore[arg-type]


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Within, attention is not one fused operation, which has no name outside of torch."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def openvino_engine(network: nn.Module, dtype: torch.dtype, *, side: int, threads: int) -> Engine:
    """The network through OpenVINO on the CPU; any batch size; as many calls at once as `threads` leave cores for."""
    import openvino

    with warnings.catch_warnings(), without_fast_path():
        warnings.simplefilter("ignore")
        shape = openvino.PartialShape([-1, 3, side, side])
        model = openvino.convert_model(network, example_input=torch.zeros(2, 3, side, side), input=[shape])
    calls = max(1, available_cores() // threads)
    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype is torch.bfloat16 else "f32",
        "NUM_STREAMS": calls,
        "INFERENCE_NUM_THREADS": calls * threads,
        "ENABLE_CPU_PINNING": False,  # or ranks on one machine would all take its first cores
    }
    compiled = openvino.Core().compile_model(model, "CPU", options)
    own = local()  # a request serves one call at a time

    def run(images: torch.Tensor) -> torch.Tensor:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return torch.from_numpy(own.request.infer([images.contiguous().numpy()])[0])  # a copy, which is ours

    return run
