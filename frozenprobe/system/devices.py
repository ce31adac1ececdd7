"""Where torch computes: devices by name, what they are made for, and float32 on them that is float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch

from frozenprobe.errors import FrozenprobeError, unknown_name
from frozenprobe.system.files import system_text

# What multiplies bfloat16 in a CPU, torch's question about it, and the flag that Linux shows where torch has none.
UNITS = (("AMX", "_is_amx_tile_supported", "amx_bf16"), ("AVX-512 BF16", "_is_avx512_bf16_supported", "avx512_bf16"))


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` takes CUDA, else MPS, else the CPU.

    Raises:
        FrozenprobeError: no such device here.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in there.items() if here))
    kind, colon, number = str(name).partition(":")
    if kind not in there or bool(colon) != number.isdecimal():
        raise unknown_name("device", name, ["auto", *there, "cuda:1"], where="--device")
    index = int(number or 0)
    if not there[kind] or (kind == "cuda" and index >= torch.cuda.device_count()):
        raise FrozenprobeError(
            f"The device {name}",
            found=f"torch {torch.__version__} sees {', '.join(kind for kind, here in there.items() if here)}",
            where="--device",
            remedy="name one of those, or `--device auto` for the best of them",
        )
    return torch.device(name)


def bfloat16_units(cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """What multiplies bfloat16 in this CPU, as torch would use it; empty: nothing, or nothing that is known to.

    Args:
        cpu_info: where Linux shows the CPU's flags.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return ""
    for name, question, flag in UNITS:
        ask = getattr(torch.cpu, question, None)  # private: it may be gone
        if ask() if ask is not None else flag in system_text(cpu_info).split():
            return name
    return ""


def computing_on(device: torch.device) -> AbstractContextManager[None]:
    """Within, what torch makes without being told where (streams, graphs) belongs to this device, not to the first."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """On CUDA, products and convolutions in float32 may round their inputs to 10 bits (TF32); not in here."""
    if device.type != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    # torch 2.9 renamed the setting, and raises an error when one name is read after the other was set
    name, exact = ("fp32_precision", "ieee") if hasattr(matmul, "fp32_precision") else ("allow_tf32", False)
    before = getattr(matmul, name)
    setattr(matmul, name, exact)
    try:
        with cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            benchmark_limit=cudnn.benchmark_limit,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ):
            yield
    finally:
        setattr(matmul, name, before)
