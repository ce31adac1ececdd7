"""Rows of sealed files: a block is what was sealed, or it is not served."""

from __future__ import annotations

import os

import numpy as np
import pytest

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError
from tests.faults.synthetic import extract, vector, world


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


def test_rows_come_in_the_order_that_is_asked_for(tmp_path):
    """Many rows of a block, in any order, some twice: read before anything of it has been checked, and after."""
    wanted = world(100, views=0)
    extract(tmp_path / "f.h5", wanted, batch=1000)
    features = open_features(tmp_path / "f.h5")
    code = features.train.hashes
    rows = np.concatenate([np.random.default_rng(0).permutation(100), [99, 63, 64, 0, 0]])
    for _ in range(2):
        found = features.read_rows("train", 1, rows)
        assert all(np.array_equal(row, vector(code[image], "hflip")) for row, image in zip(found, rows, strict=True))
    assert np.array_equal(features.read("train", [1], slice(None, None, -1)), features.read("train", [1])[::-1])
