"""Ranks share the checking of the images: each publishes what it finds, slice by slice, and takes what others found.

Nobody waits: a slice that nobody has published is checked, if need be by several ranks. What is taken from a file is a
hash for an image of the same size and time of change; whoever computes an image's rows hashes it again anyway.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frozenprobe.errors import ImageError
from frozenprobe.extract.ranks.rank import Rank
from frozenprobe.images.places import Member, Place
from frozenprobe.system.atomic_files import publish_text
from frozenprobe.system.files import read_regular

SLICE = 256  # images: a second or two of checking, which is what two ranks may do twice at the end
LARGEST_NOTE = 1 << 20  # bytes

Found = tuple[list[str], dict[Place, ImageError]]  # hash of each image; those that cannot be used
Check = Callable[[Sequence[Place], int], Found]  # (images, how many were checked before)


class Checked(NamedTuple):
    """An image that can be used: size and time of change of its file, and the SHA-256 of its bytes."""

    size: int
    changed: int
    content_hash: str


def inspect_together(
    places: Sequence[Place], check: Check, *, folder: Path, rank: Rank, conditions: str, threads: int
) -> Found:
    """Check images, as other ranks do at this moment.

    Args:
        places: the images.
        check: checks some of them.
        folder: where ranks publish what they have found.
        rank: this one; it begins with its own part.
        conditions: what `check` depends on besides the images.
        threads: ask so many files at a time for their size: on a network file system each takes its time.
    """
    size = max(1, min(SLICE, -(-len(places) // rank.world)))
    starts = range(0, len(places), size)
    hashes = [""] * len(places)
    bad: dict[Place, ImageError] = {}
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for number in order_of(len(starts), rank):
            part = places[starts[number] : starts[number] + size]
            told = json.dumps([conditions, *map(str, part)])  # other images or other conditions: another file
            note = folder / f"checked-{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
            states = list(pool.map(state_of, part))
            found = {
                place: was.content_hash
                for place, was, state in zip(part, read_note(note, len(part)), states, strict=True)
                if was is not None and was[:2] == state
            }
            left = [place for place in part if place not in found]
            fresh, errors = check(left, done + len(found))
            found |= dict(zip(left, fresh, strict=True))
            bad |= errors
            if len(errors) < len(left):
                entries = [
                    Checked(*state, found[place]) if state is not None and place not in errors else None
                    for place, state in zip(part, states, strict=True)
                ]
                with suppress(FileNotFoundError):  # another rank has just finished the file and removed the folder
                    publish_text(note, json.dumps(entries))
            hashes[starts[number] : starts[number] + size] = [found[place] for place in part]
            done += len(part)
    return hashes, {place: bad[place] for place in places if place in bad}


def order_of(slices: int, rank: Rank) -> list[int]:
    """A rank's own slices, then all others in an order of its own: few ranks do the same one at the same time."""
    mixed = np.random.default_rng([rank.number, rank.world]).permutation(slices).tolist()
    is_own = [number * rank.world // slices == rank.number for number in range(slices)]
    return [number for number in range(slices) if is_own[number]] + [number for number in mixed if not is_own[number]]


def state_of(place: Place) -> tuple[int, int] | None:
    """Size and time of change of an image's file, or of its shard; None if they cannot be told."""
    try:
        about = os.stat(place.tar if isinstance(place, Member) else place)
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def read_note(note: Path, images: int) -> list[Checked | None]:
    """What is known of the images of a slice; an image that is bad, or of which nothing is known, is None."""
    try:
        if note.stat().st_size > LARGEST_NOTE:
            raise ValueError("no note of ours")
        entries = [None if entry is None else Checked(*entry) for entry in json.loads(read_regular(note))]
    except (OSError, ValueError, TypeError, RecursionError):
        return [None] * images
    codes = [entry.content_hash for entry in entries if entry is not None]
    sane = all(isinstance(code, str) and re.fullmatch("[0-9a-f]{64}", code) for code in codes)
    return entries if sane and len(entries) == images else [None] * images
