"""The images of a folder or of shards, found by the names that a table gives them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from frozenprobe.images.folders import list_images
from frozenprobe.images.places import Place
from frozenprobe.images.shard_names import find_shards
from frozenprobe.images.shards import list_members
from frozenprobe.system.match_names import LOOKED_AT, KnownNames, Match


@dataclass(frozen=True)
class Found:
    """What names of images mean.

    Attributes:
        places: for each name, None where it means no image, or several.
        strayed: names of files that are there, but not below the root.
        unnamed: ids of images below the root that no name means.
        how: the names were read, for people.
    """

    places: tuple[Place | None, ...]
    strayed: tuple[str, ...]
    unnamed: tuple[str, ...]
    how: str


class ImageFinder:
    """Knows the images below a root, a folder or shards, and finds the one that a name means.

    Attributes:
        known: their ids.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        shards = find_shards(root)
        images = list_members(shards, where=root) if shards else list_images(root)
        self.places: tuple[Place, ...] = tuple(place for _, place in images)
        self.known = KnownNames([name for name, _ in images])

    def find(self, names: Sequence[str]) -> Found:
        """The image for each name, read alike for all of them, and the strictest way that serves.

        Names that are absolute or go through `..` may lead to a file elsewhere; else they are read as the others.
        """
        resolved = [self._resolve(name) for name in names]
        inside = [name for name in resolved if isinstance(name, str)]
        match = self.known.match(inside)
        number_of = dict(zip(inside, match.found, strict=True))
        numbers = [number_of[name] if isinstance(name, str) else None for name in resolved]
        outside = [None if isinstance(name, str) else name for name in resolved]
        named = set(numbers)
        return Found(
            places=tuple(
                path if number is None else self.places[number] for number, path in zip(numbers, outside, strict=True)
            ),
            strayed=tuple(name for name, path in zip(names, outside, strict=True) if path is not None),
            unnamed=tuple(name for number, name in enumerate(self.known.names) if number not in named),
            how=match.how,
        )

    def look_at(self, cells: Sequence[str], *, strictly: bool) -> Match:
        """What the first cells of a column mean, as `KnownNames.look_at`."""
        inside = [name for name in map(self._resolve, cells[:LOOKED_AT]) if isinstance(name, str)]
        return self.known.look_at(inside, strictly=strictly)

    def _resolve(self, name: str) -> str | Path:
        """A name below the root; the file itself if it is elsewhere."""
        plain = name.strip().replace("\\", "/")
        if not (os.path.isabs(plain) or ".." in plain.split("/")):
            return plain
        root, path = os.path.abspath(self.root), os.path.abspath(os.path.join(self.root, plain))
        if os.path.normcase(path).startswith(os.path.normcase(os.path.join(root, ""))):
            return os.path.relpath(path, root).replace(os.sep, "/")
        return Path(path) if os.path.isfile(path) else plain
