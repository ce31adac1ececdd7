"""Reading files: a user's, which may be a pipe that nobody writes to, and the machine's, which may not be there."""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from frozenprobe.errors import FrozenprobeError

StrPath = str | os.PathLike[str]  # how a caller of a public function may name a file or folder


class NoRegularFile(OSError):
    """A folder, a pipe or a device where a file was wanted."""


def named_path(named: StrPath, option: str) -> Path:
    """The path that a user names: `~` is the home folder, and `.` and `..` get a name that others can be put beside.

    Raises:
        FrozenprobeError: an empty text, which as a path would be the folder one happens to be in.
    """
    text = os.fspath(named)
    if not text:
        raise FrozenprobeError(
            "The name of a file or folder",
            found="nothing (a variable of the shell that is not set?)",
            where=option,
            remedy=f"name one behind {option}, or drop {option}; the folder you are in is called .",
        )
    path = Path(text if os.path.lexists(text) else os.path.expanduser(text))
    return path if path.name not in ("", "..") else Path(os.path.abspath(path))


def names_in(folder: Path) -> list[str]:
    """What is directly in a folder; nothing if it may not be listed."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def did_you_mean(path: Path) -> str:
    """A question to put before a remedy: is it what lies there under the nearest name? Empty if nothing is near."""
    beside = [name for name in names_in(path.parent) if not name.startswith(".")]
    near = get_close_matches(path.name, beside, n=1)
    return f"did you mean {path.parent / near[0]}? " if near else ""


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


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file, or as many as it has.

    Raises:
        OSError: as `read_regular`.
    """
    with open_regular(path, buffering=0) as file:
        return file.read(count)


def why_unreadable(error: OSError, path: Path) -> str:
    """Why something could not be read, for a message."""
    if isinstance(error, FileNotFoundError) and os.path.islink(path):
        return f"a link to nothing ({os.readlink(path)})"
    return error.strerror or str(error)


def system_text(path: Path | str) -> str:
    """What a file of the system says, without surrounding space; empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
