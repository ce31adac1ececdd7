"""The finished feature file: what it holds, opening and publishing it (docs/format.md is its specification)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FeatureFileError
from frozenprobe.publish import published
from frozenprobe.tables import Table

FORMAT = "frozenprobe.features"
VERSION = 1
CHUNK_IMAGES = 256  # images in one HDF5 chunk of one view: 0.5 MB at D = 1024 in float16

Vectors = npt.NDArray[np.floating[Any]]
ReadBlock = Callable[[Sequence[str], Sequence[str]], Vectors]


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
        dim: feature dimension D.
        test_views: names of the T fixed views of every image; the first is `clean`.
        augmented_views: names of the V augmented views of every training image.
        class_names: C names, sorted by code point.
        train: N images with labels.
        test: M images, or None.
        sample: the sample submission, or None.
        about: facts for people: licence, pre-training data, library versions, creation time (UTC, ISO 8601) ...
    """

    spec: FeatureSpec
    dim: int
    test_views: tuple[str, ...]
    augmented_views: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Split
    test: Split | None
    sample: Table | None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def views(self) -> tuple[str, ...]:
        """All views of a training image, in the order they are stored: T fixed, then V augmented."""
        return self.test_views + self.augmented_views

    @property
    def splits(self) -> list[tuple[str, Split, tuple[str, ...]]]:
        """(name, split, its views) for the splits there are."""
        both: list[tuple[str, Split | None, tuple[str, ...]]] = [
            ("train", self.train, self.views),
            ("test", self.test, self.test_views),
        ]
        return [(name, split, views) for name, split, views in both if split is not None]

    def rows(self) -> dict[str, tuple[str, ...]]:
        """The views of each image content, by hash, in the order of the images; copies of an image share their rows."""
        rows: dict[str, dict[str, None]] = {}
        for _, split, views in self.splits:
            for content_hash in np.array(split.hashes)[split.usable].tolist():
                rows.setdefault(content_hash, {}).update(dict.fromkeys(views))
        return {content_hash: tuple(views) for content_hash, views in rows.items()}


@dataclass(frozen=True)
class Features(Contents):
    """An opened feature file. Nothing is held open: every read opens and closes the file."""

    path: Path = Path()

    def read(self, split: str, views: Sequence[int], rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Features of some views: `(rows, len(views), D)` float32; reads only those from disk.

        Args:
            split: `train` or `test`.
            views: indices into `views` (train) or `test_views` (test).
            rows: which images.

        Raises:
            FeatureFileError: another file has been published under this name since it was opened.
        """
        with h5py.File(self.path, "r") as file:
            if json.loads(str(file.attrs["about"])) != self.about or file.attrs["spec"] != self.spec.canonical():
                raise FeatureFileError(
                    "The feature file that was opened",
                    found="another one, published in the meantime",
                    where=self.path,
                    remedy="run the command again",
                )
            stored = file[split]["features"]
            images = range(*rows.indices(stored.shape[0]))
            out = np.empty((len(images), len(views), self.dim), dtype=np.float32)
            for position, view in enumerate(views):
                out[:, position] = stored[rows, view]
        return out


def write_features(path: Path, contents: Contents, read_block: ReadBlock) -> None:
    """Publish a feature file; memory stays bounded by one block of images.

    Args:
        path: the final name; an existing file stays as it is until the new one is complete.
        contents: all but the feature rows.
        read_block: (hashes, views) -> `(len(hashes), len(views), D)`, the rows to store.
    """
    with published(path) as aside, h5py.File(aside, "w", libver=("earliest", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["spec"] = contents.spec.canonical()
        file.attrs["fingerprint"] = contents.spec.fingerprint()
        file.attrs["about"] = json.dumps(contents.about, sort_keys=True)
        write_strings(file, "class_names", contents.class_names)
        write_strings(file, "views", contents.views)
        file["views"].attrs["test_views"] = len(contents.test_views)
        for name, split, views in contents.splits:
            write_split(file.create_group(name), split, views, contents, read_block)
        if contents.sample is not None:
            group = file.create_group("sample")
            group.attrs["path"] = str(contents.sample.path)
            write_strings(group, "columns", contents.sample.columns)
            cells = [cell for row in contents.sample.rows for cell in row]
            write_strings(group, "cells", cells, shape=(len(contents.sample.rows), len(contents.sample.columns)))


def write_split(
    group: h5py.Group, split: Split, views: tuple[str, ...], contents: Contents, read_block: ReadBlock
) -> None:
    """Write one split's index and its features, block by block."""
    write_strings(group, "ids", split.ids)
    write_strings(group, "hashes", split.hashes)
    group["usable"] = split.usable.astype(np.uint8)
    if split.labels is not None:
        group["labels"] = split.labels
    for name, column in (("groups", split.groups), ("folds", split.folds)):
        if column is not None:
            write_strings(group, name, column)
    shape = (len(split), len(views), contents.dim)
    chunks = (max(1, min(CHUNK_IMAGES, shape[0])), 1, contents.dim)
    stored = group.create_dataset("features", shape=shape, dtype=contents.spec.storage_dtype, chunks=chunks)
    for start in range(0, shape[0], CHUNK_IMAGES):
        block = slice(start, start + CHUNK_IMAGES)
        vectors = np.zeros((len(split.ids[block]), len(views), contents.dim), dtype=contents.spec.storage_dtype)
        usable = split.usable[block]
        wanted = [name for name, good in zip(split.hashes[block], usable, strict=True) if good]
        if wanted:
            vectors[usable] = read_block(wanted, views)
        stored[block] = vectors


def open_features(path: Path) -> Features:
    """Open a feature file; reads all but the feature rows.

    Raises:
        FeatureFileError: no such file, not a feature file, another format version, or parts that contradict each other.
    """
    if not path.is_file():
        raise FeatureFileError(
            "A feature file",
            found="a folder" if path.is_dir() else "no such file",
            where=path,
            remedy="name a file" if path.is_dir() else "make one with: frozenprobe extract",
        )
    try:
        with h5py.File(path, "r") as file:
            check_format(file, path)
            return read_contents(file, path)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise FeatureFileError(
            "A whole feature file", found=f"{type(error).__name__}: {error}", where=path, remedy="extract it again"
        ) from None


def check_format(file: h5py.File, path: Path) -> None:
    """Refuse files that are something else, or newer than this program."""
    if file.attrs.get("format") != FORMAT:
        raise FeatureFileError(
            f"An HDF5 file with the attribute format = {FORMAT}",
            found=f"format = {file.attrs.get('format')}",
            where=path,
            remedy="name a file that frozenprobe extract has written",
        )
    if int(file.attrs["version"]) != VERSION:
        raise FeatureFileError(
            f"Version {VERSION} of the feature file format",
            found=f"version {file.attrs['version']}",
            where=path,
            remedy="use the version of frozenprobe that wrote it (see frozenprobe info), or extract again",
        )


def read_contents(file: h5py.File, path: Path) -> Features:
    """Read all but the feature rows, and check that the parts agree."""
    spec = FeatureSpec.parse(str(file.attrs["spec"]), where=path)
    if spec.fingerprint() != file.attrs["fingerprint"]:
        raise ValueError("the fingerprint is not that of the specification")
    views = read_strings(file["views"])
    fixed = int(file["views"].attrs["test_views"])
    sample = None
    if "sample" in file:
        group = file["sample"]
        columns = read_strings(group["columns"])
        cells = read_strings(group["cells"])
        rows = tuple(cells[start : start + len(columns)] for start in range(0, len(cells), len(columns)))
        sample = Table(Path(str(group.attrs["path"])), columns, rows)
    dim = int(file["train/features"].shape[2])
    features = Features(
        spec=spec,
        dim=dim,
        test_views=views[:fixed],
        augmented_views=views[fixed:],
        class_names=read_strings(file["class_names"]),
        train=read_split(file["train"]),
        test=read_split(file["test"]) if "test" in file else None,
        sample=sample,
        about=dict(json.loads(str(file.attrs["about"]))),
        path=path,
    )
    for name, split, split_views in features.splits:
        shape = file[name]["features"].shape
        if shape != (len(split), len(split_views), dim):
            raise ValueError(f"{name}/features has the shape {shape}, not {(len(split), len(split_views), dim)}")
    return features


def read_split(group: h5py.Group) -> Split:
    """Read one split's index."""
    return Split(
        ids=read_strings(group["ids"]),
        hashes=read_strings(group["hashes"]),
        usable=group["usable"][:].astype(bool),
        labels=group["labels"][:].astype(np.int64) if "labels" in group else None,
        groups=read_strings(group["groups"]) if "groups" in group else None,
        folds=read_strings(group["folds"]) if "folds" in group else None,
    )


def write_strings(group: h5py.Group, name: str, texts: Sequence[str], *, shape: tuple[int, ...] | None = None) -> None:
    """Store texts as fixed-width UTF-8, padded with NUL."""
    encoded = [text.encode() for text in texts]
    width = max([1, *map(len, encoded)])
    group[name] = np.array(encoded, dtype=h5py.string_dtype("utf-8", width)).reshape(shape or (len(encoded),))


def read_strings(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Texts of a dataset in row-major order."""
    return tuple(bytes(cell).decode() for cell in dataset[()].ravel())


def newest_features(folder: Path) -> Path:
    """The feature file in `folder` with the newest creation time stored inside.

    Raises:
        FeatureFileError: there is none.
    """
    found = [open_features(path) for path in sorted(folder.glob("*.h5")) if not path.name.startswith(".")]
    if not found:
        raise FeatureFileError(
            "A feature file (*.h5)",
            found="none",
            where=folder.absolute(),
            remedy="make one with: frozenprobe extract, or name one: frozenprobe probe FEATURES.h5",
        )
    return max(found, key=lambda features: features.about.get("created", "")).path
