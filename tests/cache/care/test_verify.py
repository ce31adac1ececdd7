"""What verify says is what is wrong; what repair keeps is what is whole. (Random damage: tests/faults.)"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from frozenprobe.cache.care import verify
from frozenprobe.cache.care.info import file_facts
from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.repair import render_repair, repair_features
from frozenprobe.cache.care.verify import render_verification, verify_features
from frozenprobe.cache.container.read import FeatureArray, SealedFile
from frozenprobe.cache.container.seal import SEAL_BYTES, Seal
from frozenprobe.cache.container.write import NewArray, publish_sealed
from frozenprobe.cache.contents import environments_of
from frozenprobe.cache.growing import finish as growth
from frozenprobe.cache.growing.finish import finish
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError, FileInUse, FrozenprobeError
from tests.cache.care.test_merge import begun
from tests.conftest import rewrite
from tests.faults.synthetic import extract, holds, world
from tests.images.shard_files import tar_folder

A = world(7)
ROWS = 7 * 4 + 4 * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    extract(tmp_path / "f.h5", A, batch=100)
    return tmp_path / "f.h5"


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def place(path: Path, split: str, view: int) -> int:
    """Where the first row of a view lies in the file."""
    return open_features(path).arrays(split)[0].span(view, 0)[0]


def test_a_whole_file_is_sound(path):
    report = verify_features(path)
    assert (report.sound, report.rows, report.images, report.problems) == (True, ROWS, 11, [])
    assert report.bytes == path.stat().st_size
    assert "sound" in render_verification(report)
    assert f"{ROWS} of {ROWS} rows of 11 images" in render_verification(report)


def test_damaged_rows_are_named_by_split_view_and_image(path):
    first, second = place(path, "train", 3), place(path, "test", 1)
    flip(path, first)
    flip(path, second)
    report = verify_features(path)
    assert [(each.split, each.view, len(each.rows)) for each in report.damaged] == [
        ("train", "aug2", 7),
        ("test", "hflip", 4),
    ]
    text = render_verification(report)
    assert "7 rows of train, view aug2, cls: c0/0.jpg, c0/3.jpg, c0/6.jpg and 4 more" in text
    assert "frozenprobe repair" in text


@pytest.mark.parametrize(("position", "says"), [(80, "seal"), (SEAL_BYTES + 50, "metadata")])
def test_a_damaged_seal_or_index_is_told_from_the_spare_copy(path, position, says):
    """The same numbers as before come out of it, because the copy at the end is whole."""
    before = path.read_bytes()
    flip(path, position)
    report = verify_features(path)
    assert report.problems[0].startswith("seal or metadata: ")
    assert says in report.problems[0]
    assert (len(report.problems), report.damaged) == (1, [])
    with pytest.raises(FeatureFileError, match="frozenprobe repair"):
        open_features(path)
    repaired = repair_features(path)
    assert (repaired.rewritten, repaired.kept, repaired.moved_to) == (True, ROWS, None)
    assert "written anew" in render_repair(repaired)
    assert path.read_bytes() == before


def test_a_damaged_spare_copy_hurts_no_reader_and_is_mended(path):
    before = path.read_bytes()
    flip(path, len(before) - SEAL_BYTES - 100)
    assert holds(path, A)
    assert verify_features(path).problems[0].startswith("spare copy")
    assert repair_features(path).rewritten
    assert path.read_bytes() == before


def test_both_copies_damaged_leave_nothing_to_repair(path):
    before = path.read_bytes()
    flip(path, SEAL_BYTES + 50)
    flip(path, len(before) - SEAL_BYTES - 100)
    for call in (open_features, verify_features, repair_features):
        with pytest.raises(FeatureFileError, match="extract again"):
            call(path)


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


def test_damage_to_one_tap_leaves_the_others_readable_and_costs_the_rows_of_its_block(path):
    """A row is computed by one pass: what is computed again of an image and view is all of its taps."""
    _, mean = open_features(path).arrays("train")
    flip(path, mean.span(1, 0)[0])
    assert [each.taps for each in verify_features(path).damaged] == [("mean",)]
    assert "7 rows of train, view hflip, mean: c0/0.jpg" in render_verification(verify_features(path))
    damaged = open_features(path)
    assert damaged.select_tap("cls").read("train", range(4)).shape == (7, 4, 4)
    for tap in ("mean", None):
        with pytest.raises(FeatureFileError, match="another checksum in train/features/mean, view 1, rows 0 to 6"):
            damaged.select_tap(tap).read("train", range(4))
    assert repair_features(path).kept == ROWS - 7
    assert extract(path, A) == 7
    assert holds(path, A)


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


def test_an_unfinished_file_says_how_far_it_is_and_is_not_sound(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 4)
    report = verify_features(path)
    assert (report.finished, report.there, report.planned, report.problems) == (False, 20, ROWS, [])
    assert not report.sound
    assert f"unfinished: 20 of {ROWS} rows are there (55.6%)" in render_verification(report)
    assert "run the same extract command again" in render_verification(report)


def test_a_growing_file_is_sound_and_says_how_far_it_has_grown(path):
    begun(path, replace(A, views=4), 1)
    report = verify_features(path)
    assert (report.sound, report.there, report.planned) == (True, ROWS + 5, ROWS + 14)
    assert "being grown" in render_verification(report)


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


def photos(folder: Path, features_path: Path) -> Path:
    """Files whose content has the hashes of the synthetic images."""
    for split, names in (("train", {key: each[0] for key, each in A.train.items()}), ("test", A.test)):
        for name, content in names.items():
            target = folder / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode())
            assert hashlib.sha256(content.encode()).hexdigest()
    return folder


def test_images_are_hashed_again_and_compared(path, tmp_path):
    folder = photos(tmp_path / "data", path)
    report = verify_features(path, images=folder)
    assert (report.sound, report.images_checked) == (True, 11)
    (folder / "train" / "c0" / "0.jpg").write_bytes(b"another")
    (folder / "test" / "t1.jpg").unlink()
    report = verify_features(path, images=folder)
    assert not report.sound
    assert report.image_problems == [
        f"1 images are not in {folder}: test t1.jpg",
        "1 images have another content than their rows were computed from: train c0/0.jpg",
    ]
    assert (report.problems, report.damaged) == ([], [])
    text = render_verification(report)
    assert "run the extract command again, so that the file follows the images" in text
    assert "repair" not in text


def test_images_of_a_training_folder_alone_may_be_named_directly(tmp_path):
    path = tmp_path / "f.h5"
    wanted = replace(A, test={})
    extract(path, wanted, batch=100)
    folder = photos(tmp_path / "data", path)
    assert verify_features(path, images=folder / "train").sound


def test_images_in_shards_are_hashed_again_and_compared(path, tmp_path):
    """As two tars in one folder, as a folder of shards for each split, and as a pattern for all of them."""
    folder = photos(tmp_path / "data", path)
    for split in ("train", "test"):
        tar_folder(tmp_path / "one" / f"{split}.tar", folder / split)
        tar_folder(tmp_path / "two" / split / "0.tar", folder / split)
    for images in (tmp_path / "one", tmp_path / "two", tmp_path / "one" / "{train,test}.tar"):
        report = verify_features(path, images=images)
        assert (report.sound, report.images_checked) == (True, 11), images
    (folder / "train" / "c0" / "0.jpg").write_bytes(b"another")
    (folder / "test" / "t1.jpg").unlink()
    for split in ("train", "test"):
        tar_folder(tmp_path / "one" / f"{split}.tar", folder / split)
    assert verify_features(path, images=tmp_path / "one").image_problems == [
        f"1 images are not in {tmp_path / 'one'}: test t1.jpg",
        "1 images have another content than their rows were computed from: train c0/0.jpg",
    ]


def test_progress_is_told(path):
    seen: list[tuple[str, int, int]] = []
    verify_features(path, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("verifying blocks", 12, 12)  # of six views, in two taps


def test_no_such_file_is_an_error(tmp_path):
    for call in (verify_features, repair_features):
        with pytest.raises(FrozenprobeError, match="no such file"):
            call(tmp_path / "none.h5")


def test_rows_that_are_not_finite_are_named(path):
    features = open_features(path)
    vectors = features.read("train", range(4))
    vectors[2, 3, 0] = np.inf
    broken = rewrite(features, "broken.h5", vectors=vectors)
    report = verify_features(broken.path)
    assert [(each.view, each.ids) for each in report.damaged] == [("aug2", (A.contents().train.ids[2],))]


def test_a_disk_that_cannot_read_a_block_costs_that_block(path, monkeypatch):
    """EIO, a bad sector: everything else is read, told and repaired around it."""
    start, _ = open_features(path).arrays("train")[0].span(2, 0)
    whole = SealedFile.read_at

    class BadSector:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def read(self, size):
            if self.file.tell() <= start < self.file.tell() + size:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return self.file.read(size)

    def read_at(self, offset, size):
        if self.path == path and not isinstance(self.file, BadSector):
            self.file = BadSector(self.file)
        return whole(self, offset, size)

    with monkeypatch.context() as patch:
        patch.setattr(SealedFile, "read_at", read_at)
        assert [damaged.view for damaged in verify_features(path).damaged] == ["aug1"]
        assert repair_features(path).kept == ROWS - 7
    assert extract(path, A) == 7
    assert holds(path, A)


def test_a_damaged_block_of_images_without_features_is_told_and_mended(make_features):
    """Nothing but zeros is in it, and yet a reader would stumble over it."""
    features = make_features(unusable=tuple(range(7)))
    flip(features.path, features.arrays("test")[0].offset)
    report = verify_features(features.path)
    assert [(damaged.split, len(damaged.rows)) for damaged in report.damaged] == [("test", 7)]
    repair_features(features.path)
    contents = features.contents()
    rows = RowStore(features.path, contents)
    assert rows.missing() == {}
    finish(features.path, rows, contents, computed=False)
    assert verify_features(features.path).sound


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


def test_a_flipped_bit_in_a_plan_is_harmless(tmp_path):
    """It has a spare copy, too."""
    path = tmp_path / "f.h5"
    begun(path, A, 4)
    flip(path.with_name("f.h5.pieces") / "plan.h5", SEAL_BYTES + 40)
    assert file_facts(path)["being made"]["rows there"] == 20


def test_a_plan_before_the_first_row_says_how_far_it_is(tmp_path):
    path = tmp_path / "f.h5"
    growth.begin(path, RowStore(path, A.contents()), A.contents())
    assert file_facts(path)["being made"]["rows there"] == 0
    assert "unfinished: 0 of 36" in render_verification(verify_features(path))


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


def test_a_file_without_a_spare_copy_is_sound(path):
    """Other writers may leave it out."""
    content = path.read_bytes()
    seal = Seal.decode(content[:SEAL_BYTES])
    publish_sealed(path, *parts_of(SealedFile(path)), spare=False)
    assert path.stat().st_size < len(content) - SEAL_BYTES
    assert seal.spare is not None
    assert verify_features(path).sound
    assert holds(path, A)


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


def test_pieces_that_vanish_while_they_are_read_have_found_their_place(path, monkeypatch):
    begun(path, replace(A, views=4), 2)
    monkeypatch.setattr(verify, "piece_files", lambda path: [path.with_name("f.h5.pieces") / "00000009-00000000.h5"])
    assert verify_features(path).problems == []


def parts_of(file: SealedFile) -> tuple[dict, dict, dict]:
    """What publish_sealed made a file of."""
    features = {
        name: NewArray(array.shape, array.dtype.name, blocks_of(file, array)) for name, array in file.features.items()
    }
    return file.attributes, file.arrays, features


def blocks_of(file: SealedFile, array: FeatureArray) -> Iterator[np.ndarray]:
    for block in range(array.blocks):
        yield np.stack([file.read_block(array, view, block) for view in range(array.shape[0])])


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


def test_the_test_folder_is_looked_for_beside_the_training_folder(path, tmp_path):
    folder = photos(tmp_path / "data", path)
    assert verify_features(path, images=folder / "train").sound


def test_rows_that_are_no_numbers_never_get_into_another_file(path):
    """Neither by growing nor by merging: the error names the image and the way out."""
    features = open_features(path)
    vectors = features.read("train", range(4))
    vectors[2, 3, 0] = np.inf
    broken = rewrite(features, "broken.h5", vectors=vectors)
    before = broken.path.read_bytes()
    for call in (lambda: merge_features([broken.path], out=path), lambda: extract(broken.path, replace(A, views=3))):
        with pytest.raises(FrozenprobeError, match=A.contents().train.ids[2]) as caught:
            call()
        assert "frozenprobe repair" in caught.value.remedy
    assert broken.path.read_bytes() == before


def test_who_writes_is_told_while_it_writes(path):
    with writer_lock(path):
        assert f"process {os.getpid()}" in file_facts(path)["being written by"]
        assert f"process {os.getpid()}" in render_verification(verify_features(path))
    assert "being written by" not in file_facts(path)


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


def test_a_row_of_a_checked_block_is_not_taken_on_trust_when_the_file_has_changed(path):
    """Somebody copies another file into the open one."""
    features = open_features(path)
    array = features.arrays("train")[0]
    features.sealed.read_rows(array, 0, np.arange(7))
    content = bytearray(path.read_bytes())
    content[array.offset] ^= 1
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, (1, 1))
    with pytest.raises(FeatureFileError, match="another checksum"):
        features.sealed.read_rows(array, 0, np.array([0]))


def test_a_damaged_piece_is_put_aside_and_not_deleted(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 2)
    piece = sorted(path.with_name("f.h5.pieces").glob("[0-9]*.h5"))[0]
    content = piece.read_bytes()
    piece.write_bytes(content[:500])
    repair_features(path)
    assert path.with_name(f"f.h5.damaged-{piece.name}").read_bytes() == content[:500]


def test_an_unfinished_file_without_a_plan_is_not_called_litter(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 2)
    (path.with_name("f.h5.pieces") / "plan.h5").unlink()
    text = render_verification(verify_features(path))
    assert "pieces of an unfinished file without a plan: run extract with all its options" in text
    assert "remove" not in text


def test_where_rows_come_from_outlives_the_plan(tmp_path):
    path = tmp_path / "f.h5"
    rows = RowStore(path, A.contents())
    rows.origin = {"torch 1"}
    for key in A.rows():
        rows.add([key[0]], [key[1]], A.rows()[key][None])
    finish(path, RowStore(path, A.contents()), A.contents(), computed=False)
    assert environments_of(open_features(path).about) == ["torch 1"]


def test_a_link_to_a_growing_file_tells_how_far_it_is(path, tmp_path):
    begun(path, replace(A, views=4), 1)
    link = tmp_path / "elsewhere.h5"
    link.symlink_to(path)
    assert verify_features(link).planned == ROWS + 14
    assert file_facts(link)["being made"]["augmented views"] == 4
