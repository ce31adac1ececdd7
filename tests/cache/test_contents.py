"""What a feature file holds besides its rows: files that say the same are known by their index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.store import Features
from frozenprobe.system.csv_tables import Table
from tests.conftest import SPEC

SAMPLE = Table(Path("sample.csv"), ("ID", "Label"), (("t0.jpg", "a"),))


def split(*hashes: str, labels: bool = True, usable: list[bool] | None = None) -> Split:
    return Split(
        ids=tuple(f"{index}.jpg" for index in range(len(hashes))),
        hashes=hashes,
        usable=np.array(usable if usable is not None else [True] * len(hashes), dtype=bool),
        labels=np.arange(len(hashes)) % 2 if labels else None,
    )


def contents(train: Split, test: Split | None = None) -> Contents:
    return Contents(SPEC, (("head-input", 3),), ("clean", "hflip"), ("aug1", "aug2"), ("a", "b"), train, test, SAMPLE)


def opened(**changes: object) -> Features:
    """A file's contents, as opened; nothing here reads its rows."""
    train, test = split(*"abcdef"), split("t", "u", labels=False)
    train = replace(train, groups=tuple("xyxyxy"), folds=tuple("121212"))
    return Features(**{**vars(contents(train, test)), "path": Path("f.h5"), "about": {"created": "x"}, **changes})


def test_file_that_says_the_same_is_the_same() -> None:
    assert opened().index() == opened().index()
    assert opened(about={"created": "later"}).index() == opened().index()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: replace(c, class_names=("x", *c.class_names[1:])),
        lambda c: replace(c, sample=None),
        lambda c: replace(c, sample=Table(SAMPLE.path, ("ID", "Class"), SAMPLE.rows)),
        lambda c: replace(c, sample=Table(SAMPLE.path, SAMPLE.columns, (("t0.jpg", "b"),))),
        lambda c: replace(c, test=None),
        lambda c: replace(c, test_views=("clean",), augmented_views=("hflip", *c.augmented_views)),
        lambda c: replace(c, augmented_views=c.augmented_views[:-1]),
        lambda c: replace(c, train=replace(c.train, ids=("new name.jpg", *c.train.ids[1:]))),
        lambda c: replace(c, train=replace(c.train, hashes=("f" * 64, *c.train.hashes[1:]))),
        lambda c: replace(c, train=replace(c.train, labels=c.train.labels[::-1].copy())),
        lambda c: replace(c, train=replace(c.train, groups=None)),
        lambda c: replace(c, train=replace(c.train, folds=tuple("212121"))),
        lambda c: replace(c, test=replace(c.test, usable=~c.test.usable)),
    ],
)
def test_any_difference_in_the_index_is_seen(change: Callable[[Features], Features]) -> None:
    assert change(opened()).index() != opened().index()
