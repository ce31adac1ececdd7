"""Pieces: closed files with a fingerprint, and no row in them without a name."""

import h5py
import pytest

from tests.cache.growing.test_rows import add, row, store_of
from tests.conftest import SPEC


def test_pieces_are_closed_hdf5_files_with_a_fingerprint(tmp_path):
    store = store_of(tmp_path)
    add(store, ("a", "clean"))
    (path,) = store.folder.iterdir()
    with h5py.File(path) as piece:
        assert piece.attrs["fingerprint"].decode() == SPEC.fingerprint()
        assert piece["features"].shape == (1, 1, 3)


def test_rows_without_a_name_are_a_bug_and_not_a_piece(tmp_path):
    store = store_of(tmp_path)
    with pytest.raises(ValueError, match="2 hashes and 1 views for 1 rows"):
        store.add(["a", "b"], ["clean"], row("a", "clean")[None])
    assert not store.folder.exists()
