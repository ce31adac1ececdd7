"""Ranks that never speak to each other: their shares, and that whoever comes last finishes one and the same file."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.growing import rows as row_store
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FileInUse, SpecMismatch
from frozenprobe.extract.ranks.rank import Rank
from frozenprobe.extract.ranks.share import finish_share, share_of
from tests.conftest import SPEC
from tests.faults.ranks import SyntheticTarget, left_in, run_rank, target_of
from tests.faults.synthetic import World, changed, extract, holds, vector, world

pytestmark = pytest.mark.usefixtures("no_fsync")

SMALL = world(12)
GROWN = changed(SMALL)


# Shares.


@settings(max_examples=20, deadline=None)
@given(images=st.integers(3, 40), number=st.integers(2, 9))
def test_shares_are_a_partition_that_nothing_done_changes(images, number, tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "f.h5"
    wanted = world(images).contents()
    store = RowStore(path, wanted)
    shares = [share_of(store, Rank(rank, number)) for rank in range(number)]
    codes = [code for share in shares for code in share or ()]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(store.missing())
    done = list(world(images).rows())[::3]
    store.add([code for code, _ in done], [view for _, view in done], np.stack([vector(*key) for key in done]))
    assert [share_of(RowStore(path, wanted), Rank(rank, number)) for rank in range(number)] == shares


def test_every_rank_has_as_many_images_of_each_kind_as_the_others(tmp_path):
    """A training image costs more views than a test image."""
    contents = replace(world(80), test={f"t{number}": f"test {number}" for number in range(48)}).contents()
    store = RowStore(tmp_path / "f.h5", contents)
    for number in range(8):
        share = share_of(store, Rank(number, 8)) or frozenset()
        assert len(share & set(contents.train.hashes)) == 10
        assert contents.test is not None
        assert len(share & set(contents.test.hashes)) == 6


def test_what_one_rank_of_eight_has_left_undone_is_shared_by_four(tmp_path):
    store = RowStore(tmp_path / "f.h5", world(160).contents())
    left = share_of(store, Rank(5, 8)) or frozenset()
    counts = [len(left & (share_of(store, Rank(number, 4)) or frozenset())) for number in range(4)]
    assert max(counts) < 0.6 * len(left)


def test_a_process_that_is_alone_has_no_share_but_all(tmp_path):
    assert share_of(RowStore(tmp_path / "f.h5", SMALL.contents()), Rank()) is None


# Finishing.


@settings(max_examples=12, deadline=None)
@given(
    number=st.integers(2, 4),
    order=st.lists(st.integers(0, 3), max_size=60),
    stopped=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=2),
    again=st.integers(1, 4),
    grow=st.booleans(),
)
def test_in_whatever_order_ranks_take_their_steps_the_last_one_finishes_the_file(number, order, stopped, again, grow):
    """Some may be stopped on the way; then another number of ranks goes on, one of them as a single process."""
    folder = Path(tempfile.mkdtemp())
    path, wanted = folder / "f.h5", GROWN if grow else SMALL
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_store, "SMALL_PIECES", 3)
        if grow:
            extract(path, SMALL)
        have = SMALL.rows().keys() if grow else set()
        steps = take_turns(path, wanted, number, order, dict(stopped))
        whole = not any(rank < number for rank, _ in stopped) or (path.is_file() and holds(path, wanted))
        if not whole:
            steps += extract(path, wanted) if again == 1 else take_turns(path, wanted, again, [], {})
        assert steps == len(wanted.rows().keys() - have), "every row is computed once"
        assert holds(path, wanted)
        assert left_in(folder) == ["f.h5"]
        inode = path.stat().st_ino
        assert take_turns(path, wanted, 3, order, {}) == 0
        assert path.stat().st_ino == inode, "nothing was left to do"
    shutil.rmtree(folder)


def take_turns(path: Path, wanted: World, number: int, order: list[int], stopped: dict[int, int]) -> int:
    """Let ranks take their steps in an order, then to the end; one that is stopped leaves, as with SIGTERM."""
    ranks = {rank: run_rank(path, wanted, Rank(rank, number)) for rank in range(number)}
    computed, taken = 0, dict.fromkeys(ranks, 0)
    for rank in [*order, *(rank for rank in range(number) for _ in range(1000))]:
        if rank in ranks:
            taken[rank] += 1
            step = None if taken[rank] > stopped.get(rank, 1000) else next(ranks[rank], None)
            computed += step or 0
            if step is None:
                ranks.pop(rank).close()
    assert not ranks
    return computed


def test_ranks_in_threads_that_join_pieces_under_each_other_end_in_the_same_file(tmp_path, monkeypatch):
    """Six at a time, a row a piece, joined two at a time: pieces vanish while others look."""
    monkeypatch.setattr(row_store, "SMALL_PIECES", 2)
    for attempt in range(2):
        path, errors = tmp_path / str(attempt) / "f.h5", []

        def work(number: int, path: Path = path, errors: list[BaseException] = errors) -> None:
            try:
                for _ in run_rank(path, SMALL, Rank(number, 6), batch=1):
                    pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert holds(path, SMALL)
        assert left_in(path.parent) == ["f.h5"]


def test_ranks_can_run_one_after_another_by_hand(tmp_path):
    path = tmp_path / "f.h5"
    for number in (1, 0, 2):
        assert not path.exists()
        sum(run_rank(path, SMALL, Rank(number, 3)))
    assert holds(path, SMALL)
    assert open_features(path).about["licence"] == "none"
    assert left_in(tmp_path) == ["f.h5"]


@pytest.mark.parametrize("missing", [1, 3])
def test_a_file_of_which_a_row_is_missing_is_not_finished_but_counted(tmp_path, missing):
    path, contents = tmp_path / "f.h5", SMALL.contents()
    store = RowStore(path, contents)
    done = list(SMALL.rows())[missing:]
    store.add([code for code, _ in done], [view for _, view in done], np.stack([vector(*key) for key in done]))
    target = target_of(path, SMALL)
    for rank in (Rank(0, 2), Rank(1, 2)):
        told = finish_share(target, store, contents, rank, computed=True, with_facts=lambda bare, now: bare)
        assert told == (False, missing)
    assert not path.exists()


def test_a_rank_that_looked_before_the_file_was_finished_computes_nothing_again(tmp_path):
    """It has read file and plan; then another rank of the same run finishes the file and deletes the pieces."""
    path = tmp_path / "f.h5"
    for number in (0, 1):
        sum(run_rank(path, SMALL, Rank(number, 3)))
    late = run_rank(path, SMALL, Rank(1, 3))
    next(late)
    sum(run_rank(path, SMALL, Rank(2, 3)))
    assert holds(path, SMALL)
    assert sum(late) == 0
    assert left_in(tmp_path) == ["f.h5"]


def test_a_rank_whose_rows_are_of_another_specification_says_so(tmp_path):
    """Say, on a node where another engine is installed."""

    class Other(SyntheticTarget):
        spec = replace(SPEC, engine="onnxruntime")  # type: ignore[assignment]

    path, rank = tmp_path / "f.h5", Rank(0, 2)
    sum(run_rank(path, SMALL, Rank(1, 2)))
    target = Other(**vars(target_of(path, SMALL)))
    rows = RowStore(path, SMALL.contents())
    with pytest.raises(SpecMismatch, match="onnxruntime"):
        finish_share(target, rows, rows.contents, rank, computed=False, with_facts=lambda bare, now: bare)


def test_the_same_rank_twice_is_an_error(tmp_path):
    first, second = (run_rank(tmp_path / "f.h5", SMALL, Rank(0, 2)) for _ in range(2))
    next(first), next(first), next(second)
    with pytest.raises(FileInUse, match="rank 0 of 2"):
        next(second)
