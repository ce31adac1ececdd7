"""From files to batches: one decoding an image, its views in order, and errors that survive a process boundary."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frozenprobe.errors import FrozenprobeError, ImageError
from frozenprobe.extract.compute import loader
from frozenprobe.extract.compute.loader import (
    PREFETCH,
    SPARE,
    Seconds,
    ViewDataset,
    dead_workers_named,
    fit_workers,
    in_flight,
    load_batches,
    settle_workers,
)
from frozenprobe.extract.views import cut as cutting
from frozenprobe.extract.views import preprocessing
from frozenprobe.extract.views.cut import Job, Row, ViewSettings, augmented_name, cut_all
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized, cut_test_view
from frozenprobe.extract.views.recipes import cut_view, make_recipe, view_generator
from tests.conftest import VIEWS_OF_JOBS as VIEWS
from tests.conftest import write_image

PREPROCESSING = Preprocessing(24, 20, "bicubic")
SETTINGS = ViewSettings(PREPROCESSING, "erase", 3, 10**6)


def batches_of(
    jobs: list[Job], *, batch_size: int = 3, settings: ViewSettings = SETTINGS, workers: int = 0, **how: int
) -> list[list[Row]]:
    return list(load_batches(jobs, settings, batch_size=batch_size, workers=workers, seconds=Seconds(), **how))


def pixels_of(batches: list[list[Row]]) -> list[tuple[str, str, bytes]]:
    return [(row.content_hash, row.name, row.view.pixels.numpy().tobytes()) for batch in batches for row in batch]


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 20), (3, [3] * 6 + [2]), (20, [20]), (32, [20])])
def test_batches_are_full_and_in_the_order_of_the_jobs(jobs: list[Job], batch_size: int, sizes: list[int]) -> None:
    batches = batches_of(jobs, batch_size=batch_size)
    assert list(map(len, batches)) == sizes
    rows = [(row.path, row.content_hash, row.name) for batch in batches for row in batch]
    assert rows == [(job.path, job.content_hash, name) for job in jobs for name in VIEWS]


def test_rows_are_the_views_of_their_image(jobs: list[Job]) -> None:
    recipe = make_recipe("erase", PREPROCESSING)
    for row in (row for batch in batches_of(jobs) for row in batch):
        with Image.open(row.path) as image:
            if row.name.startswith("aug"):
                rng = view_generator(row.content_hash, int(row.name[3:]), recipe=recipe, seed=3)
                pixels, erased = cut_view(Resized(image), recipe, rng)
            else:
                pixels, erased = np.asarray(cut_test_view(Resized(image), row.name, PREPROCESSING)), None
        assert np.array_equal(row.view.pixels, pixels)
        assert row.view.erased == erased


def test_no_jobs_no_batches() -> None:
    assert batches_of([]) == []


def test_augmented_views_are_named_by_their_number() -> None:
    assert [augmented_name(view) for view in (1, 12)] == ["aug1", "aug12"]


def test_an_image_is_read_and_decoded_once_and_resized_once_a_size(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many views are cut from it: clean and hflip share a size; direct and `erase` have others."""
    calls: list[str] = []

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: (calls.append(name), original(*args, **kwargs))[1])

    for owner, name in ((cutting, "read_image"), (cutting, "decode_image"), (preprocessing.F, "resize")):
        count(owner, name)
    batches_of(jobs)
    assert [calls.count(name) for name in ("read_image", "decode_image", "resize")] == [4, 4, 12]
    batches_of([job._replace(views=("clean", "hflip")) for job in jobs])
    assert [calls.count(name) for name in ("read_image", "decode_image", "resize")] == [8, 8, 16]
    report = replace(SETTINGS, preprocessing=Preprocessing(20, 20, "bilinear"))
    batches_of([job._replace(views=("clean", "hflip", "aug1", "aug2")) for job in jobs], settings=report)
    assert calls.count("resize") == 20  # the clean view's size is the recipe's


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda path: path.write_bytes(write_image(path.with_name("x.png"), 99).read_bytes()), "another content"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b""), "another content"),
    ],
    ids=["changed", "removed", "emptied"],
)
def test_image_that_is_not_what_it_was_is_an_error_that_names_it(
    jobs: list[Job], damage: Any, found: str, workers: int
) -> None:
    """From a worker process too: torch would wrap a raised error into another with a traceback for a message."""
    damage(jobs[2].path)
    with pytest.raises(ImageError) as caught:
        batches_of(jobs, workers=workers)
    assert found in caught.value.found
    assert caught.value.where == str(jobs[2].path)
    assert "Traceback" not in str(caught.value)


def test_image_that_cannot_be_decoded_is_an_error_that_names_it(jobs: list[Job]) -> None:
    jobs[1].path.write_bytes(jobs[1].path.read_bytes()[:-200])
    bad = jobs[1]._replace(content_hash=hashlib.sha256(jobs[1].path.read_bytes()).hexdigest())
    with pytest.raises(ImageError, match="A whole image") as caught:
        batches_of([jobs[0], bad])
    assert caught.value.where == str(bad.path)


def test_batches_before_a_bad_image_have_been_handed_out(jobs: list[Job]) -> None:
    jobs[2].path.unlink()
    handed: list[list[Row]] = []
    with pytest.raises(ImageError):
        handed.extend(load_batches(jobs, SETTINGS, batch_size=4, workers=0, seconds=Seconds()))
    assert len(handed) == 2


def test_the_limit_on_pixels_holds_while_loading(jobs: list[Job]) -> None:
    with pytest.raises(ImageError, match="--max-pixels"):
        batches_of(jobs, settings=replace(SETTINGS, max_pixels=9))


def test_dataset_travels_to_a_spawned_process(jobs: list[Job]) -> None:
    """Windows and macOS start workers by pickling what they need."""
    dataset = pickle.loads(pickle.dumps(ViewDataset(jobs, SETTINGS)))
    sent = pickle.loads(pickle.dumps(dataset[1]))
    assert sent.job == jobs[1]
    assert np.array_equal(sent.pixels, cut_all(jobs[1], SETTINGS).pixels)
    assert pickle.loads(pickle.dumps(loader.keep)) is loader.keep


def test_time_is_booked_where_it_is_spent(jobs: list[Job]) -> None:
    seconds = Seconds()
    list(load_batches(jobs, SETTINGS, batch_size=3, workers=0, seconds=seconds))
    assert seconds.decoding > 0
    assert seconds.views > 0
    assert (seconds.backbone, seconds.writing) == (0, 0)


# Shared memory, of which Docker gives 64 MB: workers put their views there.


@given(
    wanted=st.integers(0, 200),
    image=st.integers(1, 10**8),
    free=st.one_of(st.none(), st.integers(0, 10**8), st.integers(0, 10**11)),
)
def test_never_more_is_in_flight_than_fits_and_all_workers_where_there_is_room(
    wanted: int, image: int, free: int | None
) -> None:
    def fits(workers: int, prefetch: int) -> bool:
        return free is None or in_flight(workers, prefetch) * image + SPARE <= free

    workers, prefetch = fit_workers(wanted, image, free)
    assert fits(workers, prefetch) or workers == 0
    if fits(wanted, PREFETCH):
        assert (workers, prefetch) == (wanted, PREFETCH)
    elif wanted:
        assert prefetch == 1
        assert workers == wanted or not fits(workers + 1, 1)


def test_docker_s_64_mb_hold_the_views_of_eight_workers(jobs: list[Job], caplog: pytest.LogCaptureFixture) -> None:
    """A clean view and eight augmented ones of 512 px are 7.1 MB; it is said what was found, is done and helps."""
    settings = replace(SETTINGS, preprocessing=Preprocessing(512, 512))
    nine = [jobs[0]._replace(views=("clean",)), jobs[1]._replace(views=("clean", *(f"aug{n}" for n in range(1, 9))))]
    with caplog.at_level(logging.WARNING, "frozenprobe"):
        assert settle_workers(nine, settings, 16, None) == settle_workers(nine, settings, 16, 10**9) == (16, PREFETCH)
        assert settle_workers(nine, settings, 0, 0)[0] == 0
        assert caplog.records == []
        assert settle_workers(nine, settings, 16, 64 << 20) == (8, 1)
    for part in ("16 processes", "234.6 MB", "67.1 MB are free", "going on with 8", "--shm-size=2g", "--ipc=host"):
        assert part in caplog.text
    assert settle_workers(nine, settings, 16, 1 << 20) == (0, 1)
    assert "this process cuts" in caplog.text


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 1), (2, 1), (2, 2)])
def test_worker_processes_are_no_further_ahead_than_was_reckoned(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, prefetch: int
) -> None:
    """However slowly batches are taken; what has been taken lies in this process's own memory."""
    begun, ahead = tmp_path / "begun", [0]

    def cut_and_tell(job: Job, settings: ViewSettings) -> Any:
        with begun.open("a") as file:
            file.write("x")
        return cut_all(job, settings)

    monkeypatch.setattr(loader, "cut_all", cut_and_tell)
    size = len(VIEWS)
    how = {"batch_size": size, "workers": workers, "prefetch": prefetch}
    rows: list[list[Row]] = []
    for batch in load_batches(jobs * 4, SETTINGS, seconds=Seconds(), **how):
        time.sleep(0.01)
        rows.append(batch)
        ahead.append(begun.stat().st_size - len(rows) + 1)
        assert not any(row.view.pixels.is_shared() for row in batch)
    assert max(ahead) <= in_flight(workers, prefetch)
    assert pixels_of(rows) == pixels_of(batches_of(jobs)) * 4


def test_where_shared_memory_is_full_all_the_same_no_view_is_lost(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may have filled it: torch's queues would print an error and never hand the image over."""

    def full(pixels: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    here = pixels_of(batches_of(jobs))
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert pixels_of(batches_of(jobs, workers=2)) == here


@pytest.mark.skipif(os.name == "nt", reason="no signals")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "Killed"), (signal.SIGBUS, "Bus error")])
def test_a_worker_that_the_system_kills_is_an_error_that_says_what_to_do(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    monkeypatch.setattr(loader, "cut_all", lambda *args: os.kill(os.getpid(), number))
    with pytest.raises(FrozenprobeError) as caught, dead_workers_named():
        batches_of(jobs, workers=1)
    assert caught.value.found == f"one was killed by signal: {name}"
    for part in ("same command again", "--workers", "--shm-size"):
        assert part in caught.value.remedy


def test_a_worker_that_ends_by_itself_and_other_errors_are_told_apart(jobs: list[Job], monkeypatch) -> None:
    with pytest.raises(RuntimeError, match="other"), dead_workers_named():
        raise RuntimeError("other")
    monkeypatch.setattr(loader, "cut_all", lambda *args: os._exit(3))
    with pytest.raises(FrozenprobeError, match="exited unexpectedly with exit code 3"), dead_workers_named():
        batches_of(jobs, workers=1)
