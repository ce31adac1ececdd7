"""A feature file that was made with every option typed as something else than its default."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from frozenprobe.extract import work
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.compute import dtypes, engines
from frozenprobe.extract.options import Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.run import extract_features
from frozenprobe.images.sources import ImageSources
from tests.conftest import write_image

KNOWN = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
MADE = Choices(
    ANY_VIT, None, KNOWN, "trivial", 1, ("clean", "direct"), "report", 7,
    decoding="scaled", tap="cls+mean", engine="torch",
    compute_dtype="bfloat16", storage_dtype="float32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def plain_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without units for bfloat16, and no OpenVINO: what `auto` chooses does not depend on the machine."""
    installed = engines.is_installed
    monkeypatch.setattr(engines, "is_installed", lambda name: name != "openvino" and installed(name))
    for module in (dtypes, work):
        monkeypatch.setattr(module, "bfloat16_units", lambda: "")


@pytest.fixture(scope="module")
def carried_out(tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> ExtractRequest:
    """A request whose every choice differs from the defaults, and the file it made."""
    folder = tmp_path_factory.mktemp("made")
    for key in range(4):
        write_image(folder / "train" / "ab"[key % 2] / f"{key}.jpg", key)
    choices = replace(MADE, weights=tiny_vit)
    request = ExtractRequest(ImageSources(folder / "train", None), choices, out=folder / "f.h5", workers=0)
    extract_features(request)
    return request


@pytest.fixture
def made(carried_out: ExtractRequest, tmp_path: Path) -> ExtractRequest:
    """The same with a copy of the file."""
    return replace(carried_out, out=Path(shutil.copy(carried_out.out, tmp_path)))
