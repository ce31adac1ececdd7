"""Reading files: a user's, which may be a pipe that nobody writes to, and the machine's, which may not be there."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

StrPath = str | os.PathLike[str]  # how a caller of a public function may name a file or folder


class NoRegularFile(OSError):
    """A folder, a pipe or a device where a file was wanted."""


def require_regular(path: Path) -> None:
    """Refuse what is no regular file: opening a pipe waits for ever, a device may never end.

    Raises:
        NoRegularFile: something else has this name.
        OSError: there is no such file, or the system does not tell.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NoRegularFile("no regular file (a folder, a pipe or a device)")


def open_regular(path: Path, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading bytes.

    Raises:
        OSError: as `require_regular`, or it cannot be opened.
    """
    require_regular(path)
    return open(path, "rb", buffering=buffering)


def read_regular(path: Path) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`, or it cannot be read.
    """
    with open_regular(path) as file:
        return file.read()


def system_text(path: Path | str) -> str:
    """What a file of the system says, without surrounding space; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
