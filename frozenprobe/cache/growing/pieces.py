"""Pieces: small closed files of feature rows, in any order, of one specification."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.read import BLOCK_ROWS, SealedFile, Vectors
from frozenprobe.cache.container.seal import Damage
from frozenprobe.cache.container.write import NewArray, publish_sealed
from frozenprobe.cache.contents import environments_of
from frozenprobe.cache.damage import whole_rows
from frozenprobe.cache.layout import VERSION
from frozenprobe.cache.spec import FeatureSpec

PIECE = "frozenprobe.piece"

Hashes = npt.NDArray[np.bytes_]


def write_piece(
    piece: Path, fingerprint: str, hashes: Hashes, views: Hashes, vectors: Vectors, *, environments: Iterable[str]
) -> None:
    """Publish rows as a sealed file of their own.

    Args:
        piece: the final name.
        fingerprint: of the specification.
        hashes: content hash of each row's image.
        views: view name of each row.
        vectors: `(rows, D)` in the storage dtype.
        environments: where they were computed.
    """
    if not len(hashes) == len(views) == len(vectors):
        raise ValueError(f"{len(hashes)} hashes and {len(views)} views for {len(vectors)} rows")
    attributes: dict[str, str | int] = {
        "format": PIECE,
        "version": VERSION,
        "fingerprint": fingerprint,
        "environments": json.dumps(sorted(environments)),
    }
    blocks = (vectors[None, start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS))
    rows = NewArray((1, *vectors.shape), vectors.dtype.name, blocks)
    publish_sealed(piece, attributes, {"hashes": hashes, "views": views}, {"features": rows}, spare=False)


def open_piece(piece: Path, spec: FeatureSpec) -> SealedFile | None:
    """A piece of rows of a specification; None if it is of another one, or of another version.

    Raises:
        Damage: truncated or changed, or its parts do not fit each other.
        Refused: it holds what no piece does.
        OSError: it cannot be read.
    """
    file = SealedFile(piece)
    if file.attributes.get("version") == VERSION and file.attributes.get("fingerprint") == spec.fingerprint():
        array = file.features.get("features")
        columns = [file.arrays.get("hashes"), file.arrays.get("views")]
        fits = array is not None and array.shape[0] == 1 and array.dtype == np.dtype(spec.storage_dtype)
        if array is None or not fits or any(each is None or each.shape != array.shape[1:2] for each in columns):
            file.close()
            raise Damage("parts that do not fit each other")
        return file
    file.close()
    return None


def environments_in(file: SealedFile) -> set[str]:
    """Where the rows of a piece were computed."""
    try:
        return set(environments_of({"environments": str(file.attributes.get("environments", "[]"))}))
    except (ValueError, TypeError):
        return set()


def read_piece(file: SealedFile) -> tuple[Hashes, Hashes, Vectors]:
    """Hashes, views and vectors of the whole rows of a piece."""
    array = file.features["features"]
    good = np.flatnonzero(whole_rows(file, array))
    return file.arrays["hashes"][good], file.arrays["views"][good], file.read_rows(array, 0, good)
