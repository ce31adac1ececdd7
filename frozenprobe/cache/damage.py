"""What of a damaged file is whole: its metadata by either copy, its rows block by block; and how damage is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.hdf5 import Refused
from frozenprobe.cache.container.read import BACK, FRONT, FeatureArray, SealedFile, salvage
from frozenprobe.cache.container.seal import Damage
from frozenprobe.cache.store import Features, features_of, open_sealed, refused
from frozenprobe.errors import FeatureFileError, some
from frozenprobe.system.progress import Progress


class DamagedRows(NamedTuple):
    """Rows of one view of a finished file that are not what was written, or no finite numbers, in at least one tap."""

    split: str
    view: str
    rows: tuple[int, ...]
    ids: tuple[str, ...]
    taps: tuple[str, ...]


def open_salvageable(path: Path) -> tuple[Features, list[str]]:
    """A feature file by whichever copy of its metadata is whole, and what is wrong with either.

    Raises:
        FeatureFileError: neither copy is whole, or it is no feature file.
    """
    damages: list[str] = []
    sealed, has_spare = None, True
    try:
        for copy, what in ((FRONT, "seal or metadata"), (BACK, "spare copy of seal and metadata")):
            try:
                file = SealedFile(path, copy=copy)
            except Damage as error:
                damages += [f"{what}: {error}"] if has_spare else []
            else:
                has_spare = file.seal.spare is not None
                if sealed is None:
                    sealed = file
                else:
                    file.close()
        sealed = sealed or salvage(path)
    except Refused as error:
        raise refused(path, error) from None
    return features_of(sealed or open_sealed(path)), damages


def damaged_rows(features: Features, progress: Progress | None = None) -> Iterator[DamagedRows]:
    """Read every row of a finished file; yields what is not what was written, or not finite, view by view."""
    total = sum(array.shape[0] * array.blocks for array in features.sealed.features.values())
    done = 0
    for name, split, views in features.splits:
        for number, view in enumerate(views):
            bad, taps = np.zeros(len(split), dtype=bool), []
            for (tap, _), array in zip(features.taps, features.arrays(name), strict=True):
                good = whole_rows(features.sealed, array, number)  # unusable images' zeros are whole as such
                bad |= ~good
                taps += [] if good.all() else [tap]
                done += array.blocks
                if progress is not None:
                    progress("verifying blocks", done, total)
            if taps:
                rows = tuple(np.flatnonzero(bad).tolist())
                yield DamagedRows(name, view, rows, tuple(split.ids[row] for row in rows), tuple(taps))


def require_whole(features: Features, progress: Progress | None = None) -> None:
    """Read every row of a finished file, before hours are spent on adding to it.

    Raises:
        FeatureFileError: rows are damaged.
    """
    for damaged in damaged_rows(features, progress):
        raise FeatureFileError(
            "A whole feature file to add to",
            found=f"damaged rows: {describe_damage(damaged)}",
            where=features.path,
            remedy=f"frozenprobe repair {features.path}   keeps all other rows; then the same extract command again",
        )


def describe_damage(damaged: DamagedRows) -> str:
    """A sentence about damaged rows."""
    where = f"{damaged.split}, view {damaged.view}, {'+'.join(damaged.taps)}"
    return f"{len(damaged.rows)} rows of {where}: {some(damaged.ids, most=3)}"


def whole_rows(file: SealedFile, array: FeatureArray, view: int = 0) -> npt.NDArray[np.bool_]:
    """`(rows,)` which rows of a view are in blocks that are what was written, and finite."""
    whole = np.zeros(array.shape[1], dtype=bool)
    for block in range(array.blocks):
        vectors = file.read_block(array, view, block)
        if vectors is not None:
            whole[array.rows_of(block)] = np.isfinite(vectors).all(axis=1)
    return whole
