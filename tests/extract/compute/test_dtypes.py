"""The compute dtype: by hardware and family of network, with the reason, unless one was asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.compute import dtypes
from frozenprobe.extract.compute.dtypes import choose_dtype, full_name

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
TRANSFORMER = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(), nn.Linear(8, 8))
CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))


@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16"), ((6, 0), "float16")]
)
def test_dtype_on_cuda_follows_the_compute_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str
) -> None:
    """A100 and younger: bfloat16; T4 (7.5) and P100 (6.0), Kaggle's, would only emulate it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    chosen, reason = choose_dtype("auto", CUDA, CONVOLUTIONS)
    assert chosen == dtype
    assert reason == f"compute capability {capability[0]}.{capability[1]}"
    assert choose_dtype("fp32", CUDA, CONVOLUTIONS) == ("float32", "")


@pytest.mark.parametrize(
    ("units", "network", "dtype", "reason"),
    [
        ("AMX", TRANSFORMER, "bfloat16", "AMX"),
        ("AVX-512 BF16", TRANSFORMER, "bfloat16", "AVX-512 BF16"),
        ("", TRANSFORMER, "float32", "no units"),
        ("AMX", CONVOLUTIONS, "float32", "convolutional"),
    ],
)
def test_dtype_on_a_cpu_follows_its_units_and_the_family_of_the_network(
    monkeypatch: pytest.MonkeyPatch, units: str, network: nn.Module, dtype: str, reason: str
) -> None:
    monkeypatch.setattr(dtypes, "bfloat16_units", lambda: units)
    chosen, why = choose_dtype("auto", CPU, network)
    assert chosen == dtype
    assert reason in why
    assert choose_dtype("auto", torch.device("mps"), network)[0] == "float32"


def test_dtypes_have_short_names_and_unknown_ones_are_errors() -> None:
    assert [full_name(name) for name in ("bf16", "fp16", "float16", "auto")] == [
        "bfloat16", "float16", "float16", "auto",
    ]  # fmt: skip
    with pytest.raises(FrozenprobeError, match=r"did you mean float32\?") as caught:
        choose_dtype("float23", CPU, TRANSFORMER)
    assert caught.value.where == "--dtype"
