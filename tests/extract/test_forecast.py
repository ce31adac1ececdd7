"""The forecast against the run: what it counts is what the run does, and it leaves no trace."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from frozenprobe.cache.growing.finish import finished_bytes
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FrozenprobeError, ImageError, SpecMismatch
from frozenprobe.extract.forecast import Disk, Forecast, existing_folder, forecast, render_forecast
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.run import extract_features
from tests.conftest import write_image
from tests.extract.test_run import ROWS, changed_weights, choosing, damage, request_, run_killed

__all__ = [
    "request_"
]  # the fixture: 12 training images with 2 + 2 views, 5 test images with 2, and a tiny real network

pytestmark = pytest.mark.usefixtures("no_fsync")
REPORT = 9 * 5 * 12 + 5


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file and folder below, byte for byte, with the time it was last changed."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }


def foretold(request: ExtractRequest, folder: Path, **price: float) -> Forecast:
    """The forecast, which has to leave the folder as it is."""
    before = listing(folder)
    told = forecast(request, **price)
    assert listing(folder) == before
    return told


def forwards(told: Forecast) -> tuple[int, int, int, int]:
    return told.left.forwards, told.reused, told.study.forwards, told.report_study.forwards


def test_plan_counts_what_the_run_then_does(request_: ExtractRequest, tmp_path: Path) -> None:
    told = foretold(request_, tmp_path)
    report = extract_features(request_)
    assert forwards(told) == (report.computed, report.reused, ROWS, REPORT) == (ROWS, 0, ROWS, REPORT)
    assert (told.train, told.test, told.classes, told.skipped, told.writer) == (12, 5, 3, [], "")
    assert told.measured is not None
    assert told.measured.compute == report.compute
    assert (told.measured.engine, told.measured.device, told.measured.dtype) == ("torch", "cpu", "float32")
    assert told.disk.pieces == ROWS * 24 * 4
    assert told.disk.file == finished_bytes(open_features(report.path))
    assert told.measured.memory.weights > 24 * 24 * 4
    assert told.left.seconds is not None
    assert told.left.seconds > told.measured.besides > 0


def test_folder_that_is_not_there_is_not_made(request_: ExtractRequest, tmp_path: Path) -> None:
    told = foretold(replace(request_, out=tmp_path / "new" / "folder" / "f.h5"), tmp_path)
    assert told.disk.free > 0
    assert told.left.forwards == ROWS


def test_nothing_is_left_of_a_finished_file(request_: ExtractRequest, tmp_path: Path) -> None:
    extract_features(request_)
    told = foretold(request_, tmp_path, price_per_hour=3.0)
    assert forwards(told) == (0, ROWS, ROWS, REPORT)
    assert (told.measured, told.left.seconds, told.study.cost) == (None, None, None)
    assert "nothing left to compute" in render_forecast(told)


def test_of_a_finished_file_only_what_is_missing_is_planned(request_: ExtractRequest, tmp_path: Path) -> None:
    extract_features(request_)
    write_image(request_.sources.train / "10" / "new.jpg", 77)
    request = choosing(request_, views=3)
    told = foretold(request, tmp_path)
    report = extract_features(request)
    assert forwards(told)[:2] == (report.computed, report.reused) == (12 + 5, ROWS)
    assert told.study.forwards == 13 * 5 + 5 * 2


def test_rows_of_a_killed_run_are_counted_as_there(
    request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(request_, batch_size=4)
    run_killed(monkeypatch, request, pieces=3)
    told = foretold(request, tmp_path)
    assert told.reused == 12
    report = extract_features(request)
    assert forwards(told)[:3] == (report.computed, report.reused, ROWS)


def test_smoke_run_is_planned_as_one(request_: ExtractRequest, tmp_path: Path) -> None:
    request = replace(request_, limit=3)
    told = foretold(request, tmp_path)
    assert told.left.forwards == extract_features(request).computed < ROWS
    assert told.report_study.forwards == 9 * 5 * told.train + told.test


def test_unusable_test_image_costs_nobody_a_forward(request_: ExtractRequest, tmp_path: Path) -> None:
    damage(request_.sources.test / "003.jpg")
    told = foretold(replace(request_, skip_bad=True), tmp_path)
    assert forwards(told) == (ROWS - 2, 0, ROWS - 2, REPORT - 1)
    assert "which will be skipped: 1\n" in render_forecast(told)


def test_money_is_hours_times_the_price(request_: ExtractRequest, tmp_path: Path) -> None:
    told = foretold(request_, tmp_path, price_per_hour=3.6)
    rate = told.measured.speed.rate if told.measured else math.nan
    for each in (told.left, told.study, told.report_study):
        assert each.seconds is not None
        assert each.cost == pytest.approx(each.seconds / 1000)
    assert told.left == told.study
    assert told.report_study.seconds == pytest.approx(REPORT / rate)
    assert forecast(request_).left.cost is None


@pytest.mark.parametrize("price", [-1.0, math.nan, math.inf])
def test_what_is_no_price_is_refused(request_: ExtractRequest, price: float) -> None:
    with pytest.raises(FrozenprobeError, match="--price-per-hour"):
        forecast(request_, price_per_hour=price)


class Refusal(NamedTuple):
    """What the run refuses, and the forecast has to."""

    error: type[FrozenprobeError]
    says: str
    spoil: Callable[[ExtractRequest, Path], ExtractRequest]


def another_seed(request: ExtractRequest, folder: Path) -> ExtractRequest:
    extract_features(request)
    return choosing(request, seed=1)


def bad_image(request: ExtractRequest, folder: Path) -> ExtractRequest:
    damage(request.sources.train / "2" / "0.jpg")
    return request


def nan_weights(request: ExtractRequest, folder: Path) -> ExtractRequest:
    return changed_weights(request, folder / "w.pth", lambda state: state["conv_proj.bias"].fill_(torch.nan))


def other_images(request: ExtractRequest, folder: Path) -> ExtractRequest:
    extract_features(request)
    for number, path in enumerate(request.sources.train.rglob("*.jpg")):
        write_image(path, 5000 + number)
    return request


def no_folder(request: ExtractRequest, folder: Path) -> ExtractRequest:
    (folder / "file").write_text("")
    return replace(request, out=folder / "file" / "f.h5")


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(SpecMismatch, "seed = 1", another_seed),
        Refusal(ImageError, "2/0.jpg", bad_image),
        Refusal(FrozenprobeError, "NaN or infinity", nan_weights),
        Refusal(FrozenprobeError, "these are other images", other_images),
        Refusal(FrozenprobeError, "--out FILE", no_folder),
    ],
    ids=lambda refusal: refusal.spoil.__name__,
)
def test_plan_refuses_what_the_run_refuses(request_: ExtractRequest, tmp_path: Path, refusal: Refusal) -> None:
    request = refusal.spoil(request_, tmp_path)
    before = listing(tmp_path)
    with pytest.raises(refusal.error, match=refusal.says):
        forecast(request)
    assert listing(tmp_path) == before
    with pytest.raises(refusal.error, match=refusal.says):
        extract_features(request)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FrozenprobeError, match="no permission"):
        existing_folder(tmp_path / "f.h5")


def test_lock_of_another_writer_is_told_not_taken(request_: ExtractRequest, tmp_path: Path) -> None:
    assert request_.out is not None
    with writer_lock(request_.out):
        told = foretold(request_, tmp_path)
    assert f"process {os.getpid()}" in told.writer
    assert "WARNING: another process is writing this file" in render_forecast(told)


def test_too_little_space_is_told(request_: ExtractRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Disk(file=600, pieces=400, free=1020).enough
    assert not Disk(file=600, pieces=400, free=1019).enough
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert "NOT ENOUGH" in render_forecast(foretold(request_, tmp_path))
    with pytest.raises(FrozenprobeError, match="free disk space"):
        extract_features(request_)


def test_lines_for_a_person_say_what_the_numbers_say(request_: ExtractRequest) -> None:
    told = forecast(request_, price_per_hour=1e6)
    assert told.measured is not None
    speed = replace(told.measured.speed, rate=12.345, views=40, elapsed=3.2)
    measured = replace(told.measured, speed=speed, images_seconds=1.26)
    left = replace(told.left, seconds=7200.4, cost=2.0)
    text = render_forecast(replace(told, measured=measured, left=left, reused=7))
    for line in (
        "images     12 training in 3 classes, 5 test",
        f"forwards   {ROWS} to compute, 7 there already",
        f"compute    {measured.compute}",
        "12.3 views/s, on 40 of them in 3.2 s: decoding",
        "measured   images 1.3 s, backbone",
        f"predicted  {ROWS} forwards, 7,200 s = 2.00 h, 2.00 to pay",
        f"(9 epochs x 5 folds), for 69 dollars: {REPORT} forwards",
        f"here, from the start: {ROWS} forwards",
        "any head, folds or C tried afterwards: 0 forwards",
    ):
        assert line in text


def test_everything_about_it_goes_into_json(request_: ExtractRequest) -> None:
    told: dict[str, Any] = asdict(forecast(request_))
    assert set(told) >= {"left", "study", "report_study", "disk", "measured", "reused", "elapsed"}
    assert set(told["disk"]) == {"file", "pieces", "free"}
    assert set(told["measured"]) >= {"engine", "device", "dtype", "batch_size", "workers", "speed", "memory"}
