"""What repair keeps is what is whole. (Random damage: tests/faults.)"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from frozenprobe.cache.care.info import file_facts
from frozenprobe.cache.care.repair import render_repair, repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.container.read import BLOCK_ROWS, SealedFile
from frozenprobe.cache.container.seal import SEAL_BYTES
from frozenprobe.cache.growing.finish import finish
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError, FileInUse
from tests.cache.care.test_merge import begun
from tests.cache.conftest import ROWS, A, flip, place
from tests.conftest import rewrite
from tests.faults.synthetic import extract, holds, world


def test_a_damaged_spare_copy_hurts_no_reader_and_is_mended(path):
    before = path.read_bytes()
    flip(path, len(before) - SEAL_BYTES - 100)
    assert holds(path, A)
    assert verify_features(path).problems[0].startswith("spare copy")
    assert repair_features(path).rewritten
    assert path.read_bytes() == before


def test_repair_keeps_the_damaged_file_beside_and_never_replaces_an_earlier_one(path):
    for number in ("", "-2", "-3"):
        flip(path, place(path, "train", 1))
        damaged = path.read_bytes()
        report = repair_features(path)
        assert report.moved_to == path.with_name(f"f.h5.damaged{number}")
        assert report.moved_to.read_bytes() == damaged
        assert f"{ROWS - 7} rows are kept, 7 dropped" in render_repair(report)
        assert extract(path, A) == 7
        assert holds(path, A)


@pytest.mark.usefixtures("no_fsync")
def test_every_whole_row_of_a_file_larger_than_a_piece_is_kept(tmp_path):
    """Rows go into pieces of 512 a view: not one at a border may be lost, and what is told is what is there."""
    path, wanted = tmp_path / "f.h5", world(2 * 8 * BLOCK_ROWS + 70, views=0)
    extract(path, wanted, batch=10_000)
    flip(path, place(path, "train", 1))
    report = repair_features(path)
    rows = RowStore(path, wanted.contents())
    assert (rows.there, rows.total) == (report.kept, report.kept + BLOCK_ROWS)
    assert report.kept == len(wanted.rows()) - BLOCK_ROWS
    assert extract(path, wanted, batch=10_000) == BLOCK_ROWS
    assert holds(path, wanted)


def test_the_names_of_a_repaired_file_survive_a_power_cut(path, monkeypatch):
    """The folder is synced after the last rename, that of the damaged file."""
    flip(path, place(path, "train", 1))
    calls, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append(Path(b).name) or replace(a, b))
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(os.fstat(handle).st_ino) or fsync(handle))
    repair_features(path)
    after = calls[calls.index("f.h5.damaged") + 1 :]
    assert after == [path.parent.stat().st_ino]


def test_repair_does_not_touch_a_file_that_is_being_written(path):
    flip(path, place(path, "train", 1))
    with writer_lock(path), pytest.raises(FileInUse):
        repair_features(path)


def test_repair_interrupted_goes_on_without_doubling_rows(path, monkeypatch):
    flip(path, place(path, "train", 1))
    add, calls = RowStore.add, []

    def stop(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RowStore, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            repair_features(path)
    assert path.is_file()
    assert repair_features(path).kept == ROWS - 7
    pieces = [SealedFile(piece) for piece in path.with_name("f.h5.pieces").glob("[0-9]*.h5")]
    assert sum(piece.features["features"].shape[1] for piece in pieces) == ROWS - 7
    assert extract(path, A) == 7


def test_damaged_pieces_are_told_and_dropped_and_their_whole_rows_kept(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 4)
    first, second, *_ = sorted(path.with_name("f.h5.pieces").glob("[0-9]*.h5"))
    flip(first, SealedFile(first).features["features"].offset)
    second.write_bytes(second.read_bytes()[:500])
    report = verify_features(path)
    assert [text.split(":")[0] for text in report.problems] == [f"piece {first.name}", f"piece {second.name}"]
    repaired = repair_features(path)
    assert repaired.pieces_dropped == 2
    assert "2 damaged pieces" in render_repair(repaired)
    assert verify_features(path).problems == []
    assert verify_features(path).there == 10
    assert extract(path, A) == ROWS - 10


def test_whole_blocks_of_a_damaged_piece_are_kept(tmp_path):
    path, wanted = tmp_path / "f.h5", world(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "frozenprobe.cache.growing.finish.write_features", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            extract(path, wanted, batch=1000)
    (piece,) = path.with_name("f.h5.pieces").glob("[0-9]*.h5")
    flip(piece, SealedFile(piece).features["features"].span(0, 2)[0])
    repair_features(path)
    assert verify_features(path).there == 60 * 4 + 4 * 2 - 64
    assert extract(path, wanted) == 64


def test_a_damaged_piece_is_put_aside_and_not_deleted(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 2)
    piece = sorted(path.with_name("f.h5.pieces").glob("[0-9]*.h5"))[0]
    content = piece.read_bytes()
    piece.write_bytes(content[:500])
    repair_features(path)
    assert path.with_name(f"f.h5.damaged-{piece.name}").read_bytes() == content[:500]


def test_a_damaged_plan_is_told_and_removed_and_no_row_is_lost(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 4)
    plan = path.with_name("f.h5.pieces") / "plan.h5"
    plan.write_bytes(plan.read_bytes()[:3000])
    report = verify_features(path)
    assert report.problems == ["the plan beside it: a damaged one: what was typed is forgotten, the rows are not"]
    for call in (file_facts, open_features):
        with pytest.raises(FeatureFileError) as caught:
            call(path)
    assert "type all options of the extract command again" in repair_features(path).problems[0]
    with pytest.raises(FeatureFileError, match="only 4 pieces of one") as caught:
        file_facts(path)
    assert "run the extract command again" in caught.value.remedy
    assert extract(path, A) == ROWS - 20


def test_repair_keeps_what_a_file_was_growing_to(path):
    begun(path, replace(A, views=4), 2)
    flip(path, place(path, "train", 1))
    repair_features(path)
    assert file_facts(path)["being made"]["augmented views"] == 4
    assert extract(path, replace(A, views=4)) == 7 + 14 - 10
    assert holds(path, replace(A, views=4))


def test_repair_remembers_where_the_rows_come_from(path):
    features = open_features(path)
    features = rewrite(features, "f.h5", about={"environments": '["torch 1", "torch 2"]'})
    flip(path, place(path, "train", 1))
    repair_features(path)
    (path.with_name("f.h5.pieces") / "plan.h5").unlink()
    assert RowStore(path, A.contents()).environments == {"torch 1", "torch 2"}


def test_a_link_is_followed_and_stays(path, tmp_path):
    """The file that it leads to is the one that is repaired."""
    link = tmp_path / "elsewhere" / "link.h5"
    link.parent.mkdir()
    link.symlink_to(path)
    flip(path, place(path, "train", 1))
    assert repair_features(link).moved_to == path.with_name("f.h5.damaged")
    assert extract(path, A) == 7
    assert link.is_symlink()
    assert holds(link, A)


def open_for_writing(file: h5py.File) -> None:
    """Nothing but that."""


def add_a_note(file: h5py.File) -> None:
    file.attrs["note"] = "hello"


def add_a_dataset(file: h5py.File) -> None:
    file["mine"] = np.arange(10_000)


def rename_a_class(file: h5py.File) -> None:
    file["class_names"][0] = "xx"


@pytest.mark.parametrize("change", [open_for_writing, add_a_note, add_a_dataset, rename_a_class])
def test_what_another_program_does_to_the_file_can_be_undone(path, change):
    """h5py.File(f, "a"), the innocent way: not a row is lost."""
    before = path.read_bytes()
    with h5py.File(path, "r+") as file:
        change(file)
    report = repair_features(path)
    assert (report.kept, report.dropped) == (ROWS, [])
    assert path.read_bytes() == before


def test_a_damaged_block_of_images_without_features_is_told_and_mended(make_features):
    """Nothing but zeros is in it, and yet a reader would stumble over it."""
    features = make_features(unusable=tuple(range(7)))
    flip(features.path, features.arrays("test")[0].offset)
    report = verify_features(features.path)
    assert [(damaged.split, len(damaged.rows)) for damaged in report.damaged] == [("test", 7)]
    repair_features(features.path)
    rows = RowStore(features.path, features)
    assert rows.missing() == {}
    finish(features.path, rows, features, computed=False)
    assert verify_features(features.path).sound
