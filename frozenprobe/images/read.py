"""Folders, tar shards, lists or a CSV of images -> ImageTable: ids, places, labels and classes; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from frozenprobe.errors import ImageError
from frozenprobe.images.folders import list_images, read_class_folders
from frozenprobe.images.listed.label_csv import read_labelled_csv
from frozenprobe.images.listed.lists import LIST_ENDINGS, is_list, locate, read_labelled_list, read_lines
from frozenprobe.images.listed.samples import find_sample, near, read_sample, tell_unused
from frozenprobe.images.places import Place
from frozenprobe.images.shard_names import find_shards
from frozenprobe.images.shards import list_members, read_labelled_shards
from frozenprobe.images.sources import ImageSources
from frozenprobe.images.table import ImageTable, check_ids
from frozenprobe.system.csv_tables import Table


def read_images(sources: ImageSources) -> tuple[ImageTable, ImageTable | None, Table | None]:
    """Read training table, test table and sample submission; the last two may be None.

    Raises:
        FrozenprobeError: a folder, a shard, a list, a CSV or the sample cannot be used.
    """
    outside, skip = sources.allow_outside, sources.skip_missing
    sample = sources.sample or (find_sample(sources.test) if sources.test else None)
    tell_unused(
        [folder for source in (sources.train, sources.test) if source for folder in near(source)],
        used=(sources.train_csv, sample),
        labels=sources.train_csv is None,
        sample=sources.test is not None and sample is None,
    )
    if sources.train_csv is not None:
        train = read_labelled_csv(
            sources.train_csv, sources.train, sources.columns, allow_outside=outside, skip_missing=skip
        )
    else:
        train = read_training(sources.train, allow_outside=outside, skip_missing=skip)
    test = read_test(sources.test, allow_outside=outside) if sources.test else None
    return train, test, read_sample(sample) if sample else None


def read_training(source: Path, *, allow_outside: bool = False, skip_missing: bool = False) -> ImageTable:
    """Read labelled images from class folders, tar shards or a list.

    Raises:
        ImageError: they cannot be used.
    """
    if shards := find_shards(source):
        return read_labelled_shards(shards, where=source)
    if is_list(source):
        return read_labelled_list(source, allow_outside=allow_outside, skip_missing=skip_missing)
    require_known(source)
    return read_class_folders(source)


def read_test(source: Path, *, allow_outside: bool = False) -> ImageTable:
    """Read images without labels from a folder, flat or nested, tar shards or a list; labels in them are left alone.

    Raises:
        ImageError: they cannot be used.
    """
    found: Sequence[tuple[str, Place]]
    if shards := find_shards(source):
        found = list_members(shards, where=source)
    elif is_list(source):
        found = locate(read_lines(source), source, allow_outside)
        check_ids([name for name, _ in found], where=source)  # the others check theirs, which a CSV uses, too
    else:
        require_known(source)
        found = list_images(source)
    return ImageTable(tuple(name for name, _ in found), tuple(place for _, place in found))


def require_known(source: Path) -> None:
    """Refuse a file that is neither a shard nor a list.

    Raises:
        ImageError: says what can be named.
    """
    if os.path.isfile(source):
        more = {
            ".csv": "; a CSV of labels goes to --train-csv FILE",
            ".zip": f'; unpack this one first: python -m zipfile -e "{source}" "{source.with_suffix("")}"',
        }.get(source.suffix.lower(), "")
        raise ImageError(
            f"A folder of images, tar shards (.tar), or a list of images ({', '.join(LIST_ENDINGS)})",
            found=f"a file that ends in {source.suffix or 'nothing'}",
            where=source.absolute(),
            remedy=f"name one of these with --train / --test{more}",
        )
