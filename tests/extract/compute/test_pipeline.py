"""From jobs to vectors: the same rows whoever cuts and computes them, in order, and nothing lost at an error."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frozenprobe.errors import ImageError
from frozenprobe.extract.backbones.catalogue import ANY_VIT
from frozenprobe.extract.backbones.load import load_backbone
from frozenprobe.extract.compute import loader
from frozenprobe.extract.compute.embedder import Embedder
from frozenprobe.extract.compute.loader import Seconds
from frozenprobe.extract.compute.pipeline import (
    AHEAD,
    Embedded,
    embed_jobs,
    embed_on_cores,
    embed_on_device,
    torch_threads,
)
from frozenprobe.extract.options import WeightsOptions
from frozenprobe.extract.views.cut import Job, ViewSettings, cut_all
from tests.conftest import VIEWS_OF_JOBS, write_image

OPTIONS = WeightsOptions(3, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
Rows = dict[tuple[str, str], np.ndarray]


@pytest.fixture
def embedder(tiny_vit: Path) -> Embedder:
    return Embedder(load_backbone(ANY_VIT, tiny_vit, OPTIONS), torch.device("cpu"), "float32", batch_size=4)


@pytest.fixture
def settings(tiny_vit: Path) -> ViewSettings:
    return ViewSettings(load_backbone(ANY_VIT, tiny_vit, OPTIONS).preprocessing, "mild", 0, 10**6)


def rows_of(batches: list[Embedded]) -> Rows:
    return {
        (row.content_hash, row.name): vector
        for batch in batches
        for row, vector in zip(batch.rows, batch.vectors, strict=True)
    }


def naive(jobs: list[Job], settings: ViewSettings, embedder: Embedder) -> Rows:
    """One view at a time."""
    found = {}
    for job in jobs:
        for row in cut_all(job, settings).rows:
            found[row.content_hash, row.name] = embedder.embed(row.view.pixels[None].numpy(), [row.view.erased])[0]
    return found


WAYS = [
    (way, workers, size) for way in (embed_on_cores, embed_on_device) for workers in (1, 2, 3) for size in (1, 3, 64)
]


@pytest.mark.parametrize(("way", "workers", "batch_size"), WAYS[:-1])  # processes are slow to start
def test_rows_are_those_of_one_view_at_a_time(
    way,
    workers: int,
    batch_size: int,
    jobs: list[Job],
    settings: ViewSettings,
    embedder: Embedder,
) -> None:
    embedder.batch_size = batch_size
    number = {"threads": workers} if way is embed_on_cores else {"workers": workers - 1}
    batches = list(way(jobs, settings, embedder, **number, seconds=Seconds()))
    found, expected = rows_of(batches), naive(jobs, settings, embedder)
    assert list(found) == [(job.content_hash, view) for job in jobs for view in job.views]
    for key, vector in expected.items():
        assert np.abs(found[key] - vector).max() < 1e-5
    assert max(len(batch.rows) for batch in batches) <= batch_size


def test_what_came_before_a_bad_image_is_handed_out(
    jobs: list[Job],
    settings: ViewSettings,
    embedder: Embedder,
    tmp_path: Path,
) -> None:
    changed = write_image(tmp_path / "changed.png", 77)
    broken = [*jobs[:-1], replace_path(jobs[-1], changed)]
    for way, number in ((embed_on_cores, {"threads": 2}), (embed_on_device, {"workers": 0})):
        batches, handed = way(broken, settings, embedder, **number, seconds=Seconds()), []
        with pytest.raises(ImageError, match=r"changed\.png"):
            handed_out(batches, handed)
        wanted = sum(len(job.views) for job in jobs[:-1])
        assert sum(len(batch.rows) for batch in handed) in range(wanted - embedder.batch_size + 1, wanted + 1)


def handed_out(batches: Iterator[Embedded], handed: list[Embedded]) -> None:
    for batch in batches:
        handed.append(batch)


def replace_path(job: Job, path: Path) -> Job:
    return job._replace(path=path)


def most_ahead(batches: Iterator[Embedded], begun: list[Job]) -> int:
    """The most views that were begun and not handed out yet."""
    ahead, handed = [], 0
    for batch in batches:
        ahead.append(len(begun) * len(VIEWS_OF_JOBS) - handed)
        handed += len(batch.rows)
    return max(ahead)


def test_threads_hand_rows_out_while_the_next_ones_are_computed(
    jobs: list[Job], settings: ViewSettings, embedder: Embedder
) -> None:
    """They have to reach the disk now: what waits for the end is lost by a kill, and fills the memory."""
    begun: list[Job] = []
    asked = (begun.append(job) or job for job in jobs * 10)
    batches = embed_on_cores(asked, settings, embedder, threads=1, seconds=Seconds())
    assert most_ahead(batches, begun) <= (AHEAD + 1) * len(VIEWS_OF_JOBS)
    assert len(begun) == 40


def test_a_device_hands_rows_out_while_it_computes_the_next_ones(
    jobs: list[Job], settings: ViewSettings, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Job] = []
    monkeypatch.setattr(loader, "cut_all", lambda job, *args: begun.append(job) or cut_all(job, *args))
    batches = embed_on_device(jobs * 10, settings, embedder, workers=0, seconds=Seconds())
    assert most_ahead(batches, begun) < (AHEAD + 1) * embedder.batch_size + len(VIEWS_OF_JOBS)
    assert len(begun) == 40


def test_whoever_stops_asking_stops_the_threads(
    jobs: list[Job],
    settings: ViewSettings,
    embedder: Embedder,
) -> None:
    batches = embed_jobs(jobs * 20, settings, embedder, workers=2, seconds=Seconds())
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embed")]


def test_time_is_booked_by_stage_for_all_threads(
    jobs: list[Job],
    settings: ViewSettings,
    embedder: Embedder,
) -> None:
    seconds = Seconds()
    list(embed_jobs(jobs, settings, embedder, workers=2, seconds=seconds))
    assert min(seconds.decoding, seconds.views, seconds.backbone) > 0
    assert seconds.writing == 0


def test_threads_of_torch_are_given_back() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_no_jobs_no_rows(settings: ViewSettings, embedder: Embedder) -> None:
    assert list(embed_jobs([], settings, embedder, workers=2, seconds=Seconds())) == []
    assert list(embed_on_device([], settings, embedder, workers=0, seconds=Seconds())) == []


def test_erased_boxes_reach_the_network(jobs: list[Job], settings: ViewSettings, embedder: Embedder) -> None:
    erasing = replace(settings, recipe="erase")
    one = rows_of(list(embed_on_cores(jobs, erasing, embedder, threads=2, seconds=Seconds())))
    other = rows_of(list(embed_on_device(jobs, erasing, embedder, workers=1, seconds=Seconds())))
    expected = naive(jobs, erasing, embedder)
    for found in (one, other):
        assert all(np.abs(found[key] - vector).max() < 1e-5 for key, vector in expected.items())
