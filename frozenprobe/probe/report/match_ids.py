"""The ids of a sample submission -> the test images they mean, each exactly one, and no image left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from frozenprobe.errors import SubmissionError, some
from frozenprobe.system.csv_tables import Table
from frozenprobe.system.match_names import KnownNames


def find_id_column(sample: Table, test_ids: Sequence[str]) -> str:
    """The column of the sample whose cells mean the most test images, read as strictly as can be.

    Raises:
        SubmissionError: the first line is a row: what the columns are to be called is not known then.
    """
    known = KnownNames(test_ids)

    def named(column: str) -> tuple[int, int]:
        match = known.look_at(sample.column(column))
        return match.count, -match.looseness

    found = max(sample.columns, key=named)  # the first one of equals
    if known.is_row(found, sample.column(found)):
        raise SubmissionError(
            "A sample submission with a header line, which the submission gets, too",
            found=f"a test image in its first line: {', '.join(sample.columns)[:80]}",
            where=sample.path,
            remedy="write the header that is asked for (such as ID,Label) above it, and add --sample FILE",
        )
    return found


def match_ids(sample: Table, ids: Sequence[str], test_ids: Sequence[str]) -> tuple[list[int], str]:
    """The test image for each id of the sample, by the strictest reading of its ids that finds each image once.

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
    known = KnownNames(test_ids)
    match = known.match(ids)
    found = [number for number in match.found if number is not None]
    if len(found) == len(ids) == len(test_ids):
        return found, match.how
    missing = [name for name, number in zip(ids, match.found, strict=True) if number is None]
    extra = [test_ids[number] for number in sorted(set(range(len(test_ids))) - set(found))]
    raise SubmissionError(
        f"The {len(ids)} ids of the sample submission, each with one of the {len(test_ids)} test images",
        found="; ".join(
            ([f"{len(missing)} ids of the sample without a test image: {some(missing)}"] if missing else [])
            + (
                [f"nearest to {missing[0]!r} is {' or '.join(map(repr, known.nearest(missing[0])))}"]
                if missing and test_ids
                else []
            )
            + ([f"{len(extra)} test images that are not in the sample: {some(extra)}"] if extra else [])
        ),
        where=sample.path,
        remedy=("extract the whole test folder (no --limit), or " if missing else "")
        + "name the sample that belongs to these images with --sample FILE",
    )
