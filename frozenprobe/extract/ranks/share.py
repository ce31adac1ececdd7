"""What ranks agree on without asking each other: who computes which images, and who finishes the file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np

from frozenprobe.cache.contents import Contents
from frozenprobe.cache.growing.finish import finish
from frozenprobe.cache.growing.lock import rank_lock, rank_turn, writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.extract.ranks.rank import Rank
from frozenprobe.extract.target import Target


def writing(target: Target, rank: Rank, *, break_lock: bool) -> AbstractContextManager[None]:
    """Within, this process holds the lock of one that is alone, or that of a rank.

    Raises:
        FileInUse: another process is in the way.
    """
    if rank.is_alone:
        return writer_lock(target.out, break_lock=break_lock)
    return rank_lock(target.out, rank.number, rank.world, break_lock=break_lock)


def take_stock(target: Target, planned_contents: Callable[[Target], Contents], rank: Rank) -> tuple[Target, RowStore]:
    """The rows that are there, for what the file of a target will hold.

    Another rank may finish the file and delete the pieces in between; then it is looked at again, so that no row that
    has moved from a piece to the file seems to be missing.
    """
    while True:
        rows = RowStore(target.out, planned_contents(target), target.existing, alone=rank.is_alone)
        if rank.is_alone or not target.is_replaced():
            return target, rows
        target = target.reread()


def share_of(rows: RowStore, rank: Rank) -> frozenset[str] | None:
    """Content hashes of the images that are this rank's, whether their rows exist or not; None: all images are.

    It depends on the plan alone and not on what is done already: ranks start at different moments. Images with equally
    many views are dealt out in turn, so that no rank has more of them than another; in an order that is another one for
    every number of ranks, so that what one rank of eight has left undone is not all one rank's of four.
    """
    if rank.is_alone:
        return None
    width = max(1, rows.hashes.dtype.itemsize)
    letters = np.ascontiguousarray(rows.hashes).view("S1").reshape(len(rows.hashes), width)
    turned = np.ascontiguousarray(np.roll(letters, -rank.world, axis=1)).view(f"S{width}").reshape(len(rows.hashes))
    order = np.lexsort((turned, rows.wanted.sum(axis=0)))
    return frozenset(code.decode() for code in rows.hashes[order[rank.number :: rank.world]].tolist())


def finish_share(
    target: Target,
    rows: RowStore,
    contents: Contents,
    rank: Rank,
    *,
    computed: bool,
    with_facts: Callable[[Contents, Target], Contents],
) -> tuple[bool, int]:
    """Finish the file if all rows exist. Every rank comes here when its share is done, and waits for none.

    Args:
        target: the file.
        rows: those that this process knows of.
        contents: what it will hold.
        rank: this one.
        computed: whether this process has added rows.
        with_facts: adds what (contents, target as it is now) lack of facts, where this process has computed nothing.

    Returns:
        whether the file was written; how many rows are missing.
    """
    if rank.is_alone:
        return finish(target.out, rows, with_facts(contents, target), computed=computed), 0
    # one after the other, so that of ranks that come at the same moment the last one sees all rows
    with rank_turn(target.out, rank.number, rank.world):
        target = target.reread()
        rows = RowStore(target.out, contents, target.existing, check=False, alone=False)
        if rows.there < rows.total:
            return False, rows.total - rows.there
        # a file with the same index has all these rows: another rank has finished it
        return finish(target.out, rows, with_facts(contents, target), computed=False), 0
