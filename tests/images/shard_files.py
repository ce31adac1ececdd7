"""Tars for tests: of bytes by name, and headers that no honest tool writes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def write_tar(path: Path, files: Mapping[str, bytes], *, form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of these files, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def tar_folder(path: Path, folder: Path, *, top: str = "") -> Path:
    """A tar of the files below a folder, sorted, their names below `top`."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return write_tar(path, {top + file.relative_to(folder).as_posix(): file.read_bytes() for file in files})


def header_of(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header block with a valid checksum that claims any size, written in base 256."""
    member = tarfile.TarInfo(name)
    member.type = kind
    raw = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (size % (1 << 88)).to_bytes(11, "big").rjust(12, b"\xff" if size < 0 else b"\x80")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)
