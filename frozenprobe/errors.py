"""What a user can put right: every error says what was wanted, what was found, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class FrozenprobeError(Exception):
    """A mistake in data or values. The command line prints it without a traceback and exits with 1.

    Args:
        wanted: what was needed, as a sentence without a full stop.
        found: what was there instead.
        where: the file, member of a shard, folder, option or column.
        remedy: what the user can do about it.
    """

    def __init__(self, wanted: str, *, found: str, where: object, remedy: str) -> None:
        super().__init__(f"{wanted}\n  found:  {found}\n  where:  {where}\n  to do:  {remedy}")
        self.wanted, self.found, self.where, self.remedy = wanted, found, str(where), remedy

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels between processes: by default an exception is made again from its message alone."""
        return FrozenprobeError.__new__, (type(self), str(self)), vars(self)


class ImageError(FrozenprobeError):
    """An image, a folder, shard or list of images, or a CSV about images that cannot be used."""


class UnreadableImage(ImageError):
    """An image file that the system does not let us read: nothing is known of what is in it."""


class FeatureFileError(FrozenprobeError):
    """A feature file that is missing, damaged or of another format version."""


class FileInUse(FrozenprobeError):
    """A feature file that another process is writing."""


class DiskFull(FrozenprobeError):
    """No space left on the disk, or in the user's quota, for a file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            "Disk space for a file",
            found=reason,
            where=path,
            remedy="free some space and run the same command again: what is finished is kept, and it goes on there",
        )


class SpecMismatch(FrozenprobeError):
    """A feature file that was made with another value of an option that decides the features."""


class SubmissionError(FrozenprobeError):
    """Answers and sample submission that do not fit each other."""


class MissingExtra(FrozenprobeError):
    """An optional package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"The optional package {package} is needed for this",
            found="it is not installed",
            where="this Python environment",
            remedy=f"pip install 'frozenprobe[{extra}]'   (in a clone of frozenprobe: pip install '.[{extra}]')",
        )


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str) -> FrozenprobeError:
    """The error for a name that is in no list: says the nearest name and the list."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    remedy = (f"did you mean {near[0]}? " if near else "") + f"Known: {', '.join(names)}"
    return FrozenprobeError(f"The name of a {kind} was wanted", found=repr(name), where=where, remedy=remedy)


def some(items: Iterable[object], *, most: int = 5) -> str:
    """The first few items for a message, and how many more there are."""
    everything = [str(item) for item in items]
    more = f" and {len(everything) - most} more" if len(everything) > most else ""
    return ", ".join(everything[:most]) + more
