"""What is missing is computed, once for each content, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.inspect import Inspected
from frozenprobe.extract.views.cut import Job
from frozenprobe.extract.work import missing_jobs, require_same_set
from tests.cache.test_contents import SAMPLE, contents, opened, split


def images(train: Split, test: Split | None = None, *, known: str = "abcdef") -> Inspected:
    return Inspected(train, test, ("a", "b"), SAMPLE, {code: Path(f"{code}.jpg") for code in known}, [])


ALL = ("clean", "hflip", "aug1", "aug2")


def rows_for(folder: Path, planned: Contents) -> RowStore:
    return RowStore(folder / "f.h5", planned)


def test_everything_is_missing_at_first_in_the_order_of_the_images(tmp_path: Path) -> None:
    train, test = split("b", "a"), split("c", labels=False)
    jobs = missing_jobs(rows_for(tmp_path, contents(train, test)), images(train, test))
    assert jobs == [
        Job(Path("b.jpg"), "b", ALL),
        Job(Path("a.jpg"), "a", ALL),
        Job(Path("c.jpg"), "c", ("clean", "hflip")),
    ]


def test_rows_that_are_there_are_not_computed_again(tmp_path: Path) -> None:
    train = split("a", "b", "c")
    rows = rows_for(tmp_path, contents(train))
    rows.add(["a", "a", "b"], ["clean", "aug2", "hflip"], np.zeros((3, 3), np.float32))
    rows.add(["c"] * 4, ALL, np.zeros((4, 3), np.float32))
    found = {job.content_hash: job.views for job in missing_jobs(rows, images(train))}
    assert found == {"a": ("hflip", "aug1"), "b": ("clean", "aug1", "aug2")}


def test_equal_files_are_computed_once(tmp_path: Path) -> None:
    """Twice in the training images, and again among the test images, whose views are fewer."""
    train, test = split("a", "a", "b"), split("b", "c", labels=False)
    jobs = missing_jobs(rows_for(tmp_path, contents(train, test)), images(train, test))
    assert [(job.content_hash, job.views) for job in jobs] == [("a", ALL), ("b", ALL), ("c", ("clean", "hflip"))]


def test_unusable_images_are_not_computed(tmp_path: Path) -> None:
    train, test = split("a", "b"), split("c", "d", labels=False, usable=[False, True])
    jobs = missing_jobs(rows_for(tmp_path, contents(train, test)), images(train, test))
    assert "c" not in [job.content_hash for job in jobs]


def test_missing_rows_of_images_nobody_named_are_an_error(tmp_path: Path) -> None:
    train, test = split("a", "b"), split("t", labels=False)
    rows = rows_for(tmp_path, contents(train, test))
    with pytest.raises(FrozenprobeError, match="The test images") as caught:
        missing_jobs(rows, images(train, test))
    assert caught.value.where == "--test"
    rows.add(["t", "t"], ["clean", "hflip"], np.zeros((2, 3), np.float32))
    assert len(missing_jobs(rows, images(train, test))) == 2


def test_other_images_under_the_name_of_an_existing_file_are_refused() -> None:
    """A file that cost hours must not be emptied because --out was forgotten; a few images less are fine."""
    existing = opened()
    assert require_same_set(images(split("x", "y")), None, existing.path) == 0
    assert require_same_set(images(split("x", "f", "b", "a")), existing, existing.path) == 3
    skipped = replace(images(split("x", "f", "b", "a")), missing=("c",))
    with pytest.raises(FrozenprobeError, match="is their disk mounted"):
        require_same_set(skipped, existing, existing.path)
    assert require_same_set(skipped, existing, existing.path, drop_missing=True) == 3
    with pytest.raises(FrozenprobeError, match=r"4 missing: 0\.jpg, 2\.jpg") as caught:
        require_same_set(images(split("f", "b")), existing, existing.path)
    assert "--drop-missing" in caught.value.remedy
    assert require_same_set(images(split("f", "b")), existing, existing.path, drop_missing=True) == 4
    with pytest.raises(FrozenprobeError, match="these are other images"):
        require_same_set(images(split("x", "y")), existing, existing.path, drop_missing=True)
    with pytest.raises(FrozenprobeError, match="none of them: these are other images") as caught:
        require_same_set(images(split("x", "y")), existing, existing.path)
    assert caught.value.where == str(existing.path)
    assert "--out FILE" in caught.value.remedy
