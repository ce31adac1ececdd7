"""An extraction without torch: synthetic images and vectors through the real plan, pieces, lock and publication."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.finish import begin, finish
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import Features, open_features
from tests.conftest import SPEC

DIM = 6
TEST_VIEWS = ("clean", "hflip")
Rows = dict[tuple[str, str], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class World:
    """Image folders: training images as id -> (content, label), test images as id -> content; views and taps wanted."""

    train: dict[str, tuple[str, str]] = field(default_factory=dict)
    test: dict[str, str] = field(default_factory=dict)
    views: int = 2
    taps: tuple[tuple[str, int], ...] = (("cls", DIM - 2), ("mean", 2))

    def contents(self) -> Contents:
        """What a feature file of this world holds."""
        names = tuple(sorted({label for _, label in self.train.values()}))
        ids, test_ids = tuple(sorted(self.train)), tuple(sorted(self.test))
        train = Split(
            ids,
            tuple(digest(self.train[name][0]) for name in ids),
            np.ones(len(ids), dtype=bool),
            np.array([names.index(self.train[name][1]) for name in ids], dtype=np.int64),
        )
        test = Split(test_ids, tuple(digest(self.test[name]) for name in test_ids), np.ones(len(test_ids), dtype=bool))
        augmented = tuple(f"aug{number}" for number in range(1, self.views + 1))
        return Contents(SPEC, self.taps, TEST_VIEWS, augmented, names, train, test if test_ids else None, None)

    def rows(self) -> Rows:
        """Every row that such a file has."""
        contents = self.contents()
        return {
            (code, view): vector(code, view)
            for _, split, views in contents.splits
            for code in split.hashes
            for view in views
        }


def digest(content: str) -> str:
    """Stands for the SHA-256 of an image file."""
    return hashlib.sha256(content.encode()).hexdigest()


@cache
def vector(content_hash: str, view: str) -> npt.NDArray[np.float32]:
    """The one right row for a content and a view; read-only."""
    seed = hashlib.sha256(f"{content_hash} {view}".encode()).digest()
    row = np.random.default_rng(list(seed)).normal(size=DIM).astype(np.float32)
    row.flags.writeable = False
    return row


def world(images: int, views: int = 2, *, first: int = 0) -> World:
    """A world of some images in three classes."""
    numbers = range(first, first + images)
    train = {f"c{number % 3}/{number}.jpg": (f"photo {number}", f"c{number % 3}") for number in numbers}
    return World(train, {f"t{number}.jpg": f"test {number}" for number in numbers[:4]}, views)


def changed(old: World) -> World:
    """The world after a user has been at it: photos added, removed, renamed, relabelled, replaced; more views."""
    train = dict(old.train)
    names = sorted(train)
    del train[names[0]]
    train["c1/renamed.jpg"] = train.pop(names[1])
    train[names[2]] = (train[names[2]][0], "another class")
    train[names[3]] = ("replaced", train[names[3]][1])
    train |= {f"c0/new{number}.jpg": (f"new {number}", "c0") for number in range(3)}
    return replace(old, train=train, views=old.views + 2)


def extract(path: Path, wanted: World, *, batch: int = 5, told: Callable[[int], None] = lambda rows: None) -> int:
    """Make or grow a feature file; returns how many rows were computed.

    Args:
        path: the feature file.
        wanted: what it shall hold.
        batch: rows in a batch.
        told: called with the number of rows after each batch that is on disk.
    """
    with writer_lock(path):
        existing = open_features(path) if path.is_file() else None
        contents = wanted.contents()
        rows = RowStore(path, contents, existing)
        missing = [(code, view) for code, views in rows.missing().items() for view in views]
        if missing:
            begin(path, rows, contents)
        for start in range(0, len(missing), batch):
            part = missing[start : start + batch]
            rows.add([code for code, _ in part], [view for _, view in part], np.stack([vector(*key) for key in part]))
            told(len(part))
        finish(path, rows, contents, computed=bool(missing))
    return len(missing)


def rows_of(features: Features) -> Rows:
    """Every row of a feature file, as it is read."""
    found: Rows = {}
    for name, split, views in features.splits:
        for code, vectors in zip(split.hashes, features.read(name, range(len(views))), strict=True):
            found |= {(code, view): row for view, row in zip(views, vectors, strict=True)}
    return found


def holds(path: Path, wanted: World) -> bool:
    """Whether a file holds exactly a world: index and every row, bit for bit."""
    features = open_features(path)
    right, found = wanted.rows(), rows_of(features)
    return (
        features.index() == wanted.contents().index()
        and right.keys() == found.keys()
        and all(np.array_equal(right[key], found[key]) for key in right)
    )
