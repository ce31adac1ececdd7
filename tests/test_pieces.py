"""Rows on their way: closed pieces that outlive their writer and are looked up by content and view."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.pieces import RowStore
from frozenprobe.cache.store import Contents, Split

from .conftest import SPEC


def row(code: str, view: str, dim: int = 3) -> np.ndarray:
    """A row that tells which one it is."""
    return np.random.default_rng([ord(code), len(view), ord(view[-1])]).normal(size=dim).astype(np.float32)


def add(store: RowStore, *keys: tuple[str, str]) -> None:
    store.add([code for code, _ in keys], [view for _, view in keys], np.stack([row(*key) for key in keys]))


def contents_of(codes: str) -> Contents:
    """A finished file's contents: these images, the clean view."""
    split = Split(tuple(codes), tuple(codes), np.ones(len(codes), dtype=bool), np.zeros(len(codes), dtype=np.int64))
    return Contents(SPEC, 3, ("clean",), (), ("one class",), split, None, None)


def test_a_piece_is_there_for_the_next_process(tmp_path):
    add(RowStore(tmp_path / "f.h5", SPEC, None), ("a", "clean"), ("a", "aug1"), ("b", "clean"))
    later = RowStore(tmp_path / "f.h5", SPEC, None)
    assert ("a", "aug1") in later
    assert ("b", "aug1") not in later
    assert np.array_equal(later.read_block(["b", "a"], ["clean"])[:, 0], [row("b", "clean"), row("a", "clean")])
    assert later.dim == 3


def test_pieces_of_another_specification_are_left_alone(tmp_path):
    other = replace(SPEC, seed=1)
    add(RowStore(tmp_path / "f.h5", other, None), ("a", "clean"))
    mine = RowStore(tmp_path / "f.h5", SPEC, None)
    assert ("a", "clean") not in mine
    add(mine, ("a", "clean"))
    mine.discard(contents_of("a"))
    assert ("a", "clean") in RowStore(tmp_path / "f.h5", other, None)
    assert ("a", "clean") not in RowStore(tmp_path / "f.h5", SPEC, None)


def test_a_damaged_piece_counts_as_none(tmp_path):
    store = RowStore(tmp_path / "f.h5", SPEC, None)
    add(store, ("a", "clean"))
    add(store, ("b", "clean"))
    (piece, _) = sorted(store.folder.iterdir())
    piece.write_bytes(piece.read_bytes()[:100])
    later = RowStore(tmp_path / "f.h5", SPEC, None)
    assert ("a", "clean") not in later
    assert ("b", "clean") in later


def test_discarding_removes_the_folder(tmp_path):
    store = RowStore(tmp_path / "f.h5", SPEC, None)
    add(store, ("a", "clean"))
    store.discard(contents_of("a"))
    assert list(tmp_path.iterdir()) == []


def test_a_piece_with_rows_that_the_file_has_not_is_kept(tmp_path):
    store = RowStore(tmp_path / "f.h5", SPEC, None)
    add(store, ("a", "clean"), ("b", "clean"))
    add(store, ("c", "clean"))
    store.discard(contents_of("ac"))
    later = RowStore(tmp_path / "f.h5", SPEC, None)
    assert [(code, "clean") in later for code in "abc"] == [True, True, False]


def test_a_new_piece_never_replaces_one_that_is_there(tmp_path):
    add(RowStore(tmp_path / "f.h5", SPEC, None), ("a", "clean"))
    add(RowStore(tmp_path / "f.h5", replace(SPEC, seed=1), None), ("a", "clean"))
    add(RowStore(tmp_path / "f.h5", SPEC, None), ("b", "clean"))
    assert len(list((tmp_path / "f.h5.pieces").iterdir())) == 3


def test_two_writers_at_once_never_read_each_others_rows(tmp_path):
    one, other = RowStore(tmp_path / "f.h5", SPEC, None), RowStore(tmp_path / "f.h5", SPEC, None)
    add(one, ("a", "clean"))
    add(other, ("b", "clean"))
    assert np.array_equal(one.read_block(["a"], ["clean"])[0, 0], row("a", "clean"))
    assert np.array_equal(other.read_block(["b"], ["clean"])[0, 0], row("b", "clean"))
    assert ("a", "clean") in RowStore(tmp_path / "f.h5", SPEC, None)


def test_rows_come_from_the_finished_file_and_from_pieces(make_features):
    features = make_features(per_class=1, views=1)
    store = RowStore(features.path, SPEC, features)
    code = features.train.hashes[2]
    fresh = np.ones((1, 12), dtype=np.float32)
    store.add([code], ["aug2"], fresh)
    block = store.read_block([code], ["aug2", "clean"])
    assert np.array_equal(block[0, 0], fresh[0])
    assert np.array_equal(block[0, 1], features.read("train", [0])[2, 0])


def test_images_without_features_are_not_rows(make_features):
    features = make_features(unusable=(0,))
    assert features.test is not None
    assert (features.test.hashes[0], "clean") not in RowStore(features.path, SPEC, features)


def test_pieces_are_closed_hdf5_files_with_a_fingerprint(tmp_path):
    store = RowStore(tmp_path / "f.h5", SPEC, None)
    add(store, ("a", "clean"))
    (path,) = store.folder.iterdir()
    with h5py.File(path) as piece:
        assert piece.attrs["fingerprint"] == SPEC.fingerprint()
        assert piece["features"].shape == (1, 3)


keys = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["clean", "hflip", "aug1", "aug2"]))


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(keys, min_size=1, max_size=5), min_size=1, max_size=5))
def test_any_sequence_of_pieces_reads_like_a_dictionary(batches, tmp_path_factory):
    path = tmp_path_factory.mktemp("pieces") / "f.h5"
    for batch in batches:
        add(RowStore(path, SPEC, None), *batch)
    store = RowStore(path, SPEC, None)
    there = {key for batch in batches for key in batch}
    for code in "abcdef":
        for view in ("clean", "hflip", "aug1", "aug2"):
            assert ((code, view) in store) == ((code, view) in there)
            if (code, view) in there:
                assert np.array_equal(store.read_block([code], [view])[0, 0], row(code, view))


def test_a_row_that_is_nowhere_is_a_key_error(tmp_path):
    store = RowStore(tmp_path / "f.h5", SPEC, None)
    add(store, ("a", "clean"))
    with pytest.raises(KeyError):
        store.read_block(["a"], ["aug9"])
