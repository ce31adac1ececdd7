"""Files that appear whole or not at all: written aside, fsynced, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from frozenprobe.errors import DiskFull, FrozenprobeError

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)  # some network mounts cannot sync a folder
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's quota, the limit on a file's size


@contextmanager
def published(path: Path) -> Iterator[BinaryIO]:
    """Give a file beside `path` to write to; on leaving, make it durable and rename it to `path`.

    The file aside has a name that starts with a dot; it is removed if the block raises. All writing is Python's own,
    so a full disk is an error here, in the middle, and never a broken file under a final name.

    Raises:
        DiskFull: no space is left.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a file was wanted, this is a folder", str(path))
    aside = path.with_name(f".{secrets.token_hex(4)}.partial.{path.name}")
    try:
        with telling_full(path):
            make_folder(path.parent)
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def telling_full(path: Path) -> Iterator[None]:
    """Turn the system's word that no space is left into an error that says what to do.

    Raises:
        DiskFull: no space is left for `path`.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(path, str(error.strerror)) from None
        raise


def require_writable(path: Path, remedy: str, *, folder: bool = False) -> None:
    """Find out before the work, not after it, whether a file can be written; nothing is made or changed.

    Args:
        path: the file.
        remedy: how to name another one.
        folder: whether it is a folder, for files with names yet to be found.

    Raises:
        FrozenprobeError: something else is there or on the way there, or nothing may be written.
    """
    there = path if folder else path.absolute().parent
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        if path.is_dir() and not folder:
            raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
        if not there.is_dir():
            kind = "a file, no folder" if there.exists() else "a link that leads nowhere"
            raise NotADirectoryError(errno.ENOTDIR, kind, str(there))
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise FrozenprobeError(
            "A folder to write to" if folder else "A file to write",
            found=f"{path if error.errno == errno.EISDIR else there.absolute()}: {error.strerror}",
            where=path.absolute(),
            remedy=remedy,
        ) from None


def publish_bytes(path: Path, content: bytes | memoryview) -> None:
    """Publish a file of this content."""
    with published(path) as file:
        file.write(content)


def publish_text(path: Path, content: str) -> None:
    """Publish a UTF-8 text file of this content."""
    publish_bytes(path, content.encode())


def remove_partials(folder: Path, name: str = "*") -> None:
    """Remove what killed writers left aside in `folder`. Only for who knows that no other is writing."""
    for aside in folder.glob(f".????????.partial.{name}"):
        if not aside.is_dir():
            aside.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and have their names survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the file system can. Windows does so by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)
