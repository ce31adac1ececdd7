"""Rows of sealed files: a block is what was sealed, or it is not served."""

from __future__ import annotations

import os

import numpy as np
import pytest

from frozenprobe.cache.store import open_features
from frozenprobe.errors import FeatureFileError


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
