"""Reading files: a user's, which may be a pipe that nobody writes to, and the machine's, which may not be there."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO


def require_regular(path: Path) -> None:
    """Refuse what is no regular file: opening a pipe waits for ever, a device may never end.

    Raises:
        OSError: there is no such file, or something else has its name.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("no regular file (a folder, a pipe or a device)")


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading bytes, without a buffer.

    Raises:
        OSError: it is no regular file, or cannot be opened.
    """
    require_regular(path)
    return open(path, "rb", buffering=0)


def read_regular(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    require_regular(path)
    return path.read_bytes()


def system_text(path: Path) -> str:
    """What a file of the system says, without surrounding space; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
