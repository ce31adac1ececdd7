"""Where an image's bytes lie: in a file of their own, or as a member of a tar shard; and reading them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from frozenprobe.errors import UnreadableImage
from frozenprobe.system.files import open_regular, read_regular, why_unreadable


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
        with open_regular(self.tar) as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError("the shard is shorter than it was when its members were listed")
        return content


Place = Path | Member


def read_image(place: Place) -> bytes:
    """The bytes of a file, or of a member of a shard.

    Raises:
        UnreadableImage: it cannot be read.
    """
    try:
        return place.read_bytes() if isinstance(place, Member) else read_regular(place)
    except OSError as error:
        found = why_unreadable(error, place.tar if isinstance(place, Member) else place)
        remedy = "check the file and its permissions"
        raise UnreadableImage("A readable image", found=found, where=place, remedy=remedy) from None
