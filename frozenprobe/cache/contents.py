"""What a feature file holds besides the feature rows: images, labels, class names, views, where it all came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.system.csv_tables import Table

Taps = tuple[tuple[str, int], ...]  # name and D of each vector that is stored of a view


def environments_of(about: Mapping[str, str]) -> list[str]:
    """The environments (libraries and device) that a file says its rows were computed in."""
    return list(map(str, json.loads(about.get("environments", "[]"))))


@dataclass(frozen=True)
class Split:
    """The images of one split, without their features.

    Attributes:
        ids: see ImageTable.
        hashes: SHA-256 of each file's bytes, hexadecimal.
        usable: `(N,)` bool; False for an image that could not be decoded and was kept on request (its features are 0).
        labels: `(N,)` int64 index into the file's class names; None for test images.
        groups: see ImageTable.
        folds: see ImageTable.
    """

    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    usable: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64] | None = None
    groups: tuple[str, ...] | None = None
    folds: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Contents:
    """All that a feature file holds besides the feature rows.

    Attributes:
        spec: what the rows are a function of.
        taps: name and D of each vector that is stored of a view; a row is all of them, side by side in this order.
            Empty as long as no row has been computed.
        test_views: names of the T fixed views of every image; the first is `clean`.
        augmented_views: names of the V augmented views of every training image.
        class_names: C names, sorted by code point.
        train: N images with labels.
        test: M images, or None.
        sample: the sample submission, or None.
        about: facts for people: licence, pre-training data, library versions, creation time (UTC, ISO 8601) ...
    """

    spec: FeatureSpec
    taps: Taps
    test_views: tuple[str, ...]
    augmented_views: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    sample: Table | None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """D of a row: the sum over its taps."""
        return sum(dim for _, dim in self.taps)

    @property
    def views(self) -> tuple[str, ...]:
        """All views of a training image, in the order they are stored: T fixed, then V augmented."""
        return self.test_views + self.augmented_views

    @property
    def splits(self) -> list[tuple[str, Split, tuple[str, ...]]]:
        """(name, split, its views) for the splits there are."""
        test = [] if self.test is None else [("test", self.test, self.test_views)]
        return [("train", self.train, self.views), *test]

    @property
    def images(self) -> int:
        """Training and test images."""
        return sum(len(split) for _, split, _ in self.splits)

    @property
    def stored_rows(self) -> int:
        """Rows in the finished file: of each image, copies and unusable ones included, a row a view."""
        return sum(len(split) * len(views) for _, split, views in self.splits)

    def index(self) -> list[object]:
        """Everything but rows and facts, as plain values: equal for files that say the same."""
        index: list[object] = [self.views, self.test_views, self.class_names]
        index.append(None if self.sample is None else (self.sample.columns, self.sample.rows))
        for _, split, _ in self.splits:
            labels = None if split.labels is None else split.labels.tolist()
            index.append((split.ids, split.hashes, split.usable.tolist(), labels, split.groups, split.folds))
        return index
