"""What the user names -> the tar shards that are meant: a file, a pattern, or a folder of tars."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.images.folders import is_hidden, look_below
from frozenprobe.images.tar_headers import COMPRESSED, compressed

BRACES = re.compile(r"\{(\d+\.\.\d+(?:\.\.\d+)?|[^{}]*,[^{}]*)\}")
MOST_SHARDS = 100_000


def find_shards(source: Path) -> tuple[Path, ...]:
    """The shards that `source` names, in the order of the pattern or of their names; none if it names something else.

    Args:
        source: a tar, a pattern as WebDataset writes it (`train-{000..009}.tar`, `{a,b}.tar`) or with `*` and `?`, or a
            folder that holds tars and no images.

    Raises:
        ImageError: shards of a pattern are not there, or they are compressed.
    """
    if os.path.isdir(source):
        return shards_in(source)
    if source.suffix.lower() in COMPRESSED:
        raise compressed(source)
    if source.suffix.lower() != ".tar":
        return ()
    if source.exists() or not re.search(r"[{*?]", str(source)):
        return (source,)
    return shards_of_pattern(source)


def shards_in(folder: Path) -> tuple[Path, ...]:
    """The tars of a folder, sorted by name; none if there are images as well: then the tars are what they came in."""
    try:
        files = sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_file())
    except OSError:  # as a folder of images it is an error that says what to do
        return ()
    shards = tuple(path for path in files if path.suffix.lower() == ".tar")
    packed = [path for path in files if path.name.lower().endswith(tuple(f".tar{end}" for end in COMPRESSED))]
    if not (shards or packed) or look_below(folder).images:
        return ()
    if packed:
        raise compressed(packed[0])
    return shards


def shards_of_pattern(pattern: Path) -> tuple[Path, ...]:
    """The files that a pattern means, each once.

    Raises:
        ImageError: none, too many, or not all of them are there.
    """
    named = [Path(name) for name in islice(expand(str(pattern)), MOST_SHARDS + 1)]
    if len(named) > MOST_SHARDS:
        raise ImageError(
            f"Up to {MOST_SHARDS:,} shards",
            found="a pattern that means more",
            where=pattern,
            remedy="correct the pattern",
        )
    found: list[Path] = []
    for path in dict.fromkeys(named):
        found += sorted(path.parent.glob(path.name)) if re.search(r"[*?]", path.name) else [path]
    absent = [path for path in found if not path.is_file()]
    if absent or not found:
        raise ImageError(
            "Every shard that the pattern means",
            found=f"{len(absent)} of {len(found)} are not there: {some(absent)}" if found else "none",
            where=pattern,
            remedy="check the path and the numbers; {000..009} means 000 to 009, both included",
        )
    return tuple(dict.fromkeys(found))


def expand(pattern: str) -> Iterator[str]:
    """What the braces of a pattern mean, as in a shell (nested lists may say a name twice)."""
    found = BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    for choice in choices(found[1]):
        yield from expand(pattern[: found.start()] + choice + pattern[found.end() :])


def choices(inside: str) -> Iterator[str]:
    """What one pair of braces means; numbers are padded if one of the ends is."""
    if "," in inside:
        yield from inside.split(",")
        return
    first, last, *step = inside.split("..")
    padded = any(number.startswith("0") and len(number) > 1 for number in (first, last))
    width = max(len(first), len(last)) if padded else 0
    stride = max(1, int(step[0])) if step else 1
    down = int(first) > int(last)
    for number in range(int(first), int(last) + (-1 if down else 1), -stride if down else stride):
        yield f"{number:0{width}d}"
