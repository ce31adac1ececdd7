"""Sealed files: HDF5 behind a user block with digests, so that nothing damaged is parsed and no damaged row is served.

    seal | HDF5: superblock, headers, small datasets | feature arrays | spare: the metadata and the seal once more

The metadata (all of the HDF5 part but the feature arrays and the spare) is digest-checked in memory before libhdf5
sees it, and libhdf5 sees nothing else: it reads them in memory, never the disk. Feature arrays are contiguous, read
and written here with plain I/O, and every block of them has a digest of its own. docs/format.md is the specification.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.hdf5 import MemoryFile, Placed, read_tree
from frozenprobe.cache.container.seal import SEAL_BYTES, Damage, Seal, Span
from frozenprobe.errors import FeatureFileError
from frozenprobe.system.files import open_regular

FEW_ROWS = 8  # of a block that has been checked are read one by one
BLOCK_ROWS = 64  # rows under one digest: 128 kB at D = 1024 in float16
SPARE = "spare"  # the dataset that holds the metadata and the seal once more
FRONT, BEHIND, BACK = COPIES = ("front", "behind", "back")  # see SealedFile
DIGESTS = "digests/"  # before the name of a feature array: the dataset of its digests

Vectors = npt.NDArray[np.floating[Any]]


class DamagedBlock(FeatureFileError):
    """A block of feature rows that is not what was written."""

    def __init__(self, path: Path, array: FeatureArray, view: int, block: int, *, images: str = "") -> None:
        rows = array.rows_of(block)
        file = path.parent.with_suffix("") if path.parent.suffix == ".pieces" else path
        super().__init__(
            "Features as they were written",
            found=f"another checksum in {array.name}, view {view}, rows {rows.start} to {rows.stop - 1}{images}",
            where=path,
            remedy=f"frozenprobe repair {file}   keeps all other rows; then the extract command again computes these",
        )
        self.array, self.view, self.block = array, view, block


@dataclass(frozen=True)
class FeatureArray:
    """A feature array in a sealed file.

    Attributes:
        name: of the dataset.
        offset: of its first byte in the file.
        shape: (views, rows, D).
        dtype: little-endian float16 or float32.
        digests: `(views, blocks, 32)` uint8, SHA-256 of each block of 64 rows of a view.
    """

    name: str
    offset: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    digests: npt.NDArray[np.uint8]

    @property
    def blocks(self) -> int:
        """Blocks in a view."""
        return blocks_in(self.shape[1])

    def rows_of(self, block: int) -> range:
        """The rows under one digest."""
        return range(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.shape[1]))

    def span(self, view: int, block: int) -> Span:
        """Where a block lies in the file."""
        rows, row_bytes = self.rows_of(block), self.shape[2] * self.dtype.itemsize
        return self.offset + (view * self.shape[1] + rows.start) * row_bytes, len(rows) * row_bytes


class SealedFile:
    """An opened sealed file: attributes and small arrays in memory, feature blocks read when they are asked for.

    The file stays open for reading, so what was opened is what is read, even when another file takes the name.

    Args:
        path: the file.
        copy: which copy of seal and metadata to read: both in front; the spare metadata by the seal in front; the spare
            ones by the seal at the end.
        lenient: a file of another size than sealed will do, as long as the metadata are whole (its blocks are checked).

    Raises:
        Damage: truncated, changed, or not a sealed file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, *, copy: str = FRONT, lenient: bool = False) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.whole: set[tuple[str, int, int]] = set()  # blocks that have been found to be what was sealed
        self.file: BinaryIO = open_regular(path, buffering=0)  # open as long as this object
        self.opened_as = self.state()
        try:
            self.seal = self.read_seal(copy, lenient)
            self.attributes, self.arrays, placed = read_tree(self.read_metadata(copy), self.seal.spans())
            spare = placed.pop(SPARE, None)
            if spare is not None and (spare.offset, spare.bytes) != self.seal.spare:
                raise Damage("a spare that is not where the seal says")
            self.features = {name: self.feature_array(name, where) for name, where in placed.items()}
            if len(self.features) != len(self.seal.features):
                raise Damage("spans in the seal that no feature array has")
        except BaseException:
            self.file.close()
            raise

    def read_seal(self, copy: str, lenient: bool) -> Seal:
        """The seal at the start or at the end of the file; unless lenient, its size has to be the file's."""
        size = os.fstat(self.file.fileno()).st_size
        try:
            seal = Seal.decode(self.read_at(size - SEAL_BYTES if copy == BACK else 0, SEAL_BYTES))
        except (TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
            raise error if isinstance(error, Damage) else Damage("a seal of other contents") from None
        if seal.size != size and not lenient:
            what = "cut off" if size < seal.size else "another program has written to it"
            raise Damage(f"{size:,} bytes, sealed with {seal.size:,}: {what}")
        if copy != FRONT and seal.spare is None:
            raise Damage("no spare metadata")
        return seal

    def read_metadata(self, copy: str) -> MemoryFile:
        """The metadata, digest-checked, where libhdf5 expects them."""
        memory, digest = MemoryFile(self.seal.size), hashlib.sha256()
        position = self.seal.spare[0] if self.seal.spare else 0
        for offset, size in self.seal.spans():
            content = self.read_at(offset if copy == FRONT else position, size)
            position += size
            digest.update(content)
            memory.put(offset, content)
        if digest.hexdigest() != self.seal.metadata:
            raise Damage("another checksum of the metadata than they were sealed with")
        return memory

    def feature_array(self, name: str, where: Placed) -> FeatureArray:
        """A feature array and its digests, which have to fit it."""
        if (where.offset, where.bytes) not in self.seal.features or len(where.shape) != 3 or where.shape[2] < 1:
            raise Damage(f"a dataset {name} that is neither among the metadata nor a feature array")
        if where.dtype not in (np.dtype("<f2"), np.dtype("<f4")):
            raise Damage(f"a feature array of {where.dtype}: {name}")
        views, rows, dim = where.shape
        digests = self.arrays.pop(DIGESTS + name, None)
        expected = (views, blocks_in(rows), hashlib.sha256().digest_size)
        if digests is None or digests.dtype != np.uint8 or digests.shape != expected:
            raise Damage(f"no digest for each block of {name}")
        return FeatureArray(name, where.offset, (views, rows, dim), where.dtype, digests)

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a small array in row-major order."""
        return tuple(cell.decode() for cell in self.arrays[name].ravel().tolist())

    def read_at(self, offset: int, size: int) -> bytes:
        """Bytes of the file; fewer where it ends, or where the disk cannot read it: then the digests tell."""
        parts: list[bytes] = []
        with self.lock:
            start, end = max(offset, 0), os.fstat(self.file.fileno()).st_size
            self.file.seek(start)
            size = min(size, end - start)
            try:
                while size > 0 and (part := self.file.read(size)):
                    parts.append(part)
                    size -= len(part)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
        return b"".join(parts)

    def read_block(self, array: FeatureArray, view: int, block: int) -> Vectors | None:
        """`(rows of the block, D)` in the stored dtype; None if they are not what was sealed."""
        content = self.read_at(*array.span(view, block))
        if hashlib.sha256(content).digest() != array.digests[view, block].tobytes():
            return None
        return as_rows(content, array)

    def read_rows(self, array: FeatureArray, view: int, rows: npt.NDArray[np.int64]) -> Vectors:
        """`(len(rows), D)` in the stored dtype, in the order asked for; reads only the blocks they are in.

        Raises:
            FeatureFileError: a block is not what was sealed.
        """
        out: Vectors = np.empty((len(rows), array.shape[2]), dtype=array.dtype)
        blocks = rows // BLOCK_ROWS
        for block in np.unique(blocks).tolist():
            wanted = np.flatnonzero(blocks == block)
            inside = rows[wanted] - block * BLOCK_ROWS
            if (array.name, view, block) in self.whole and len(wanted) < FEW_ROWS:
                out[wanted] = self.read_some(array, view, block, inside)
                continue
            found = self.read_block(array, view, block)
            if found is None:
                raise DamagedBlock(self.path, array, view, block)
            self.whole.add((array.name, view, block))
            out[wanted] = found[inside]
        return out

    def read_some(self, array: FeatureArray, view: int, block: int, inside: npt.NDArray[np.int64]) -> Vectors:
        """A few rows of a block that has been checked: rows in another order than stored need not read it again."""
        offset, row_bytes = array.span(view, block)[0], array.shape[2] * array.dtype.itemsize
        content = b"".join(self.read_at(offset + row * row_bytes, row_bytes) for row in inside.tolist())
        if len(content) != len(inside) * row_bytes or self.state() != self.opened_as:
            raise DamagedBlock(self.path, array, view, block)
        return as_rows(content, array)

    def state(self) -> tuple[int, int]:
        """What changes when somebody writes into the open file."""
        about = os.fstat(self.file.fileno())
        return about.st_size, about.st_mtime_ns

    def close(self) -> None:
        """Close the file; what is in memory stays."""
        self.file.close()

    def __getstate__(self) -> tuple[Path, str]:
        return self.path, self.seal.metadata

    def __setstate__(self, state: tuple[Path, str]) -> None:
        path, metadata = state
        self.__init__(path)  # type: ignore[misc]
        if self.seal.metadata != metadata:
            raise FeatureFileError(
                "The feature file that was opened",
                found="another one, published in the meantime",
                where=path,
                remedy="run the command again",
            )


def as_rows(content: bytes, array: FeatureArray) -> Vectors:
    """Bytes of a block as `(rows, D)`."""
    rows: Vectors = np.frombuffer(content, dtype=array.dtype).reshape(-1, array.shape[2])
    return rows


def salvage(path: Path) -> SealedFile | None:
    """A damaged file by whichever copy of its metadata is whole; None if neither is.

    Raises:
        Refused: it holds what no file of ours does.
    """
    for copy in COPIES:
        try:
            return SealedFile(path, copy=copy, lenient=True)
        except Damage:
            continue
    return None


def blocks_in(rows: int) -> int:
    """Blocks of up to 64 rows."""
    return -(-rows // BLOCK_ROWS)
