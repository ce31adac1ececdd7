"""Ranks end to end, on real files with a tiny real network: two ranks on a CPU under torchrun, one of them killed.

No gloo and no process group: ranks meet on the file system only, so that one that dies leaves nobody hanging.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from frozenprobe.cache.store import Features, open_features
from frozenprobe.cli import main
from frozenprobe.errors import FileInUse, FrozenprobeError, ImageError, SpecMismatch
from frozenprobe.extract import target as target_module
from frozenprobe.extract.backbones.backbone import Backbone
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.options import Choices, ExtractRequest, WeightsOptions
from frozenprobe.extract.ranks import checked as slices
from frozenprobe.extract.ranks.rank import Rank
from frozenprobe.extract.report import ExtractReport, render_report
from frozenprobe.extract.run import extract_features
from frozenprobe.images.sources import ImageSources
from frozenprobe.system.progress import Progress, ignore_progress

HALF = (0.5, 0.5, 0.5)
ROWS = 12 * 4 + 5 * 2  # 12 training images with 2 + 2 views, 5 test images with 2

KILLED = """
import os, signal, time
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cli import main
from frozenprobe.extract import run

add, calls = RowStore.add, []

def killing(*args):
    calls.append(1)
    if os.environ["RANK"] == "0":
        time.sleep(0.3)
    elif len(calls) == 3:
        while not os.path.exists("f.h5.rank-0.lock"):  # a rank that came later would tidy up a dead one's lock
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    add(*args)

RowStore.add = killing
run.PIECE_BYTES = 1  # a piece for every batch
main()
"""


@pytest.fixture
def request_(photo_folder: Path, tiny_vit: Path, tmp_path: Path) -> ExtractRequest:
    """Batches of 4 views are an image: of equal shape however many ranks there are."""
    return ExtractRequest(
        sources=ImageSources(photo_folder / "train", photo_folder / "test"),
        choices=Choices(
            ANY_VIT, tiny_vit, WeightsOptions(3, 36, "bicubic", HALF, HALF), views=2, storage_dtype="float32"
        ),
        out=tmp_path / "f.h5",
        batch_size=4,
    )


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch):
    """Runs an extraction as one of several ranks."""

    def run(request: ExtractRequest, number: int, world: int, progress: Progress = ignore_progress) -> ExtractReport:
        with monkeypatch.context() as patch:
            patch.setenv("RANK", str(number))
            patch.setenv("WORLD_SIZE", str(world))
            return extract_features(request, progress)

    return run


def load_tiny(request: ExtractRequest) -> Backbone:
    """The backbone of a request, as if its weights were official ones."""
    return load_backbone(ANY_VIT, request.choices.weights, request.choices.weights_options)


def options(request: ExtractRequest) -> list[str]:
    """The command line of a request."""
    half = ["0.5"] * 3
    return [
        "extract", "--train", f"{request.sources.train}", "--test", f"{request.sources.test}", "--backbone", ANY_VIT,
        "--weights", f"{request.choices.weights}", "--attention-heads", "3", "--resize", "36",
        "--interpolation", "bicubic", "--mean", *half, "--std", *half,
        "--views", "2", "--dtype", "fp32", "--storage", "float32", "--batch-size", "4", "--out", f"{request.out}",
    ]  # fmt: skip


def torchrun(folder: Path, ranks: int, *command: str) -> subprocess.CompletedProcess[str]:
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.run(
        [*start, *command], cwd=folder, env=os.environ | here, capture_output=True, text=True, timeout=600, check=False
    )


def same(one: Features, other: Features, *, atol: float = 0.0) -> bool:
    """Row for row and id for id."""
    return one.index() == other.index() and all(
        np.allclose(one.read(name, range(len(views))), other.read(name, range(len(views))), rtol=0, atol=atol)
        for name, _, views in one.splits
    )


@pytest.mark.slow
def test_a_rank_is_killed_under_torchrun_and_another_number_of_ranks_goes_on(
    request_: ExtractRequest, tmp_path: Path
) -> None:
    """SIGKILL amid rank 1 of 2, for which torchrun ends rank 0, too; then 3 ranks: the file of one process."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    killed = torchrun(tmp_path, 2, str(script), *options(request_))
    assert killed.returncode != 0
    assert "SIGKILL" in killed.stderr
    assert not request_.out.exists()
    left = [path.name for path in tmp_path.glob("f.h5.rank*")]
    assert left == ["f.h5.rank-1.lock"], "rank 0 was told to stop (SIGTERM) and gave its lock back"
    resumed = torchrun(tmp_path, 3, "-m", "frozenprobe", *options(request_), "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert sorted(path.name for path in tmp_path.glob("f.h5*")) == ["f.h5"]
    assert "rank 0: backbone" in resumed.stderr
    assert "rank 1: backbone" not in resumed.stderr
    decoder, text, reports = json.JSONDecoder(), resumed.stdout.strip(), []
    while text:
        report, end = decoder.raw_decode(text)
        reports.append(report)
        text = text[end:].strip()
    assert [report["written"] for report in reports].count(True) == 1
    assert max(report["reused"] for report in reports) >= 8, "the two batches of rank 1 were there"
    whole = extract_features(replace(request_, out=tmp_path / "whole.h5"))
    assert same(open_features(request_.out), open_features(whole.path), atol=1e-5)


def test_shares_add_up_to_the_file_of_one_process(request_: ExtractRequest, tmp_path: Path, as_rank) -> None:
    """Rank after rank by hand; the last one finishes."""
    reports = [as_rank(request_, number, 3) for number in (2, 0, 1)]
    assert [report.written for report in reports] == [False, False, True]
    assert [report.waiting for report in reports][-1] == 0
    assert sum(report.computed for report in reports) == ROWS
    assert max(report.computed for report in reports) - min(report.computed for report in reports) <= 6
    whole = extract_features(replace(request_, out=tmp_path / "whole.h5"))
    assert same(open_features(request_.out), open_features(whole.path), atol=1e-5)
    assert open_features(request_.out).about.keys() == open_features(whole.path).about.keys()
    assert sorted(path.name for path in tmp_path.glob("f.h5*")) == ["f.h5"]


def test_a_rank_without_work_loads_no_backbone(
    request_: ExtractRequest, as_rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has no image, before and after another has begun; one whose share is done; all, when all is done."""
    loaded: list[str] = []

    def load(name: str, *weights: object) -> Backbone:
        loaded.append(name)
        return load_tiny(request_)

    monkeypatch.setattr(target_module, "load_backbone", load)
    request = replace(request_, choices=replace(request_.choices, weights=None, weights_options=None))
    idle = as_rank(request, 19, 20)
    assert (loaded, idle.written, idle.computed, idle.waiting) == ([], False, 0, ROWS)
    assert "rank 19 of 20 is done: 0 views computed" in render_report(idle)
    first = as_rank(request, 0, 20)
    assert (loaded, first.written) == ([ANY_VIT], False)
    idle, again = as_rank(request, 19, 20), as_rank(request, 0, 20)
    assert [idle.waiting, again.waiting] == [ROWS - first.computed] * 2
    assert loaded == [ANY_VIT]
    extract_features(request)
    assert sorted(path.name for path in request.out.parent.glob("f.h5*")) == ["f.h5"]
    loaded.clear()
    assert "nothing left to do" in render_report(as_rank(request, 19, 20))
    assert loaded == []


def test_a_rank_without_work_still_says_what_does_not_fit(
    request_: ExtractRequest, as_rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another rank has begun with another seed while this one checked the images."""
    seeds = [replace(request_, choices=replace(request_.choices, seed=seed)) for seed in (0, 1)]
    begun: list[ExtractReport] = []

    def begin(stage: str, done: int, total: int) -> None:
        if not begun:
            begun.append(as_rank(seeds[1], 0, 20))

    monkeypatch.setattr(target_module, "load_backbone", lambda *name: load_tiny(request_))
    request = replace(seeds[0], choices=replace(seeds[0].choices, weights=None, weights_options=None))
    with pytest.raises(SpecMismatch, match="Features with seed = 0"):
        as_rank(request, 19, 20, begin)
    assert begun[0].computed


def test_one_process_goes_on_where_ranks_stopped(request_: ExtractRequest, tmp_path: Path, as_rank) -> None:
    first = as_rank(request_, 1, 4)
    assert (first.written, first.waiting) == (False, ROWS - first.computed)
    report = extract_features(request_)
    assert (report.written, report.computed, report.reused) == (True, ROWS - first.computed, first.computed)
    assert sorted(path.name for path in tmp_path.glob("f.h5*")) == ["f.h5"]


def test_ranks_grow_a_finished_file(request_: ExtractRequest, as_rank) -> None:
    extract_features(request_)
    before = open_features(request_.out)
    more = replace(request_, choices=replace(request_.choices, views=3))
    reports = [as_rank(more, number, 2) for number in (0, 1)]
    assert sum(report.computed for report in reports) == 12
    grown = open_features(request_.out)
    assert grown.augmented_views == ("aug1", "aug2", "aug3")
    assert np.array_equal(grown.read("train", range(4)), before.read("train", range(4)))
    again = [as_rank(more, number, 2) for number in (0, 1)]
    assert [(report.computed, report.written, report.waiting) for report in again] == [(0, False, 0)] * 2
    assert "nothing left to do" in render_report(again[0])


def test_ranks_check_every_image_once(request_: ExtractRequest, as_rank, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    check_image = "frozenprobe.extract.inspect.check_image"
    monkeypatch.setattr(check_image, lambda content, path, **limits: checked.append(path))
    monkeypatch.setattr(slices, "SLICE", 4)
    for number in range(3):
        as_rank(request_, number, 3)
    assert len(checked) == len(set(checked)) == 17


def test_bad_images_stop_every_rank_before_the_hours_are_spent(request_: ExtractRequest, as_rank) -> None:
    bad = sorted(request_.sources.train.rglob("*.jpg"))[0]
    bad.write_bytes(bad.read_bytes()[:-200])
    for number in (0, 1):
        with pytest.raises(ImageError, match=bad.name):
            as_rank(request_, number, 2)
    reports = [as_rank(replace(request_, skip_bad=True), number, 2) for number in (0, 1)]
    assert [len(report.skipped) for report in reports] == [1, 1]
    assert reports[1].written


def test_a_process_that_is_alone_does_not_write_beside_a_rank(request_: ExtractRequest, monkeypatch) -> None:
    seen: list[str] = []

    def look(*args: object) -> None:
        if not seen:
            monkeypatch.delenv("WORLD_SIZE")
            with pytest.raises(FileInUse, match="rank 0 of 2"):
                extract_features(request_)
            seen.append("refused")

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    extract_features(request_, look)
    assert seen == ["refused"]


def test_a_rank_that_is_none_is_an_error_before_anything_is_read(request_: ExtractRequest, as_rank) -> None:
    with pytest.raises(FrozenprobeError, match="RANK"):
        as_rank(request_, 2, 2)
    assert not request_.out.parent.joinpath("f.h5.pieces").exists()


@pytest.mark.parametrize(("number", "talks"), [(0, True), (1, False)])
def test_the_first_rank_talks_and_the_others_only_if_something_matters(
    request_: ExtractRequest, number: int, talks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *args: None)
    environment = {"RANK": str(number), "WORLD_SIZE": "2"}
    result = CliRunner().invoke(main, options(request_), env=environment)
    assert result.exit_code == 0, result.output
    assert ("rank 0: backbone" in result.stderr) == talks
    assert ("rank 0 of 2 is done: " in result.stdout) == talks
    assert bool(result.output) == talks
    last = CliRunner().invoke(main, options(request_), env=environment | {"RANK": str(1 - number)})
    assert f"finished by {Rank(1 - number, 2)}" in last.stdout
    wrong = CliRunner().invoke(main, [*options(request_), "--seed", "1"], env=environment)
    assert wrong.exit_code == 1
    assert f"rank {number}: error: " in wrong.stderr


@pytest.fixture(autouse=True)
def quiet_again():
    """The command line sets handlers on the library's logger."""
    yield
    logging.getLogger("frozenprobe").handlers = []
