"""Folders, tar shards, lists or a CSV of images -> ImageTable: ids, places, labels and classes; no image is opened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import read_class_folders, read_unlabelled
from frozenprobe.images.label_csv import read_labelled_csv
from frozenprobe.images.lists import LIST_ENDINGS, is_list, read_labelled_list, read_unlabelled_list
from frozenprobe.images.shard_names import find_shards
from frozenprobe.images.shards import read_labelled_shards, read_unlabelled_shards
from frozenprobe.images.sources import ImageSources
from frozenprobe.images.table import ImageTable
from frozenprobe.system.csv_tables import Table, read_table


def read_images(sources: ImageSources) -> tuple[ImageTable, ImageTable | None, Table | None]:
    """Read training table, test table and sample submission; the last two may be None.

    Raises:
        FrozenprobeError: a folder, a shard, a list, a CSV or the sample cannot be used.
    """
    if sources.train_csv is not None:
        train = read_labelled_csv(
            sources.train_csv, sources.train, sources.columns, allow_outside=sources.allow_outside
        )
    else:
        train = read_training(sources.train, allow_outside=sources.allow_outside)
    if sources.test is None:
        return train, None, read_table(sources.sample) if sources.sample else None
    test = read_test(sources.test, allow_outside=sources.allow_outside)
    sample = sources.sample or sample_beside(sources.test)
    return train, test, read_table(sample) if sample else None


class Readers(NamedTuple):
    """Who reads images from shards, from a list and from a folder."""

    shards: Callable[..., ImageTable]
    listed: Callable[..., ImageTable]
    folder: Callable[[Path], ImageTable]


LABELLED = Readers(read_labelled_shards, read_labelled_list, read_class_folders)
UNLABELLED = Readers(read_unlabelled_shards, read_unlabelled_list, read_unlabelled)


def read_training(source: Path, *, allow_outside: bool = False) -> ImageTable:
    """Read labelled images from class folders, tar shards or a list.

    Raises:
        ImageError: they cannot be used.
    """
    return read_source(source, LABELLED, allow_outside=allow_outside)


def read_test(source: Path, *, allow_outside: bool = False) -> ImageTable:
    """Read images without labels from a folder, tar shards or a list.

    Raises:
        ImageError: they cannot be used.
    """
    return read_source(source, UNLABELLED, allow_outside=allow_outside)


def read_source(source: Path, readers: Readers, *, allow_outside: bool) -> ImageTable:
    """Read images from what a name turns out to mean."""
    shards = find_shards(source)
    if shards:
        return readers.shards(shards, where=source)
    if is_list(source):
        return readers.listed(source, allow_outside=allow_outside)
    require_known(source)
    return readers.folder(source)


def require_known(source: Path) -> None:
    """Refuse a file that is neither a shard nor a list.

    Raises:
        ImageError: says what can be named.
    """
    if source.is_file():
        csv = "; a CSV of labels goes to --train-csv FILE" if source.suffix.lower() == ".csv" else ""
        raise ImageError(
            f"A folder of images, tar shards (.tar), or a list of images ({', '.join(LIST_ENDINGS)})",
            found=f"a file that ends in {source.suffix or 'nothing'}",
            where=source.absolute(),
            remedy=f"name one of these with --train / --test{csv}",
        )


def sample_beside(source: Path) -> Path | None:
    """The sample submission beside a folder, a shard, a pattern or a list; for the latter also beside their folder."""
    folder = source.absolute().parent
    return find_sample(folder) or (None if source.is_dir() else find_sample(folder.parent))


def find_sample(folder: Path) -> Path | None:
    """The sample submission in `folder`, if there is exactly one CSV with both words in its name."""
    found = [path for path in sorted(folder.glob("*.csv")) if re.search("sample.*subm", path.name.lower())]
    return found[0] if len(found) == 1 else None
