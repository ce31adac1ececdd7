"""Feature rows on their way into a file: closed pieces beside it, and looking rows up in pieces and file."""

from __future__ import annotations

import io
import secrets
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import Contents, Features, Vectors, read_strings, write_strings
from frozenprobe.publish import publish_bytes


class RowStore:
    """The rows of one specification that exist: in the finished file, if any, and in the pieces beside it.

    A piece is a small HDF5 file, built in memory and published by rename, in the folder `<file>.pieces`. A killed
    process therefore loses at most the rows it had not yet handed over, and no file is ever open for writing under a
    final name. Pieces of another specification and unreadable ones are left alone.

    Args:
        path: the feature file the rows are for; it need not exist.
        spec: what the rows are a function of.
        existing: the finished file of the same specification, or None.
    """

    def __init__(self, path: Path, spec: FeatureSpec, existing: Features | None) -> None:
        self.folder = path.with_name(path.name + ".pieces")
        self.spec = spec
        self.path = path
        self.pieces: dict[str, list[tuple[str, str]]] = {}  # name -> (hash, view) of its rows
        self.places: dict[tuple[str, str], tuple[str, int, int]] = {}  # (hash, view) -> (piece or split, row, column)
        for name, split, views in existing.splits if existing else []:
            for row in np.flatnonzero(split.usable).tolist():
                for column, view in enumerate(views):
                    self.places[split.hashes[row], view] = (name, row, column)
        found = sorted(self.folder.glob("[0-9]*.h5"))
        self.next_number = 1 + max((int(piece.stem.split("-")[0]) for piece in found), default=-1)
        for piece in found:
            self._take_up(piece)

    def __contains__(self, row: tuple[str, str]) -> bool:
        return row in self.places

    @property
    def dim(self) -> int:
        """D, of any row."""
        content_hash, view = next(iter(self.places))
        return int(self.read_block([content_hash], [view]).shape[-1])

    def add(self, hashes: Sequence[str], views: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Publish rows as one piece.

        Args:
            hashes: content hash of each row's image.
            views: view name of each row.
            vectors: `(rows, D)`, finite in the storage dtype.
        """
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:
            file.attrs["fingerprint"] = self.spec.fingerprint()
            write_strings(file, "hashes", hashes)
            write_strings(file, "views", views)
            file["features"] = vectors.astype(self.spec.storage_dtype)
        # the random part keeps two processes that write to one file by mistake from replacing each other's pieces
        piece = self.folder / f"{self.next_number:08d}-{secrets.token_hex(4)}.h5"
        publish_bytes(piece, buffer.getbuffer())
        self.next_number += 1
        self._note(piece.name, hashes, views)

    def read_block(self, hashes: Sequence[str], views: Sequence[str]) -> Vectors:
        """Rows of some images: `(len(hashes), len(views), D)` in the storage dtype; all have to exist."""
        by_source: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
        for i, name in enumerate(hashes):
            for j, view in enumerate(views):
                source, row, column = self.places[name, view]
                by_source[source].append((i, j, row, column))
        out: Vectors | None = None
        for source, cells in by_source.items():
            target_image, target_view, row, column = np.array(cells).T
            rows, position = np.unique(row, return_inverse=True)
            block = self._read(source, rows)
            if out is None:
                out = np.empty((len(hashes), len(views), block.shape[-1]), dtype=self.spec.storage_dtype)
            out[target_image, target_view] = block[position, column]
        assert out is not None
        return out

    def discard(self, contents: Contents) -> None:
        """Delete the pieces whose rows are all in a finished file of these contents.

        A piece with other rows stays: a smoke run must not throw away what a killed full run had computed.
        """
        stored = {(content_hash, view) for content_hash, views in contents.rows().items() for view in views}
        for piece, keys in self.pieces.items():
            if stored.issuperset(keys):
                (self.folder / piece).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self, source: str, rows: npt.NDArray[np.int64]) -> Vectors:
        """`(rows, columns, D)` of a split of the finished file, or of a piece (one column)."""
        if source in self.pieces:
            with h5py.File(self.folder / source, "r") as file:
                vectors: Vectors = file["features"][:][rows, None]
        else:
            with h5py.File(self.path, "r") as file:
                vectors = file[source]["features"][rows]
        return vectors

    def _take_up(self, piece: Path) -> None:
        """Index a piece of the same specification that an earlier run left."""
        try:
            with h5py.File(piece, "r") as file:
                if file.attrs["fingerprint"] == self.spec.fingerprint():
                    self._note(piece.name, read_strings(file["hashes"]), read_strings(file["views"]))
        except (OSError, KeyError):
            return

    def _note(self, piece: str, hashes: Sequence[str], views: Sequence[str]) -> None:
        self.pieces[piece] = list(zip(hashes, views, strict=True))
        for row, key in enumerate(self.pieces[piece]):
            self.places[key] = (piece, row, 0)
