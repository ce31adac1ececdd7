"""Names as a table writes them -> the images they mean: read ever more loosely, until each finds one of its own."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from urllib.parse import unquote

from frozenprobe.system.unicode_text import composed, without_invisible

ENDING = re.compile(r"\.[A-Za-z]\w{1,4}$", re.ASCII)  # any: photos are converted after their table was written
TITLES = ("id", "image", "images", "img", "file", "name", "filename", "file_name", "path", "photo", "picture", "label")
LOOKED_AT = 1000  # cells of a column, to see what it holds
MOST_COMPARED = 2000  # names, for the nearest one


def exact(name: str) -> str:
    """A name as it is, but for surrounding spaces, the encoding of accents and Windows' separators."""
    return composed(name.strip()).replace("\\", "/")


def unended(name: str) -> str:
    """A name without its ending (the key of a sample in tar shards), a leading `./` and doubled separators."""
    path = ENDING.sub("", exact(name)).removeprefix("./")
    return re.sub("/+", "/", path) if "//" in path else path


def caseless(name: str) -> str:
    """A name without ending, in small letters, its blanks made one space, without `%20` and invisible characters."""
    plain = without_invisible(unended(unquote(name) if "%" in name else name)).casefold()
    return plain if plain.isalnum() else " ".join(plain.split())


def numeric(name: str) -> str:
    """As `caseless`, numbers without leading zeros or `.0`: spreadsheets make `7` or `7.0` of `0007`."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<![^/])(\d+)\.0+$", r"\1", caseless(name)))


SPELLINGS: dict[str, Callable[[str], str]] = {  # from strict to loose
    "": exact,
    " without ending": unended,
    " without ending, in any case": caseless,
    " without ending and leading zeros": numeric,
}
BARE = 1 << 10  # folders to leave out: all of them


@dataclass(frozen=True)
class Match:
    """What names mean.

    Attributes:
        found: for each name the number of its image, or None.
        how: the way of reading names that was taken, for people.
        looseness: 0 for names as they are; the number of the way among all ways, from strict to loose.
    """

    found: tuple[int | None, ...]
    how: str
    looseness: int

    @property
    def count(self) -> int:
        """Names that have found their image."""
        return len(self.found) - self.found.count(None)

    @property
    def is_likely(self) -> bool:
        """Whether more than half of the names are names of images: others may be missing."""
        return self.count > len(self.found) / 2


@dataclass(frozen=True)
class Way:
    """A way of reading names: how they are spelled, and how many folders at the front of either side are left out."""

    spelling: str
    cut: int = 0
    cut_known: int = 0

    def __str__(self) -> str:
        if self.cut == BARE:
            return f"{'name' if self.spelling else 'base name'}{self.spelling}"
        folders = (
            f"first {'folder' if max(self.cut, self.cut_known) == 1 else f'{max(self.cut, self.cut_known)} folders'}"
        )
        if self.cut:
            return f"path without its {folders}{self.spelling.replace(' without', ', without', 1)}"
        if self.cut_known:
            return f"path below the images' {folders}{self.spelling.replace(' without', ', without', 1)}"
        return f"id{self.spelling}" if self.spelling else "exact id"


class KnownNames:
    """The names of images, among which those of a table are looked for.

    Args:
        names: of the images, each once, with `/`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.spelled = cache(self._spelled)
        self.index = cache(self._index)

    def match(self, wanted: Sequence[str], *, strictly: bool = False) -> Match:
        """Find an image for each name, by the strictest way in which every name finds exactly one, each another one.

        Where there is no such way, the strictest of those in which most names do: the others mean no image.

        Args:
            wanted: names, each once.
            strictly: only as they are.
        """
        best = Match((None,) * len(wanted), str(Way("")), 0)
        spelled = cache(lambda spelling, name: SPELLINGS[spelling](name).split("/"))
        depth = max((exact(name).count("/") for name in wanted), default=0)
        for looseness, way in enumerate(islice(self.ways(depth), 1 if strictly else None)):
            index = self.index(way.spelling, way.cut_known)
            lost = [name for name, number in zip(wanted, best.found, strict=True) if number is None]
            if all(index.get(cut(spelled(way.spelling, name), way.cut)) is None for name in lost):
                continue  # it finds nothing that a stricter way does not
            paths = [spelled(way.spelling, name) for name in wanted]
            found = [index.get(cut(path, way.cut)) for path in paths]
            if way.cut == BARE:
                found = self.without_contradictions(found, paths, way.spelling)
            times = Counter(found)
            own = tuple(number if times[number] == 1 else None for number in found)
            if len(own) - own.count(None) > best.count:
                best = Match(own, str(way), looseness)
            if best.count == len(wanted):
                break
        return best

    def ways(self, depth: int) -> Iterator[Way]:
        """All ways from strict to loose, for names with up to `depth` folders."""
        depth_known = max((name.count("/") for name in self.names), default=0)
        for spelling in SPELLINGS:
            whole, bare = Way(spelling), Way(spelling, cut=BARE, cut_known=BARE)
            yield bare if spelling else whole
            yield from (Way(spelling, cut=folders) for folders in range(1, depth))
            yield from (Way(spelling, cut_known=folders) for folders in range(1, depth_known))
            yield whole if spelling else bare

    def without_contradictions(
        self, found: list[int | None], paths: Sequence[Sequence[str]], spelling: str
    ) -> list[int | None]:
        """Base names mean nothing where folders contradict, if the folders of other names are right."""
        agreeing, contradicting = False, set()
        for row, (number, path) in enumerate(zip(found, paths, strict=True)):
            known = [] if number is None else self.spelled(spelling)[number]
            if len(path) > 1 and len(known) > 1:
                shared = min(len(path), len(known))
                agrees = list(path[-shared:]) == known[-shared:]
                agreeing = agreeing or agrees
                contradicting |= set() if agrees else {row}
        return [None if agreeing and row in contradicting else number for row, number in enumerate(found)]

    def look_at(self, cells: Sequence[str], *, strictly: bool = False) -> Match:
        """What the first cells of a column mean; strictly: as they are, which is quick."""
        return self.match([*dict.fromkeys(cells[:LOOKED_AT])], strictly=strictly)

    def is_row(self, title: str, cells: Sequence[str]) -> bool:
        """Whether the title of a column names an image as its cells do: then the file has no header line."""
        looked, spelling = cells[:LOOKED_AT], [*SPELLINGS][-1 if re.search(r"\d", title) else 1]
        if last_of(SPELLINGS[spelling](title)) not in self.index(spelling, BARE) or title.lower() in TITLES:
            return False
        if title in looked or len(set(looked)) < len(looked):
            return False
        match = self.match([title, *looked])
        return match.found[0] is not None and match.is_likely

    def nearest(self, name: str) -> list[str]:
        """The images, at most two, whose base name looks most like that of a name, for a message."""
        near: dict[str, list[str]] = {}
        for known in self.names:
            near.setdefault(last_of(numeric(known)), []).append(known)
        wanted = last_of(numeric(name))
        pool = [each for each in near if wanted in each] or list(near)
        found = difflib.get_close_matches(wanted, pool[:: 1 + len(pool) // MOST_COMPARED], 1, 0.0)
        return near[found[0]][:2] if found else []

    def _spelled(self, spelling: str) -> list[list[str]]:
        """The paths of all images in a spelling."""
        return [SPELLINGS[spelling](name).split("/") for name in self.names]

    def _index(self, spelling: str, folders: int) -> dict[str, int | None]:
        """Number of the image for each name without its first folders; None where several images have it."""
        index: dict[str, int | None] = {}
        for number, path in enumerate(self.spelled(spelling)):
            key = cut(path, folders)
            index[key] = None if key in index else number
        return index


def cut(path: Sequence[str], folders: int) -> str:
    """A path without its first folders; its base name is never left out."""
    return "/".join(path[min(folders, len(path) - 1) :])


def last_of(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]
