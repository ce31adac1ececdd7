"""What of a damaged file is whole, whoever asks: a verification, a repair, a reader, whoever adds to it."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.repair import render_repair, repair_features
from frozenprobe.cache.care.verify import render_verification, verify_features
from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.container.seal import SEAL_BYTES
from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError, FrozenprobeError
from tests.cache.conftest import ROWS, A, flip
from tests.conftest import rewrite
from tests.faults.synthetic import extract, holds


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


def test_both_copies_damaged_leave_nothing_to_repair(path):
    before = path.read_bytes()
    flip(path, SEAL_BYTES + 50)
    flip(path, len(before) - SEAL_BYTES - 100)
    for call in (open_features, verify_features, repair_features):
        with pytest.raises(FeatureFileError, match="extract again"):
            call(path)


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
