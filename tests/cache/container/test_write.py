"""Sealed files as they are written: equal contents make equal bytes, the spare copy may be left out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.container.read import FeatureArray, SealedFile
from frozenprobe.cache.container.seal import SEAL_BYTES, Seal
from frozenprobe.cache.container.write import NewArray, publish_sealed
from tests.cache.conftest import A
from tests.faults.synthetic import holds


def parts_of(file: SealedFile) -> tuple[dict, dict, dict]:
    """What publish_sealed made a file of."""
    features = {
        name: NewArray(array.shape, array.dtype.name, blocks_of(file, array)) for name, array in file.features.items()
    }
    return file.attributes, file.arrays, features


def blocks_of(file: SealedFile, array: FeatureArray) -> Iterator[np.ndarray]:
    for block in range(array.blocks):
        yield np.stack([file.read_block(array, view, block) for view in range(array.shape[0])])


def test_a_file_without_a_spare_copy_is_sound(path):
    """Other writers may leave it out."""
    content = path.read_bytes()
    seal = Seal.decode(content[:SEAL_BYTES])
    publish_sealed(path, *parts_of(SealedFile(path)), spare=False)
    assert path.stat().st_size < len(content) - SEAL_BYTES
    assert seal.spare is not None
    assert verify_features(path).sound
    assert holds(path, A)


def test_equal_contents_make_equal_files(make_features, monkeypatch):
    """Byte for byte, whenever they are written: HDF5 would note the time if it were let."""
    first = make_features().path.read_bytes()
    time.sleep(1.01 - time.time() % 1)  # HDF5 would note whole seconds
    assert make_features().path.read_bytes() == first
