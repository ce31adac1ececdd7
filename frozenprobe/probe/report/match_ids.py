"""The ids of a sample submission -> the test images they mean: by equal id, else without ending, folders or both."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from frozenprobe.errors import SubmissionError, some
from frozenprobe.system.csv_tables import Table
from frozenprobe.system.unicode_text import composed


def find_id_column(sample: Table, test_ids: Sequence[str]) -> str:
    """The column of the sample that names the most test images (a label may happen to name one, too)."""
    known = {key(name) for name in test_ids for key in KEYS}

    def named(column: str) -> int:
        return len({cell for cell in sample.column(column) if known & {key(cell) for key in KEYS}})

    return max(sample.columns, key=named)  # the first one of equals


def match_ids(sample: Table, ids: Sequence[str], test_ids: Sequence[str]) -> tuple[list[int], str]:
    """The test image for each id of the sample: by equal id, else by what is unique without ending, folders or both.

    Raises:
        SubmissionError: ids twice, without an image, or images without an id.
    """
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise SubmissionError(
            "Every id once in the sample submission",
            found=f"{len(twice)} ids more than once: {some(twice)}",
            where=sample.path,
            remedy="remove the repeated rows, or name another sample with --sample FILE",
        )
    for key, description in KEYS.items():
        images = {key(name): index for index, name in enumerate(test_ids)}
        wanted = [key(name) for name in ids]
        if len(images) == len(test_ids) and len(set(wanted)) == len(wanted) and set(images) == set(wanted):
            return [images[name] for name in wanted], description
    raise mismatch(sample, ids, test_ids)


def mismatch(sample: Table, ids: Sequence[str], test_ids: Sequence[str]) -> SubmissionError:
    """Why ids and test images do not match, told in the way of naming that comes nearest."""

    def overlap(key: Callable[[str], str]) -> int:
        return len({key(name) for name in ids} & {key(name) for name in test_ids})

    key = max(KEYS, key=overlap)
    there, wanted = {key(name) for name in test_ids}, {key(name) for name in ids}
    missing = [name for name in ids if key(name) not in there]
    extra = [name for name in test_ids if key(name) not in wanted]
    found = []
    if missing:
        found.append(f"{len(missing)} ids of the sample without a test image: {some(missing)}")
    if extra:
        found.append(f"{len(extra)} test images that are not in the sample: {some(extra)}")
    return SubmissionError(
        f"The {len(ids)} ids of the sample submission, each with one of the {len(test_ids)} test images",
        found="; ".join(found) or "names that are not unique without their folders or endings",
        where=sample.path,
        remedy=("extract the whole test folder (no --limit), or " if missing else "")
        + "name the sample that belongs to these images with --sample FILE",
    )


def exact(name: str) -> str:
    """An id as it is, but for surrounding spaces, the encoding of accents and Windows' separators."""
    return composed(name.strip()).replace("\\", "/")


def base_name(name: str) -> str:
    """An id without its folders."""
    return exact(name).rsplit("/", 1)[-1]


def stem(name: str) -> str:
    """An id without folders and image ending."""
    return unended(base_name(name))


def unended(name: str) -> str:
    """An id without its image ending: the key of a sample in tar shards."""
    return re.sub(r"\.(jpe?g|jfif|png|webp|bmp|tiff?|gif)$", "", exact(name), flags=re.IGNORECASE)


KEYS = {exact: "exact id", base_name: "base name", stem: "name without ending", unended: "id without ending"}
