"""A file in memory is like one on a disk, byte for byte. (What HDF5 may hold: tests/faults/test_hostile.)"""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from frozenprobe.cache.container.hdf5 import PAGE, MemoryFile

OFFSETS = st.sampled_from([0, 1, PAGE - 3, PAGE, 2 * PAGE - 1, 3 * PAGE + 7])
CONTENTS = st.one_of(st.binary(min_size=1, max_size=9), st.just(b"x" * (PAGE + 5)))


@given(st.lists(st.tuples(OFFSETS, CONTENTS), max_size=6), OFFSETS, st.integers(0, 2 * PAGE))
def test_what_is_written_anywhere_is_read_again_and_the_rest_is_zeros(writes, offset, size) -> None:
    memory, disk = MemoryFile(), io.BytesIO()
    for position, content in writes:
        for file in (memory, disk):
            file.seek(position)
            file.write(content)
    assert memory.size == len(disk.getvalue())
    for file in (memory, disk):
        file.seek(offset)
    assert memory.read(size) == disk.read(size)
    assert memory.tell() == disk.tell()
    assert memory.get(0, memory.size) == disk.getvalue()
