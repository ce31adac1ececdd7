"""A file's metadata in memory, and HDF5 in it: where alone libhdf5 runs, and the short list of what it may read."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5g, h5l, h5o, h5p, h5s, h5t

LIBVER = ("earliest", "v110")  # what HDF5 1.10 and later read
MOST_OBJECTS = 64
LARGEST_ATTRIBUTE = 1 << 16  # bytes, HDF5's own limit for attributes in an object's header
PAGE = 1 << 16

Span = tuple[int, int]  # (offset, bytes)
SmallArrays = dict[str, npt.NDArray[Any]]  # by dataset name
Attributes = dict[str, str | int]


class Refused(ValueError):
    """Something in an HDF5 file that a feature file never has."""


class Placed(NamedTuple):
    """Where the values of a dataset lie in the file."""

    offset: int
    bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class MemoryFile(io.RawIOBase):
    """The bytes of a file in memory, of which only those that were written take any: a stand-in for a disk.

    Args:
        size: bytes in the file; those not written read as zeros.
    """

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.position = 0
        self.pages: dict[int, bytearray] = {}

    def get(self, offset: int, size: int) -> bytes:
        """Bytes at a place."""
        parts = [bytes(self.pages.get(page, bytes(PAGE))[cut]) for page, cut, _ in cut_at_pages(offset, size)]
        return b"".join(parts)

    def put(self, offset: int, content: bytes | memoryview) -> None:
        """Write bytes at a place."""
        for page, cut, part in cut_at_pages(offset, len(content)):
            self.pages.setdefault(page, bytearray(PAGE))[cut] = content[part]
        self.size = max(self.size, offset + len(content))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size; HDF5 sets it when it closes a file."""
        self.size = self.position if size is None else size
        return self.size

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as the buffer holds."""
        view = memoryview(buffer).cast("B")
        size = max(0, min(len(view), self.size - self.position))
        view[:size] = self.get(self.position, size)
        self.position += size
        return size

    def write(self, content: Any) -> int:
        """Write where we are."""
        view = memoryview(content).cast("B")
        self.put(self.position, view)
        self.position += len(view)
        return len(view)


def cut_at_pages(offset: int, size: int) -> Iterator[tuple[int, slice, slice]]:
    """A span cut at the ends of pages: (page, where in the page, where in the span)."""
    done = 0
    while done < size:
        page, start = divmod(offset + done, PAGE)
        length = min(PAGE - start, size - done)
        yield page, slice(start, start + length), slice(done, done + length)
        done += length


def write_tree(
    attributes: Mapping[str, str | int],
    arrays: Mapping[str, Any],
    features: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    *,
    user_block: int,
) -> tuple[MemoryFile, dict[str, Placed]]:
    """Lay out an HDF5 file: attributes, small arrays with their values, and room for the feature arrays.

    Returns:
        the file in memory, without the feature arrays' bytes, and where every dataset's values belong.
    """
    memory = MemoryFile()
    with h5py.File(memory, "w", libver=LIBVER, userblock_size=user_block) as file:
        for name, value in attributes.items():
            file.attrs.create(name, text_array([value])[0] if isinstance(value, str) else np.int64(value))
        for name, values in arrays.items():
            is_number = isinstance(values, np.ndarray) and values.dtype.kind != "S"
            file[name] = values if is_number else text_array(values)
        rooms = {name: declare(file, name, shape, dtype) for name, (shape, dtype) in features.items()}
        placed = {name: make_room(dataset, name) for name, dataset in rooms.items()}
        placed |= {name: place_of(file[name].id, name) for name in arrays}
    return memory, placed


def text_array(texts: Sequence[str] | npt.NDArray[np.bytes_]) -> npt.NDArray[Any]:
    """Texts as HDF5 strings of fixed width: UTF-8, padded with NUL."""
    encoded = texts if isinstance(texts, np.ndarray) else as_texts(texts)
    return encoded.astype(h5py.string_dtype("utf-8", encoded.dtype.itemsize))


def declare(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5d.DatasetID:
    """A contiguous dataset without any storage yet."""
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_layout(h5d.CONTIGUOUS)
    layout.set_alloc_time(h5d.ALLOC_TIME_LATE)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    layout.set_obj_track_times(False)  # equal contents make equal files
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    return h5d.create(file.id, name.encode(), h5t.py_create(dtype), h5s.create_simple(shape), layout, links)


def make_room(dataset: h5d.DatasetID, name: str) -> Placed:
    """Have HDF5 give a dataset all its storage, at the end of the file: it does so when the first element is written.

    Done when everything else has its place, so that a truncated file loses rows and no metadata.
    """
    space = dataset.get_space()
    space.select_elements(np.zeros((1, space.get_simple_extent_ndims()), dtype=np.uint64))
    dataset.write(h5s.create_simple((1,)), space, np.zeros(1, dtype=dataset.dtype))
    return place_of(dataset, name)


def read_tree(memory: MemoryFile, metadata: Sequence[Span]) -> tuple[Attributes, SmallArrays, dict[str, Placed]]:
    """Read an HDF5 file that may come from a stranger: attributes, small arrays, and where larger ones lie.

    Only hard links, groups and contiguous datasets of fixed-size types without filters are read; soft and external
    links, external storage, virtual datasets, chunks, filters and variable-length types, which can reach other files
    or declare more than is there, are refused.

    Args:
        memory: the file's metadata.
        metadata: spans of the file that the memory holds; arrays outside of them are only located.

    Raises:
        Refused: anything else than that, or libhdf5 cannot make sense of it.
    """
    arrays: SmallArrays = {}
    placed: dict[str, Placed] = {}
    try:
        with h5py.File(memory, "r") as file:
            attributes = read_attributes(file.id)
            for name, dataset in walk(file.id):
                where = place_of(dataset, name)
                if where.bytes == 0:
                    arrays[name] = np.empty(where.shape, where.dtype)
                elif any(
                    begin <= where.offset and where.offset + where.bytes <= begin + size for begin, size in metadata
                ):
                    content = memory.get(where.offset, where.bytes)
                    arrays[name] = np.frombuffer(content, dtype=where.dtype).reshape(where.shape)
                else:
                    placed[name] = where
    except Refused:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:  # what h5py makes of libhdf5's errors
        raise Refused(f"HDF5 metadata that libhdf5 refuses ({type(error).__name__}: {error})") from None
    return attributes, arrays, placed


def walk(root: h5g.GroupID) -> Iterator[tuple[str, h5d.DatasetID]]:
    """All datasets below a group; every object is visited once."""
    waiting: list[tuple[str, h5g.GroupID]] = [("", root)]
    seen = {h5o.get_info(root).addr}
    while waiting:
        prefix, group = waiting.pop()
        for key in group:
            name = prefix + key.decode()
            if group.links.get_info(key).type != h5l.TYPE_HARD:
                raise Refused(f"a soft or external link: {name}")
            item = h5o.open(group, key)
            if not isinstance(item, h5g.GroupID | h5d.DatasetID):
                raise Refused(f"neither a group nor a dataset: {name}")
            address = h5o.get_info(item).addr
            if address in seen or len(seen) >= MOST_OBJECTS:
                raise Refused(f"links in a circle, or more than {MOST_OBJECTS} objects: {name}")
            seen.add(address)
            if isinstance(item, h5g.GroupID):
                waiting.append((name + "/", item))
            else:
                yield name, item


def place_of(dataset: h5d.DatasetID, name: str) -> Placed:
    """Where a dataset's values lie.

    Raises:
        Refused: not contiguous in this file, filtered, of no fixed size, or with less storage than declared.
    """
    layout, kind = dataset.get_create_plist(), dataset.get_type()
    if layout.get_layout() != h5d.CONTIGUOUS:
        raise Refused(f"a chunked, compact or virtual layout: {name}")
    if layout.get_external_count() or layout.get_nfilters():
        raise Refused(f"values outside the file, or filters: {name}")
    shape = fixed_shape(kind, dataset.get_space(), name)
    declared, stored = math.prod(shape) * kind.get_size(), dataset.get_storage_size()
    offset = dataset.get_offset()
    if declared != stored or (declared and offset is None):
        raise Refused(f"{stored:,} bytes of storage where {declared:,} are declared: {name}")
    return Placed(offset or 0, declared, shape, kind.dtype)


def fixed_shape(kind: h5t.TypeID, space: h5s.SpaceID, name: str) -> tuple[int, ...]:
    """The shape of an array of whole numbers, floats or texts of fixed width.

    Raises:
        Refused: another type, or no simple shape.
    """
    is_text = isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()
    if not (is_text or isinstance(kind, h5t.TypeIntegerID | h5t.TypeFloatID)):
        raise Refused(f"a type of no fixed size, or one that is no number and no text: {name}")
    if space.get_simple_extent_type() == h5s.NULL:
        raise Refused(f"no values: {name}")
    return tuple(space.get_simple_extent_dims())


def read_attributes(root: h5g.GroupID) -> Attributes:
    """The root's attributes: one text of fixed width or one whole number each."""
    attributes: Attributes = {}
    for index in range(h5a.get_num_attrs(root)):
        attribute = h5a.open(root, index=index)
        name, kind = attribute.name.decode(), attribute.get_type()
        shape = fixed_shape(kind, attribute.get_space(), name)
        if shape or isinstance(kind, h5t.TypeFloatID) or kind.get_size() > LARGEST_ATTRIBUTE:
            raise Refused(f"an attribute that is neither one text nor one whole number: {name}")
        value = np.empty((), dtype=kind.dtype)
        attribute.read(value)
        attributes[name] = value.item().decode() if value.dtype.kind == "S" else int(value)
    return attributes


def as_texts(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Texts as fixed-width UTF-8, padded with NUL."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")
