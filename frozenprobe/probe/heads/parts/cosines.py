"""Cosines of all pairs of rows, a block at a time: every pair above a cosine, or the most similar of each row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.system.threads import in_threads

COSINES_AT_ONCE = 8_000_000  # bounds the memory
STRIP = 1024  # columns that a thread multiplies at a time
DIRECTIONS = 63  # that a sketch keeps
SAMPLE = 2048  # rows that say which
ROUNDS = 3  # of the power method: more would make the sketch no better, none would make it wrong
PROMISING = 1 / 64  # of the pairs of a block and a strip: if more are, one product is faster than pair by pair
GATHERED = 4096  # pairs compared at once
ROUNDING = 1e-6  # of a cosine in float32
COSINES_OF_THREAD = COSINES_AT_ONCE // 2  # where the most similar are looked for: with fewer the product is slower
GROUP, GROUPS = 64, 4  # columns of a group, and groups for each that is looked for

Nearest = tuple[Ints, Floats]


@dataclass(frozen=True)
class PairSearch:
    """All pairs of rows of length 1 with a cosine from some value on; exact, for a fraction of the whole product.

    A sketch of a row a is Pa, its part in a few directions, and |Qa|, the length of the rest. By Cauchy and Schwarz
    a.b = Pa.Pb + Qa.Qb <= Pa.Pb + |Qa| |Qb|, the product of the sketches: where that is too small, so is the cosine.
    Only the other pairs are compared in full. Any directions are right, those of the most variance leave the fewest.

    Attributes:
        rows: `(n, D)`.
        columns: `(m, D)` what they are compared with; the same array as the rows: each pair counts once.
        sketches: of rows and columns; the rows and columns themselves, if a sketch would be no shorter.
    """

    rows: Floats
    columns: Floats
    sketches: tuple[Floats, Floats]

    def blocks(self) -> Iterator[slice]:
        """The rows, so many at a time that their cosines with all columns fit into memory."""
        return row_blocks(len(self.rows), len(self.columns), COSINES_AT_ONCE)

    def above(self, block: slice, lowest: float) -> tuple[Ints, Floats]:
        """The pairs `(P, 2)` of a block of rows whose cosine is `lowest` or more, and the cosines `(P,)`.

        In the order of the strips of columns; of a row with itself never, and of two rows the smaller comes first.
        """
        same = self.columns is self.rows
        starts = range(block.start // STRIP * STRIP if same else 0, len(self.columns), STRIP)
        found = in_threads(lambda start: self.in_strip(block, slice(start, start + STRIP), lowest), starts)
        pairs, cosine = zip(*found, strict=True)
        return np.concatenate(pairs), np.concatenate(cosine)

    def in_strip(self, block: slice, strip: slice, lowest: float) -> tuple[Ints, Floats]:
        """The same, of one strip of columns."""
        rows, columns = self.rows[block], self.columns[strip]
        short, across = self.sketches[0][block], self.sketches[1][strip]
        reached = short @ across.T
        whole = short.shape[1] == rows.shape[1]
        promising = np.flatnonzero(reached >= lowest - (0 if whole else 4 * ROUNDING))
        if not whole and len(promising) > PROMISING * reached.size:
            whole, reached = True, rows @ columns.T
            promising = np.flatnonzero(reached >= lowest)
        one, other = np.divmod(promising, max(1, len(columns)))
        if self.columns is self.rows:
            later = other + strip.start > one + block.start
            promising, one, other = promising[later], one[later], other[later]
        cosine = reached.ravel()[promising] if whole else compare(rows, columns, one, other)
        good = cosine >= lowest
        return np.stack([one + block.start, other + strip.start], axis=1)[good], cosine[good]


def search_pairs(rows: Floats, columns: Floats) -> PairSearch:
    """Prepare the search; arguments as of `PairSearch`."""
    if rows.shape[1] <= 2 * DIRECTIONS or len(columns) <= SAMPLE:  # the directions would cost more than they save
        return PairSearch(rows, columns, (rows, columns))
    directions = find_directions(columns)
    sketch = shorten(columns, directions)
    return PairSearch(rows, columns, (sketch if rows is columns else shorten(rows, directions), sketch))


def find_directions(rows: Floats) -> Floats:
    """`(D, DIRECTIONS)` orthonormal, of about the most variance: the power method on a sample."""
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)]
    directions = sample[:DIRECTIONS].T
    for _ in range(ROUNDS):
        directions = np.linalg.qr(sample.T @ (sample @ directions))[0]
    return directions


def shorten(rows: Floats, directions: Floats) -> Floats:
    """`(n, DIRECTIONS + 1)` sketches of rows of length 1, or of zeros."""
    part = rows @ directions
    rest = np.einsum("nd,nd->n", rows, rows) - np.einsum("nd,nd->n", part, part)
    return np.column_stack([part, np.sqrt(np.maximum(rest, 0))])


def compare(rows: Floats, columns: Floats, one: Ints, other: Ints) -> Floats:
    """Cosines of pairs of rows and columns."""
    cosine = np.empty(len(one), dtype=rows.dtype)
    for start in range(0, len(one), GATHERED):
        part = slice(start, start + GATHERED)
        np.einsum("nd,nd->n", rows[one[part]], columns[other[part]], out=cosine[part])
    return cosine


def most_similar(rows: Floats, columns: Floats, count: int, *, together: tuple[Ints, Ints] | None = None) -> Nearest:
    """The `count` columns of the highest cosine of each row, the highest first; of equal ones the first columns.

    Args:
        rows: `(n, D)` of length 1.
        columns: `(m, D)` likewise, m >= count.
        count: of each row.
        together: cluster of each row and of each column: those of one have a cosine of minus infinity.

    Returns:
        `(n, count)` columns and cosines.
    """

    def look(block: slice) -> Nearest:
        cosine = rows[block] @ columns.T
        if together is not None:
            cosine[together[0][block][:, None] == together[1]] = -np.inf
        return highest(cosine, count)

    empty = np.zeros((0, count), dtype=np.int64), np.zeros((0, count), dtype=rows.dtype)
    found = [empty, *in_threads(look, row_blocks(len(rows), len(columns), COSINES_OF_THREAD))]
    near, cosine = zip(*found, strict=True)
    return np.concatenate(near), np.concatenate(cosine)


def highest(cosine: Floats, count: int) -> Nearest:
    """The same of a block of cosines `(n, m)`.

    The count-th highest of the groups' highest is not above the count-th highest of all: few others reach it.
    """
    rows, columns = cosine.shape
    group = min(GROUP, columns // (GROUPS * count))
    groups = cosine[:, : columns // group * group].reshape(rows, group, -1).max(axis=1) if group > 1 else cosine
    least = np.partition(groups, groups.shape[1] - count, axis=1)[:, groups.shape[1] - count]
    row, column = np.divmod(np.flatnonzero(cosine >= least[:, None]), columns)
    order = np.lexsort((column, -cosine[row, column], row))
    first = np.searchsorted(row, np.arange(rows))[:, None] + np.arange(count)
    near = column[order][first]
    return near, np.take_along_axis(cosine, near, axis=1)


def row_blocks(rows: int, columns: int, most: int) -> Iterator[slice]:
    """Slices of so many rows that they have at most so many cosines with all columns."""
    size = max(16, most // max(1, columns))
    for start in range(0, rows, size):
        yield slice(start, min(rows, start + size))
