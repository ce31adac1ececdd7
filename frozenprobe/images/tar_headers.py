"""An uncompressed tar -> the headers of its members, one after the other; a damaged or hostile one is an error."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from frozenprobe.errors import ImageError

LONGEST_HEADER = 1 << 20  # bytes of a long name or of a pax record; a header can claim any number
COMPRESSED = (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst", ".tzst")


def walk_tar(path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member's header, in the order of the file; nothing is kept of those that have been yielded.

    Raises:
        ImageError: no such file, compressed, cut off, damaged, or more tars behind the first.
    """
    if path.suffix.lower() in COMPRESSED:
        raise compressed(path)
    if not path.is_file():
        raise broken(path, "no regular file" if path.exists() else "no such file", "check the path")
    try:
        with Headers(io.FileIO(path)) as file:
            yield from walk_headers(file, path)
    # tarfile lets out what parsing numbers and text raises; a chain of headers without a member recurses
    except (tarfile.TarError, ArithmeticError, LookupError, ValueError, RecursionError, OSError) as error:
        raise broken(path, f"{type(error).__name__}: {error}") from None


class Headers(io.BufferedReader):
    """A file of which only headers are read: no claim of a header can fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes.

        Raises:
            ReadError: more than any header has, or a negative number.
        """
        if size is None or not 0 <= size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)


def walk_headers(file: Headers, path: Path) -> Iterator[tarfile.TarInfo]:
    """As `walk_tar`, of an open file."""
    length = os.fstat(file.fileno()).st_size
    last = "its first header"
    with tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # else it keeps 2 kB a member
            if member.size < 0:
                raise broken(path, f"{member.size} bytes as the size of {member.name!a}")
            if tar.offset > length:
                raise broken(path, f"it ends inside the member {member.name!a}: it was cut off")
            last = ascii(member.name)
            yield member
        require_end(file, tar.offset, path, last)


def require_end(file: Headers, offset: int, path: Path, last: str) -> None:
    """Ask for the zeros that end a tar: to tarfile a damaged header, or a cut between members, is an end as well.

    Raises:
        ImageError: there are none, or something comes after them.
    """
    file.seek(offset)
    end = file.read(tarfile.BLOCKSIZE)
    if len(end) < tarfile.BLOCKSIZE:
        raise broken(
            path,
            f"no end-of-archive mark after {last}: it was cut off, or is still being written",
            f"make the shard again; if you know it is whole: truncate -s +1024 {path}",
        )
    if end.strip(b"\0"):
        raise broken(path, f"no header of a member after {last}: it is damaged")
    if file.read(LONGEST_HEADER).strip(b"\0"):
        raise broken(path, "more data after its end (tars joined with cat?)", "keep one tar a file, or: tar -A")


def compressed(path: Path) -> ImageError:
    """The error for a shard whose members cannot be read one by one."""
    return ImageError(
        "Uncompressed tar shards: images are compressed already, and each one has to be read by itself",
        found="a compressed one",
        where=path,
        remedy=f'unpack it (python -m tarfile -e "{path}" FOLDER) and name the folder, or gunzip it and name the .tar',
    )


def broken(path: Path, found: str, remedy: str = "make the shard again (uncompressed), or leave it out") -> ImageError:
    """The error for a shard that cannot be used."""
    return ImageError("A whole, uncompressed tar shard", found=found, where=path, remedy=remedy)
