"""Writing sealed files: laid out in memory, filled block by block, sealed last, published by rename."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from frozenprobe.cache.container.hdf5 import MemoryFile, Placed, write_tree
from frozenprobe.cache.container.read import DIGESTS, SPARE, FeatureArray, Vectors, blocks_in
from frozenprobe.cache.container.seal import SEAL_BYTES, Seal
from frozenprobe.system.atomic_files import published


class NewArray(NamedTuple):
    """A feature array to write, or several whose rows come side by side.

    Attributes:
        shape: (views, rows, D).
        dtype: as it is stored.
        blocks: `(views, up to 64 rows, D)`, in order.
        taps: name and D of each array that the columns are cut into, a dataset `<name>/<tap>` each; empty: one array.
    """

    shape: tuple[int, int, int]
    dtype: str
    blocks: Iterator[Vectors]
    taps: tuple[tuple[str, int], ...] = ()

    def columns(self, name: str) -> dict[str, slice]:
        """The columns of each dataset."""
        if not self.taps:
            return {name: slice(0, self.shape[2])}
        ends = accumulate(dim for _, dim in self.taps)
        return {f"{name}/{tap}": slice(end - dim, end) for (tap, dim), end in zip(self.taps, ends, strict=True)}

    def shape_of(self, columns: slice) -> tuple[int, int, int]:
        """The shape of the array of these columns."""
        return (*self.shape[:2], columns.stop - columns.start)


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
    parts = {part: (array, cut) for name, array in features.items() for part, cut in array.columns(name).items()}
    shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        name: (array.shape_of(cut), np.dtype(array.dtype).newbyteorder("<")) for name, (array, cut) in parts.items()
    }
    digests = {
        name: np.zeros((array.shape[0], blocks_in(array.shape[1]), hashlib.sha256().digest_size), dtype=np.uint8)
        for name, (array, _) in parts.items()
    }
    layout = {**arrays, **{DIGESTS + name: value for name, value in digests.items()}}
    memory, seal, placed = lay_out(attributes, layout, shapes, spare_bytes=1 if spare else 0)
    if spare:  # laid out once more, with as much room as there are metadata; where they lie does not depend on it
        size = sum(size for _, size in seal.spans()) + SEAL_BYTES
        memory, seal, placed = lay_out(attributes, layout, shapes, spare_bytes=size)
    where = {
        name: FeatureArray(name, placed[name].offset, array.shape_of(cut), placed[name].dtype, digests[name])
        for name, (array, cut) in parts.items()
    }
    with published(path) as file:
        for name, array in features.items():
            write_blocks(file, [(cut, where[part]) for part, cut in array.columns(name).items()], array.blocks)
        for name, values in digests.items():
            memory.put(placed[DIGESTS + name].offset, values.tobytes())
        metadata = [memory.get(*span) for span in seal.spans()]
        block = seal._replace(metadata=hashlib.sha256(b"".join(metadata)).hexdigest()).encode()
        rest = [(0, block), *((offset, content) for (offset, _), content in zip(seal.spans(), metadata, strict=True))]
        if seal.spare is not None:
            rest.append((seal.spare[0], b"".join([*metadata, block])))
        for offset, content in rest:
            file.seek(offset)
            file.write(content)
        file.truncate(seal.size)


def lay_out(
    attributes: Mapping[str, str | int],
    arrays: Mapping[str, Any],
    shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    *,
    spare_bytes: int,
) -> tuple[MemoryFile, Seal, dict[str, Placed]]:
    """Lay out the HDF5 part; the spare is a dataset, too: a program that opens the file for writing leaves it there."""
    room = {SPARE: ((spare_bytes,), np.dtype(np.uint8))} if spare_bytes else {}
    memory, placed = write_tree(attributes, arrays, {**shapes, **room}, user_block=SEAL_BYTES)
    spans = tuple(sorted((placed[name].offset, placed[name].bytes) for name in shapes))
    spare = (placed[SPARE].offset, placed[SPARE].bytes) if spare_bytes else None
    return memory, Seal(memory.size, spans, spare, ""), placed


def write_blocks(file: BinaryIO, parts: Sequence[tuple[slice, FeatureArray]], blocks: Iterator[Vectors]) -> None:
    """Write feature arrays block by block, each from its columns, and note the digests in them."""
    for block, vectors in enumerate(blocks):
        for cut, array in parts:
            for view, rows in enumerate(vectors[..., cut]):
                content = np.ascontiguousarray(rows, dtype=array.dtype).tobytes()
                offset, size = array.span(view, block)
                if len(content) != size:
                    raise ValueError(f"a block of {len(content)} bytes where {size} belong")
                array.digests[view, block] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
                file.seek(offset)
                file.write(content)
