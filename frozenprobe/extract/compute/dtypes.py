"""In which number format a network computes: what was typed, or what suits the device and the network."""

from __future__ import annotations

import torch
from torch import nn

from frozenprobe.errors import unknown_name
from frozenprobe.extract.backbones.backbone import is_convolutional
from frozenprobe.extract.options import AUTO
from frozenprobe.system.devices import bfloat16_units

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def full_name(name: str) -> str:
    """The full name of a compute dtype, or `auto`.

    Raises:
        FrozenprobeError: no such dtype.
    """
    full = SHORT.get(name, name)
    if full != AUTO and full not in DTYPES:
        raise unknown_name("compute dtype", name, [AUTO, *SHORT, *DTYPES], where="--dtype")
    return full


def choose_dtype(name: str, device: torch.device, network: nn.Module) -> tuple[str, str]:
    """The compute dtype called `name`, and why it is this one; empty where it was asked for.

    `auto`: on CUDA bfloat16 from compute capability 8.0 on, else float16. On a CPU bfloat16 if it has units for that
    and the network is no convolutional one: ViTs are 1.7 times as fast with AVX-512 BF16 and four times with AMX,
    convolutions lose exactness (a cosine of 0.9994) and are faster in ONNX Runtime. float32 elsewhere.

    Args:
        name: as typed, short or full.
        device: where the network runs.
        network: that runs.

    Raises:
        FrozenprobeError: no such dtype.
    """
    full = full_name(name)
    if full != AUTO:
        return full, ""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return ("bfloat16" if major >= 8 else "float16"), f"compute capability {major}.{minor}"
    if device.type != "cpu":
        return "float32", f"as always on {device.type}"
    if is_convolutional(network):
        return "float32", "a convolutional network"
    units = bfloat16_units()
    if units:
        return "bfloat16", f"this CPU has units for it: {units}"
    return "float32", "this CPU has no units for bfloat16"
