"""From files to batches: one decoding an image, its views in order, and errors that survive a process boundary."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.extract.compute import loader
from frozenprobe.extract.compute.loader import Seconds, ViewDataset, load_batches
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
    jobs: list[Job], *, batch_size: int = 3, workers: int = 0, settings: ViewSettings = SETTINGS
) -> list[list[Row]]:
    return list(load_batches(jobs, settings, batch_size=batch_size, workers=workers, seconds=Seconds()))


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
