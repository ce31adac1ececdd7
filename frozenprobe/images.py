"""Folders or a CSV of images -> ImageTable: ids, paths, labels and class names, without opening an image."""

from __future__ import annotations

import re
from pathlib import Path

from frozenprobe.folders import read_class_folders, read_unlabelled
from frozenprobe.imagetable import ImageTable
from frozenprobe.listing import read_labelled_csv
from frozenprobe.sources import ImageSources
from frozenprobe.tables import Table, read_table


def read_images(sources: ImageSources) -> tuple[ImageTable, ImageTable | None, Table | None]:
    """Read training table, test table and sample submission; the last two may be None.

    Raises:
        FrozenprobeError: a folder, a CSV or the sample cannot be used.
    """
    if sources.train_csv is not None:
        train = read_labelled_csv(
            sources.train_csv, sources.train, sources.columns, allow_outside=sources.allow_outside
        )
    else:
        train = read_class_folders(sources.train)
    if sources.test is None:
        return train, None, read_table(sources.sample) if sources.sample else None
    sample = sources.sample or find_sample(sources.test.absolute().parent)
    return train, read_unlabelled(sources.test), read_table(sample) if sample else None


def find_sample(folder: Path) -> Path | None:
    """The sample submission in `folder`, if there is exactly one CSV with both words in its name."""
    found = [path for path in sorted(folder.glob("*.csv")) if re.search("sample.*subm", path.name.lower())]
    return found[0] if len(found) == 1 else None
