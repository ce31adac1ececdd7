"""The benchmarks run: what nobody starts for months must not have rotted when a machine with a GPU is paid for."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

import frozenprobe

ROOT = Path(frozenprobe.__file__).parent.parent
STARTED = {"bench_extract.py"}  # in earnest, below
SCRIPTS = sorted({path.name for path in (ROOT / "benchmarks").glob("bench_*.py")} - STARTED)
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


@pytest.fixture
def first_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("first_gpu")


def look(script: ModuleType, what: str, out: Path, *words: object) -> tuple[dict[str, Any], str]:
    """The numbers of a first look at a GPU, which is a CPU here, and what it prints."""
    line = [what, "--device", "cpu", "--out", str(out), *map(str, words)]
    done = CliRunner().invoke(script.main, line, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads((out / f"first-{what}.json").read_text()), done.output


@pytest.mark.slow
@pytest.mark.parametrize("what", ["core", "e2e"])
def test_every_step_of_a_first_look_at_a_gpu_runs(what: str, tmp_path: Path, first_gpu: ModuleType) -> None:
    found, out = look(first_gpu, what, tmp_path, "--tiny", "--rounds", 1)
    assert (found["errors"], found["left out"]) == ({}, {})
    assert list(found["seconds"]) == [step.name for step in first_gpu.STEPS[what]]
    assert all(found[name] for name in found["seconds"])
    if what == "core":
        assert found["correct"]["float32"]["cosine to the CPU"] == pytest.approx(1)
        assert found["memory runs out"]["rows"] == 8
        for step, way in (("torch", "--engine torch"), ("compile", "--engine compile")):
            assert found[step][way]["cosine"] > 0.999
            assert found["network alone"][way]["of the peak"] > 0
            assert f"| {way} | " in out
    else:
        for name in ("mild torch", "mild compile", "mild auto", "mild auto long", "report auto"):
            assert found[name]["of the network alone"] > 0
            assert found[name]["views"] == (1080 if "long" in name else 180)
            assert "views a batch" in found[name]["computed by"]
            assert f"| {name} | " in out
        assert found["mild compile"]["computed by"].startswith("compile")
        assert found["ranks"]["cosine"] == pytest.approx(1)


def test_a_step_of_a_first_look_stops_no_other_and_what_has_no_time_is_left_out(
    tmp_path: Path, first_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter((1.0, 2.0, 9.0))

    def breaks(look: object) -> None:
        raise MemoryError("gone")

    steps = (
        first_gpu.Step("breaks", 0, breaks, again=True),
        first_gpu.Step("long", 3600, breaks),
        first_gpu.Step("works", 0, lambda look: {"rate": next(numbers), "says": "so"}, again=True),
    )
    monkeypatch.setitem(first_gpu.STEPS, "core", steps)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is set back afterwards
    found, out = look(first_gpu, "core", tmp_path, "--shape", first_gpu.TINY)
    assert found["errors"] == {"breaks": "MemoryError: gone"}
    assert list(found["left out"]) == ["long"]
    assert found["works"] == {"rate": 2.0, "says": "so"}
    assert [each["rate"] for each in found["rounds"]["works"]] == [1.0, 2.0, 9.0]
    assert "left out: long: " in out


def test_jpeg_files_are_measured_beside_the_network_in_the_same_embedder(
    tmp_path: Path, first_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stages

    make, made, measured = stages.make_embedder, [], []

    def keep(*given: Any, **options: Any) -> Any:
        made.append(make(*given, **options))
        return made[-1]

    def rate(self: Any, runner: Any) -> float:
        measured.append(runner)
        return 1000.0

    monkeypatch.setattr(stages, "make_embedder", keep)
    monkeypatch.setattr(first_gpu.Look, "rate", rate)
    found, out = look(first_gpu, "e2e", tmp_path, "--tiny", "--only", "photos,mild auto")
    assert found["errors"] == {}
    assert [(each.forward, each.batch) for each in measured] == [(each.forward, each.batch_size) for each in made]
    rounds = found["rounds"]["mild auto"]
    assert len(rounds) == len(made) == 2
    assert all(each["of the network alone"] == each["under way"] / 1000 for each in rounds)
    assert "| mild auto | 180 | " in out


def test_multiplications_are_counted_right(first_gpu: ModuleType) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode
    from torchvision.models import VisionTransformer

    assert round(first_gpu.Shape(512, 16, 1024, 24, 16, 4096).gmacs) == first_gpu.GMACS_VIT_L_16
    vit = VisionTransformer(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=48, num_classes=5)
    vit.heads = torch.nn.Identity()
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):  # it knows no fused attention of a CPU
        vit.train()(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 2e9 == pytest.approx(first_gpu.shape_of(vit).gmacs, rel=1e-6)
