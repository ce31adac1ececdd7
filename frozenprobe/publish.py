"""Files that appear whole or not at all: written aside, fsynced, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; on leaving, make it durable and rename it to `path`.

    The path aside does not exist yet; it is removed if the block raises. Its name starts with a dot.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a file was wanted, this is a folder", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(4)}.partial.{path.name}")
    try:
        yield aside
        with open(aside, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def publish_bytes(path: Path, content: bytes | memoryview) -> None:
    """Publish a file of this content."""
    with published(path) as aside:
        aside.write_bytes(content)


def publish_text(path: Path, content: str) -> None:
    """Publish a UTF-8 text file of this content."""
    publish_bytes(path, content.encode())


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Windows cannot open folders and does not need to."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
