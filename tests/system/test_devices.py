"""Devices by name, and float32 products that keep all their bits whatever was set before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.devices import UNITS, bfloat16_units, choose_device, computing_on, full_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")])
def test_auto_takes_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto") == torch.device(chosen)
    assert choose_device("cpu") == CPU


def test_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "cuda:0", "mps"):
        with pytest.raises(FrozenprobeError, match=f"The device {name}\n.*sees cpu\n") as caught:
            choose_device(name)
        assert caught.value.where == "--device"


def test_second_gpu_of_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(FrozenprobeError, match="The device cuda:1"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:first", "cuda:-1", ""])
def test_unknown_device_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(FrozenprobeError, match=r"Known: auto, cuda, mps, cpu, cuda:1"):
        choose_device(name)


@pytest.mark.parametrize(
    ("says", "units"),
    [((True, True), "AMX"), ((False, True), "AVX-512 BF16"), ((False, False), ""), ((True, False), "AMX")],
)
def test_units_for_bfloat16_are_what_torch_would_use(
    monkeypatch: pytest.MonkeyPatch, says: tuple[bool, bool], units: str
) -> None:
    for (_, question, _), answer in zip(UNITS, says, strict=True):
        monkeypatch.setattr(torch.cpu, question, lambda answer=answer: answer, raising=False)
    assert bfloat16_units() == units
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert bfloat16_units() == ""


@pytest.mark.parametrize(
    ("flags", "units"),
    [("avx2 amx_bf16 amx_tile", "AMX"), ("avx512_bf16", "AVX-512 BF16"), ("avx512f xavx512_bf16 amx_int8", "")],
)
def test_where_torch_no_longer_tells_the_flags_of_the_cpu_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str, units: str
) -> None:
    for _, question, _ in UNITS:
        monkeypatch.delattr(torch.cpu, question, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : fpu {flags} sse\n", encoding="utf-8")
    assert bfloat16_units(tmp_path / "cpuinfo") == units
    assert bfloat16_units(tmp_path / "none") == ""


def settings() -> tuple[str | bool, bool]:
    """Of products and convolutions; asking for `allow_tf32` where `fp32_precision` was set is an error."""
    matmul = torch.backends.cuda.matmul
    return getattr(matmul, "fp32_precision", None) or matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@contextmanager
def rounding(name: str) -> Iterator[None]:
    """TF32 in products, set by a name that torch has had for the setting."""
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, name):
        pytest.skip("an older torch")
    before = getattr(matmul, name)
    setattr(matmul, name, {"allow_tf32": True, "fp32_precision": "tf32"}[name])
    try:
        yield
    finally:
        setattr(matmul, name, before)


@pytest.mark.parametrize("name", ["allow_tf32", "fp32_precision"])
def test_products_and_convolutions_on_cuda_keep_float32_for_a_while(name: str) -> None:
    with rounding(name):
        before = settings()
        assert before[0] in ("tf32", True)
        with full_precision(CUDA):
            assert settings() in (("ieee", False), (False, False))
        assert settings() == before
        with full_precision(CPU):
            assert settings() == before
        with pytest.raises(ZeroDivisionError), full_precision(CUDA):
            _ = 1 / 0
        assert settings() == before
        assert getattr(torch.backends.cuda.matmul, name) in ("tf32", True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_product_on_cuda_is_the_cpus() -> None:
    one, other = torch.randn(2, 300, 300, generator=torch.Generator().manual_seed(0))
    with rounding("allow_tf32"), full_precision(CUDA):
        found = (one.cuda() @ other.cuda()).cpu()
    assert (found - one @ other).abs().max() < 1e-4  # of TF32: 2e-2


def test_what_is_made_without_a_place_is_made_on_the_device_that_computes(monkeypatch):
    """Streams of rank 3 do not belong to the first device of the machine."""
    entered = []

    @contextmanager
    def device(wanted):
        entered.append(str(wanted))
        yield

    monkeypatch.setattr(torch.cuda, "device", device)
    for name in ("cpu", "cuda:3"):
        with computing_on(torch.device(name)):
            pass
    assert entered == ["cuda:3"]
