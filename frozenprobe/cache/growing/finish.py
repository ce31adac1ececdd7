"""One growth of a feature file: the plan, the space for it, and the finished file; for who holds the writer's lock."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.damage import damaged_rows
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_plan, write_features, write_plan
from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.quantities import megabytes, utc_now

BYTES_AN_IMAGE = 600  # ids, hashes, labels and checksums of an image, twice, in the finished file
ROOM = 1.02  # headers and file system blocks


def begin(path: Path, rows: RowStore, contents: Contents) -> None:
    """See that the disk has room for the missing rows and for the finished file, and publish the plan.

    Args:
        path: the feature file to make or to grow.
        rows: the rows there are.
        contents: what the file will hold; its taps have to be known.

    Raises:
        FrozenprobeError: too little space.
        DiskFull: not even for the plan.
    """
    require_space(path, pieces=(rows.total - rows.there) * row_bytes(contents), finished=finished_bytes(contents))
    write_plan(path, contents)


def row_bytes(contents: Contents) -> int:
    """Bytes of a stored row."""
    return contents.dim * np.dtype(contents.spec.storage_dtype).itemsize


def finished_bytes(contents: Contents) -> int:
    """About how large the finished file will be."""
    return contents.stored_rows * row_bytes(contents) + contents.images * BYTES_AN_IMAGE


def require_space(path: Path, *, pieces: int = 0, finished: int = 0) -> None:
    """Compare the free space on the disk of `path` with what will be written.

    Args:
        path: the feature file.
        pieces: bytes of the rows still to compute.
        finished: bytes of the finished file, which is written while the pieces, and an older file, are still there.

    Raises:
        FrozenprobeError: too little.
    """
    folder = path.absolute().parent
    free, wanted = shutil.disk_usage(folder).free, int((pieces + finished) * ROOM)
    if free < wanted:
        raise FrozenprobeError(
            f"{megabytes(wanted)} of free disk space: {megabytes(pieces)} for the rows still to compute and "
            f"{megabytes(finished)} for the finished file, which is written beside them",
            found=f"{megabytes(free)}",
            where=folder,
            remedy="free some space, name a file on a larger disk with --out FILE, or ask for fewer --views",
        )


def finish(path: Path, rows: RowStore, contents: Contents, *, computed: bool) -> bool:
    """Publish the finished file if it says anything new, then delete the pieces that are in it.

    Args:
        path: the feature file.
        rows: all rows that the contents want.
        contents: what the file will hold.
        computed: whether rows were added.

    Returns:
        whether the file was written.
    """
    changed = computed or rows.existing is None or contents.index() != rows.existing.index()
    if not changed and rows.existing is not None and rows.finished_pieces():
        changed = any(damaged_rows(rows.existing))  # killed before it tidied up: the pieces may be the only good copy
    if changed:
        about = contents.about | {"created": utc_now(), "environments": json.dumps(sorted(rows.known_environments))}
        contents = replace(contents, about=about)
        require_space(path, finished=finished_bytes(contents))
        begun = open_plan(path)
        if begun is not None and begun.index() != contents.index():
            write_plan(path, contents)  # of an earlier kill: beside a newer file it would pass for what comes next
        write_features(path, contents, rows.read_block)
    rows.discard()
    return changed
