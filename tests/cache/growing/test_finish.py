"""The finished file takes the pieces' place only when it is whole, and says where its rows come from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.contents import environments_of
from frozenprobe.cache.growing.finish import finish
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_features
from tests.cache.conftest import A, flip, place
from tests.faults.synthetic import extract, holds


def test_pieces_are_not_thrown_away_while_the_finished_file_is_damaged(path, monkeypatch):
    """Killed before it tidied up, then a bad sector in the finished file: the pieces are the only good copy."""
    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "discard", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            extract(path, replace(A, views=3))
    flip(path, place(path, "train", 4))
    assert extract(path, replace(A, views=3)) == 0
    assert holds(path, replace(A, views=3))
    assert verify_features(path).sound


def test_where_rows_come_from_outlives_the_plan(tmp_path):
    path = tmp_path / "f.h5"
    rows = RowStore(path, A.contents())
    rows.origin = {"torch 1"}
    for key in A.rows():
        rows.add([key[0]], [key[1]], A.rows()[key][None])
    finish(path, RowStore(path, A.contents()), A.contents(), computed=False)
    assert environments_of(open_features(path).about) == ["torch 1"]
