"""The benchmarks run: what nobody starts for months must not have rotted when a machine with a GPU is paid for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import frozenprobe

ROOT = Path(frozenprobe.__file__).parent.parent
STARTED = {"bench_extract.py", "bench_gpu.py"}  # in earnest, below
SCRIPTS = sorted({path.name for path in (ROOT / "benchmarks").glob("bench_*.py")} - STARTED | {"first_gpu.py"})
TINY = '{"heads": 3, "resize": 36, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}'


def run(script: str, *words: object) -> str:
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / script), *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_says_what_it_can_be_asked_for(script: str) -> None:
    assert "--help" in run(script, "--help")


def test_extraction_is_measured_beside_loops_and_the_network(
    photo_folder: Path, tiny_vit: Path, tmp_path: Path
) -> None:
    pytest.importorskip("timm")
    out = run(
        "bench_extract.py", photo_folder / "train", "--backbone", "torchvision:VisionTransformer",
        "--weights", tiny_vit, "--weights-options", TINY, "--engines", "torch", "--batches", "1,2", "--views", 2,
        "--rounds", 2, "--epochs", 1, "--seconds", 0.02, "--photos", 7, "--json", tmp_path / "numbers.json",
    )  # fmt: skip
    assert "7 photos x 3 views" in out
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert {len(values) for values in numbers["rounds"].values()} == {2}
    alone, bound = (numbers["rounds"][name] for name in ("the network alone", "the bound"))
    assert all(0 < low < high for low, high in zip(bound, alone, strict=True))
    for what in ("ImageFolder + DataLoader, 0 workers", "timm's loader, 0 workers", "frozenprobe, whole call"):
        assert f"| {what} |" in out


def test_a_gpu_is_measured_from_peak_to_photos(tmp_path: Path) -> None:
    out = run(
        "bench_gpu.py", "--device", "cpu", "--dtype", "bfloat16", "--shape", "32,8,24,2,3,48", "--photos", 12,
        "--photo-size", "40,30", "--views", 2, "--engines", "torch", "--recipes", "mild", "--matmuls", "16,32",
        "--seconds", 0.02, "--rounds", 1, "--json", tmp_path / "numbers.json",
    )  # fmt: skip
    found = json.loads((tmp_path / "numbers.json").read_text())
    assert found["errors"] == {}
    numbers = found["numbers"]
    assert numbers["peak TFLOP/s"] > 0
    assert numbers["alone, torch"]["cosine"][0] > 0.999
    for place in ("cpu", "device"):
        assert numbers[f"frozenprobe, torch, mild views cut on {place}"]["fraction"][0] > 0
    assert "of the network alone" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "only"), [("core", ""), ("e2e", "photos,loop autocast mild,extract mild device")], ids=["core", "e2e"]
)
def test_every_step_of_a_first_look_at_a_gpu_runs(
    what: str, only: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second command only one step of each kind: the others are the same command with other options."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import first_gpu

    run("first_gpu.py", what, "--device", "cpu", "--tiny", "--out", tmp_path, "--only", only)
    found = json.loads((tmp_path / f"first-{what}.json").read_text())
    assert found["errors"] == {}
    assert list(found["steps"]) == (only.split(",") if only else [name for name, *_ in first_gpu.STEPS[what]])
    assert all(found[name] for name in found["steps"])
    if what == "core":
        assert found["correct"]["float32"]["cosine to the CPU"] == pytest.approx(1)
        assert found["variants"]["module, autocast, cosine"] > 0.999
        assert found["compiled"]["cosine"] > 0.999
        assert found["today"]["cosine"] > 0.999
        assert found["memory runs out"]["rows"] == 8


def test_multiplications_are_counted_right(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.models import VisionTransformer

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench_gpu

    assert round(bench_gpu.Shape(512, 16, 1024, 24, 16, 4096).gmacs) == bench_gpu.GMACS_VIT_L_16
    vit = VisionTransformer(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
    vit.heads = torch.nn.Identity()
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # it knows no fused attention of a CPU
        vit.train()(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 2e9 == pytest.approx(bench_gpu.shape_of(vit).gmacs, rel=1e-6)
