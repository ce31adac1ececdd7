"""The thread that writes: everything handed over is on disk in the end, in few pieces, also after an error."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import DiskFull
from frozenprobe.extract import writing
from frozenprobe.extract.compute.pipeline import Embedded
from frozenprobe.extract.views.cut import Row
from frozenprobe.extract.views.recipes import View
from frozenprobe.extract.writing import PieceWriter
from tests.faults.synthetic import DIM, vector, world

NOTHING = View(torch.zeros(1, 1, 3, dtype=torch.uint8), None)


def batch(keys: list[tuple[str, str]]) -> Embedded:
    rows = [Row(Path("x.jpg"), *key, NOTHING) for key in keys]
    return Embedded(rows, np.stack([vector(*key) for key in keys]))


def write_all(rows: RowStore, batches: list[Embedded | None], *, piece_rows: int) -> None:
    """None stands for an error of whoever computes."""
    with PieceWriter(rows, piece_rows=piece_rows) as writer:
        for each in batches:
            if each is None:
                raise KeyError
            writer.put(each)


@pytest.fixture
def keys() -> list[tuple[str, str]]:
    return list(world(10).rows())


@pytest.fixture
def rows(tmp_path: Path, no_fsync: None) -> RowStore:
    return RowStore(tmp_path / "f.h5", world(10).contents())


def test_all_rows_are_on_disk_when_it_is_left(rows: RowStore, keys: list[tuple[str, str]], tmp_path: Path) -> None:
    with PieceWriter(rows, piece_rows=16) as writer:
        for start in range(0, len(keys), 3):
            writer.put(batch(keys[start : start + 3]))
    again = RowStore(tmp_path / "f.h5", world(10).contents())
    assert again.there == again.total == len(keys)
    assert all(np.array_equal(again.row(*key), vector(*key)) for key in keys)
    assert writer.seconds > 0
    pieces = [source.size for source in rows.sources if source.piece]
    assert len(pieces) == -(-len(keys) // 18)  # six batches of 3 are the first 16 rows or more


def test_a_row_waits_a_second_at_most(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "PIECE_SECONDS", 0.02)
    with PieceWriter(rows, piece_rows=1000) as writer:
        writer.put(batch(keys[:2]))
        for _ in range(200):
            if rows.there:
                break
            time.sleep(0.02)
        assert rows.there == 2


def test_what_was_handed_over_before_an_error_outside_is_kept(rows: RowStore, keys: list[tuple[str, str]]) -> None:
    with pytest.raises(KeyError):
        write_all(rows, [batch(keys[:5]), None], piece_rows=1000)
    assert rows.there == 5


def test_a_full_disk_reaches_whoever_hands_rows_over(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many batches are handed over meanwhile: nobody waits for a thread that has given up."""

    def full(*args: object) -> None:
        raise DiskFull(Path("/"), "no space")

    monkeypatch.setattr(RowStore, "add", full)
    with pytest.raises(DiskFull):
        write_all(rows, [batch(keys[:1])] * 100, piece_rows=1)


def test_an_error_at_the_last_row_is_raised_on_leaving(
    rows: RowStore, keys: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowStore, "add", lambda *args: (_ for _ in ()).throw(ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        write_all(rows, [batch(keys[:1])], piece_rows=1000)


def test_no_rows_no_piece(rows: RowStore) -> None:
    with PieceWriter(rows):
        pass
    assert not rows.folder.exists()
    assert rows.contents.dim == DIM
