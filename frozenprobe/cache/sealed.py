"""Sealed files: HDF5 behind a user block with digests, so that nothing damaged is parsed and no damaged row is served.

    seal | HDF5: superblock, headers, small datasets | feature arrays | spare: the metadata and the seal once more

The metadata (all of the HDF5 part but the feature arrays and the spare) is digest-checked in memory before libhdf5
sees it, and libhdf5 sees nothing else: it reads an image of the metadata in memory, never the disk. Feature arrays are
contiguous, read and written here with plain I/O, and every block of them has a digest of its own. docs/format.md is
the specification.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.image import FileImage, Placed, read_tree, write_tree
from frozenprobe.errors import FeatureFileError
from frozenprobe.publish import published

SEAL_BYTES = 1024  # an HDF5 user block: libhdf5 looks for its superblock at 0, 512, 1024, 2048 ...
FEW_ROWS = 8  # of a block that has been checked are read one by one
BLOCK_ROWS = 64  # rows under one digest: 128 kB at D = 1024 in float16
MAGIC = b"frozenprobe sealed file, version 2 (HDF5 behind this block)\n"
LARGEST_METADATA = 1 << 34  # bytes; a million images need 0.2 GB
SPARE = "spare"  # the dataset that holds the metadata and the seal once more
FRONT, BEHIND, BACK = COPIES = ("front", "behind", "back")  # see SealedFile
DIGESTS = "_digests"  # what is added to the name of a feature array for the dataset of its digests

Vectors = npt.NDArray[np.floating[Any]]
Span = tuple[int, int]  # (offset, bytes) in the file


class Damage(ValueError):
    """Bytes that are not what was sealed; says where."""


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


class Seal(NamedTuple):
    """What the first and, if there is a spare, the last 1,024 bytes of a file say.

    Attributes:
        size: bytes in the file.
        features: spans of the feature arrays.
        spare: span of the dataset at the end that holds the metadata and the seal once more; None: there is none.
        metadata: SHA-256 of everything else behind the seal, hexadecimal.
    """

    size: int
    features: tuple[Span, ...]
    spare: Span | None
    metadata: str

    def spans(self) -> list[Span]:
        """Spans of the metadata: all but seal, feature arrays and spare."""
        spans, position = [], SEAL_BYTES
        for offset, size in (*self.features, self.spare or (self.size, 0)):
            spans.append((position, offset - position))
            position = offset + size
        return [*spans, (position, self.size - position)]

    def encode(self) -> bytes:
        """The seal as 1,024 bytes: a line for people, JSON, the SHA-256 of both, zeros."""
        text = MAGIC + json.dumps(self._asdict()).encode() + b"\n"
        return (text + hashlib.sha256(text).hexdigest().encode() + b"\n").ljust(SEAL_BYTES, b"\0")

    @classmethod
    def decode(cls, block: bytes) -> Seal:
        """Read a seal.

        Raises:
            Damage: it is none, or not a whole one.
        """
        if not block.startswith(MAGIC):
            raise Damage("no seal")
        text, separator, padding = block.partition(b"\n\0")
        body, newline, digest = text.rpartition(b"\n")
        body += newline
        whole = len(block) == SEAL_BYTES and separator and not padding.strip(b"\0")
        if not whole or hashlib.sha256(body).hexdigest().encode() != digest:
            raise Damage("a seal that has been changed")
        values = json.loads(body[len(MAGIC) :])
        features = tuple((int(offset), int(size)) for offset, size in values["features"])
        spare = values["spare"] and (int(values["spare"][0]), int(values["spare"][1]))
        seal = cls(**values | {"features": features, "spare": spare or None})
        spans = [size for _, size in seal.spans()]
        if min([*spans, *(size for _, size in seal.features)]) < 0 or sum(spans) > LARGEST_METADATA:
            raise Damage("a seal of spans that overlap")
        if seal.spare and seal.spare != (seal.size - sum(spans) - SEAL_BYTES, sum(spans) + SEAL_BYTES):
            raise Damage("a seal of a spare that is not a copy of the metadata")
        return seal


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
        self.file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - open as long as this object
        try:
            self.seal = self.read_seal(copy, lenient)
            self.attributes, self.arrays, placed = read_tree(self.read_image(copy), self.seal.spans())
            spare = placed.pop(SPARE, None)
            if spare is not None and (spare.offset, spare.bytes) != self.seal.spare:
                raise Damage("a spare that is not where the seal says")
            self.features = {name: self.feature_array(name, where) for name, where in placed.items()}
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
            raise Damage(f"{size:,} bytes, sealed with {seal.size:,}")
        if copy != FRONT and seal.spare is None:
            raise Damage("no spare metadata")
        return seal

    def read_image(self, copy: str) -> FileImage:
        """The metadata, digest-checked, where libhdf5 expects them."""
        image, digest = FileImage(self.seal.size), hashlib.sha256()
        position = self.seal.spare[0] if self.seal.spare else 0
        for offset, size in self.seal.spans():
            content = self.read_at(offset if copy == FRONT else position, size)
            position += size
            digest.update(content)
            image.put(offset, content)
        if digest.hexdigest() != self.seal.metadata:
            raise Damage("another checksum of the metadata than they were sealed with")
        return image

    def feature_array(self, name: str, where: Placed) -> FeatureArray:
        """A feature array and its digests, which have to fit it."""
        if (where.offset, where.bytes) not in self.seal.features or len(where.shape) != 3 or where.shape[2] < 1:
            raise Damage(f"a dataset {name} that is neither among the metadata nor a feature array")
        if where.dtype not in (np.dtype("<f2"), np.dtype("<f4")):
            raise Damage(f"a feature array of {where.dtype}: {name}")
        views, rows, dim = where.shape
        digests = self.arrays.pop(name + DIGESTS, None)
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
            places = np.flatnonzero(blocks == block)
            inside = rows[places] - block * BLOCK_ROWS
            if (array.name, view, block) in self.whole and len(places) < FEW_ROWS:
                out[places] = self.read_some(array, view, block, inside)
                continue
            found = self.read_block(array, view, block)
            if found is None:
                raise DamagedBlock(self.path, array, view, block)
            self.whole.add((array.name, view, block))
            out[places] = found[inside]
        return out

    def read_some(self, array: FeatureArray, view: int, block: int, inside: npt.NDArray[np.int64]) -> Vectors:
        """A few rows of a block that has been checked: rows in another order than stored need not read it again."""
        offset, row_bytes = array.span(view, block)[0], array.shape[2] * array.dtype.itemsize
        return as_rows(b"".join(self.read_at(offset + row * row_bytes, row_bytes) for row in inside.tolist()), array)

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


class NewArray(NamedTuple):
    """A feature array to write: its shape (views, rows, D), dtype, and blocks `(views, up to 64 rows, D)` in order."""

    shape: tuple[int, int, int]
    dtype: str
    blocks: Iterator[Vectors]


def publish_sealed(
    path: Path,
    attributes: Mapping[str, str | int],
    arrays: Mapping[str, Any],
    features: Mapping[str, NewArray],
    *,
    spare: bool = True,
) -> None:
    """Publish a sealed file; memory stays bounded by one block and a few copies of the metadata.

    The HDF5 part is laid out in memory first, which tells where the blocks go; their digests, which are metadata, are
    put into it when all blocks have been written.

    Args:
        path: the final name.
        attributes: texts and whole numbers.
        arrays: small arrays, and sequences of texts, by dataset name.
        features: by dataset name.
        spare: keep a second copy of the metadata behind the data.

    Raises:
        DiskFull: no space is left.
    """
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        name: (array.shape, np.dtype(array.dtype).newbyteorder("<")) for name, array in features.items()
    }
    digests = {
        name: np.zeros((array.shape[0], blocks_in(array.shape[1]), hashlib.sha256().digest_size), dtype=np.uint8)
        for name, array in features.items()
    }
    layout = {**arrays, **{name + DIGESTS: value for name, value in digests.items()}}
    image, seal, placed = lay_out(attributes, layout, shapes, spare_bytes=1 if spare else 0)
    if spare:  # laid out once more, with as much room as there are metadata; where they lie does not depend on it
        size = sum(size for _, size in seal.spans()) + SEAL_BYTES
        image, seal, placed = lay_out(attributes, layout, shapes, spare_bytes=size)
    with published(path) as file:
        for name, array in features.items():
            where = FeatureArray(name, placed[name].offset, array.shape, placed[name].dtype, digests[name])
            write_blocks(file, where, array.blocks)
            image.put(placed[name + DIGESTS].offset, digests[name].tobytes())
        metadata = [image.get(*span) for span in seal.spans()]
        block = seal._replace(metadata=hashlib.sha256(b"".join(metadata)).hexdigest()).encode()
        parts = [(0, block), *((offset, content) for (offset, _), content in zip(seal.spans(), metadata, strict=True))]
        if seal.spare is not None:
            parts.append((seal.spare[0], b"".join([*metadata, block])))
        for offset, content in parts:
            file.seek(offset)
            file.write(content)
        file.truncate(seal.size)


def lay_out(
    attributes: Mapping[str, str | int],
    arrays: Mapping[str, Any],
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    *,
    spare_bytes: int,
) -> tuple[FileImage, Seal, dict[str, Placed]]:
    """Lay out the HDF5 part; the spare is a dataset, too: a program that opens the file for writing leaves it there."""
    room = {SPARE: ((spare_bytes,), np.dtype(np.uint8))} if spare_bytes else {}
    image, placed = write_tree(attributes, arrays, {**shapes, **room}, user_block=SEAL_BYTES)
    spans = tuple(sorted((placed[name].offset, placed[name].bytes) for name in shapes))
    spare = (placed[SPARE].offset, placed[SPARE].bytes) if spare_bytes else None
    return image, Seal(image.size, spans, spare, ""), placed


def write_blocks(file: BinaryIO, array: FeatureArray, blocks: Iterator[Vectors]) -> None:
    """Write a feature array block by block, and note the digests in it."""
    for block, vectors in enumerate(blocks):
        for view, rows in enumerate(vectors):
            content = np.ascontiguousarray(rows, dtype=array.dtype).tobytes()
            offset, size = array.span(view, block)
            if len(content) != size:
                raise ValueError(f"a block of {len(content)} bytes where {size} belong")
            array.digests[view, block] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
            file.seek(offset)
            file.write(content)


def blocks_in(rows: int) -> int:
    """Blocks of up to 64 rows."""
    return -(-rows // BLOCK_ROWS)


def one_view(vectors: Vectors) -> Iterator[Vectors]:
    """`(rows, D)` as the blocks of an array of one view."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield vectors[None, start : start + BLOCK_ROWS]


def as_texts(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Texts as fixed-width UTF-8, padded with NUL."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")
