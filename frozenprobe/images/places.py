"""Where an image's bytes lie: in a file of their own, or as a member of a tar shard."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """A file inside an uncompressed tar: found once by its header, read without it."""

    tar: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}/{self.name}"

    def read_bytes(self) -> bytes:
        """Its bytes, as of a path.

        Raises:
            OSError: the shard cannot be read, or is shorter than it was.
        """
        with self.tar.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError("the shard is shorter than it was when its members were listed")
        return content


Place = Path | Member
