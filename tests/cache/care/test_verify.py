"""What verify says is what is wrong; what repair keeps is what is whole. (Random damage: tests/faults.)"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from frozenprobe.cache.care import verify
from frozenprobe.cache.care.info import file_facts
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import render_verification, verify_features
from frozenprobe.cache.container.seal import SEAL_BYTES
from frozenprobe.cache.growing import finish as growth
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.errors import FrozenprobeError
from tests.cache.care.test_merge import begun
from tests.cache.conftest import ROWS, A, flip, place
from tests.faults.synthetic import extract
from tests.images.shard_files import tar_folder


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


def test_pieces_that_vanish_while_they_are_read_have_found_their_place(path, monkeypatch):
    begun(path, replace(A, views=4), 2)
    monkeypatch.setattr(verify, "piece_files", lambda path: [path.with_name("f.h5.pieces") / "00000009-00000000.h5"])
    assert verify_features(path).problems == []


def test_the_test_folder_is_looked_for_beside_the_training_folder(path, tmp_path):
    folder = photos(tmp_path / "data", path)
    assert verify_features(path, images=folder / "train").sound


def test_who_writes_is_told_while_it_writes(path):
    with writer_lock(path):
        assert f"process {os.getpid()}" in file_facts(path)["being written by"]
        assert f"process {os.getpid()}" in render_verification(verify_features(path))
    assert "being written by" not in file_facts(path)


def test_an_unfinished_file_without_a_plan_is_not_called_litter(tmp_path):
    path = tmp_path / "f.h5"
    begun(path, A, 2)
    (path.with_name("f.h5.pieces") / "plan.h5").unlink()
    text = render_verification(verify_features(path))
    assert "pieces of an unfinished file without a plan: run extract with all its options" in text
    assert "remove" not in text


def test_a_link_to_a_growing_file_tells_how_far_it_is(path, tmp_path):
    begun(path, replace(A, views=4), 1)
    link = tmp_path / "elsewhere.h5"
    link.symlink_to(path)
    assert verify_features(link).planned == ROWS + 14
    assert file_facts(link)["being made"]["augmented views"] == 4
