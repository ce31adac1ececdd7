"""Rows on their way: closed pieces that outlive their writer and are looked up by content and view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing import rows as row_store
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FeatureFileError
from tests.conftest import SPEC

OTHER = replace(SPEC, seed=1)


def row(code: str, view: str, dim: int = 3) -> np.ndarray:
    """A row that tells which one it is."""
    return np.random.default_rng([ord(code), len(view), ord(view[-1])]).normal(size=dim).astype(np.float32)


def add(store: RowStore, *keys: tuple[str, str]) -> None:
    store.add([code for code, _ in keys], [view for _, view in keys], np.stack([row(*key) for key in keys]))


def split_of(codes: str) -> Split:
    return Split(tuple(codes), tuple(codes), np.ones(len(codes), dtype=bool), np.zeros(len(codes), dtype=np.int64))


def store_of(folder, codes: str = "abcdef", views: int = 2, spec: FeatureSpec = SPEC, **options) -> RowStore:
    """The rows of a plan of these images, two test-time views and some augmented ones."""
    augmented = tuple(f"aug{number + 1}" for number in range(views))
    contents = Contents(
        spec, (("head-input", 3),), ("clean", "hflip"), augmented, ("one class",), split_of(codes), None, None
    )
    return RowStore(folder / "f.h5", contents, **options)


def block(store: RowStore, codes: str, views: list[str]) -> np.ndarray:
    return store.read_block(slice(None), split_of(codes), views)


def test_a_piece_is_there_for_the_next_process(tmp_path):
    add(store_of(tmp_path), ("a", "clean"), ("a", "aug1"), ("b", "clean"))
    later = store_of(tmp_path)
    assert ("a", "aug1") in later
    assert ("b", "aug1") not in later
    assert np.array_equal(block(later, "ba", ["clean"])[:, 0], [row("b", "clean"), row("a", "clean")])
    assert later.dim == 3
    assert (later.there, later.total) == (3, 24)


def test_pieces_of_another_specification_are_left_alone(tmp_path):
    add(store_of(tmp_path, spec=OTHER), ("a", "clean"))
    mine = store_of(tmp_path, "a", 0)
    assert ("a", "clean") not in mine
    add(mine, ("a", "clean"))
    mine.discard()
    assert ("a", "clean") in store_of(tmp_path, spec=OTHER)
    assert ("a", "clean") not in store_of(tmp_path)


def test_a_damaged_piece_counts_as_none_and_goes_when_the_file_is_finished(tmp_path):
    store = store_of(tmp_path, "ab", 0)
    add(store, ("a", "clean"))
    add(store, ("b", "clean"))
    (piece, _) = sorted(store.folder.iterdir())
    piece.write_bytes(piece.read_bytes()[:100])
    later = store_of(tmp_path, "ab", 0)
    assert ("a", "clean") not in later
    assert ("b", "clean") in later
    later.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_block_counts_as_missing_rows(tmp_path):
    """The piece's index is whole: only the rows of the block are gone, and only where somebody looks."""
    store = store_of(tmp_path)
    add(store, *[(code, view) for code in "abcdef" for view in ("clean", "hflip")] * 8)  # 96 rows: two blocks
    (piece,) = store.folder.iterdir()
    with_array = SealedFile(piece)
    offset, _ = with_array.features["features"].span(0, 1)
    content = bytearray(piece.read_bytes())
    content[offset] ^= 1
    piece.write_bytes(content)
    later = store_of(tmp_path)
    assert later.there == 12
    for view in ("clean", "hflip"):  # from the other block
        assert np.array_equal(block(later, "abcdef", [view])[:, 0], [row(code, view) for code in "abcdef"])
    content[with_array.features["features"].offset] ^= 1
    piece.write_bytes(content)
    assert store_of(tmp_path).there == 0
    assert store_of(tmp_path, check=False).there == 12


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_number_that_is_none_is_an_error_that_names_the_image(tmp_path, value):
    """Whoever stored it: it must not reach a finished file."""
    store = store_of(tmp_path, "ab", 0)
    rows = np.ones((2, 3), dtype=np.float32)
    rows[1, 2] = value
    store.add(["a", "b"], ["clean", "clean"], rows)
    with pytest.raises(FeatureFileError, match="those of b") as caught:
        block(store, "ab", ["clean"])
    assert "frozenprobe repair" in caught.value.remedy
    assert block(store, "a", ["clean"]).all()


def test_rows_that_only_a_damaged_block_has_are_missing(tmp_path):
    store = store_of(tmp_path)
    add(store, *[("a", "clean")] * 64, ("b", "clean"), ("c", "hflip"))
    (piece,) = store.folder.iterdir()
    content = bytearray(piece.read_bytes())
    content[SealedFile(piece).features["features"].span(0, 1)[0]] ^= 1
    piece.write_bytes(content)
    later = store_of(tmp_path)
    assert later.there == 1
    assert later.missing()["b"] == ("clean", "hflip", "aug1", "aug2")
    assert later.missing()["a"] == ("hflip", "aug1", "aug2")


def test_a_few_of_the_stored_rows_are_spread_over_images_and_views(tmp_path):
    """Those that are compared before rows of another machine are added: the first image alone would say little."""
    store = store_of(tmp_path)
    every = [(code, view) for code in "abcdef" for view in ("clean", "hflip", "aug1", "aug2")]
    add(store, *every)
    assert store.stored() == every
    assert store.stored(5) == [every[index] for index in (0, 5, 11, 17, 23)]


def test_discarding_removes_the_folder(tmp_path):
    store = store_of(tmp_path, "a", 0)
    add(store, ("a", "clean"))
    store.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_piece_with_rows_that_the_file_has_not_is_kept(tmp_path):
    add(store_of(tmp_path), ("a", "clean"), ("b", "clean"))
    add(store_of(tmp_path), ("c", "clean"))
    store_of(tmp_path, "ac", 0).discard()
    later = store_of(tmp_path)
    assert [(code, "clean") in later for code in "abc"] == [True, True, False]


def test_a_new_piece_never_replaces_one_that_is_there(tmp_path):
    add(store_of(tmp_path), ("a", "clean"))
    add(store_of(tmp_path, spec=OTHER), ("a", "clean"))
    add(store_of(tmp_path), ("b", "clean"))
    assert len(list((tmp_path / "f.h5.pieces").iterdir())) == 3


def test_two_writers_at_once_never_read_each_others_rows(tmp_path):
    one, other = store_of(tmp_path), store_of(tmp_path)
    add(one, ("a", "clean"))
    add(other, ("b", "clean"))
    assert np.array_equal(block(one, "a", ["clean"])[0, 0], row("a", "clean"))
    assert np.array_equal(block(other, "b", ["clean"])[0, 0], row("b", "clean"))
    assert ("a", "clean") in store_of(tmp_path)


def test_rows_come_from_the_finished_file_and_from_pieces(make_features):
    features = make_features(per_class=1, views=1)
    grown = replace(features, augmented_views=("aug1", "aug2"))
    store = RowStore(features.path, grown, features)
    code = features.train.hashes[2]
    fresh = np.ones((1, 12), dtype=np.float32)
    store.add([code], ["aug2"], fresh)
    one = Split(("x",), (code,), np.ones(1, dtype=bool))
    found = store.read_block(slice(None), one, ["aug2", "clean"])
    assert np.array_equal(found[0, 0], fresh[0])
    assert np.array_equal(found[0, 1], features.read("train", [0])[2, 0])


def test_images_without_features_are_not_rows(make_features):
    features = make_features(unusable=(0,))
    assert features.test is not None
    store = RowStore(features.path, features, features)
    assert (features.test.hashes[0], "clean") not in store
    assert (store.there, store.missing()) == (store.total, {})
    assert store.complete(features.test, features.test_views).all(), "an image that has no rows lacks none"


def test_missing_rows_are_told_by_image_in_their_order(tmp_path):
    store = store_of(tmp_path, "cab", 1)
    add(store, ("c", "clean"), ("c", "hflip"), ("c", "aug1"), ("b", "hflip"))
    assert list(store.missing().items()) == [("a", ("clean", "hflip", "aug1")), ("b", ("clean", "aug1"))]
    assert store.complete(split_of("cabx"), ["clean"]).tolist() == [True, False, False, False]


def test_many_small_pieces_become_one(tmp_path, monkeypatch, no_fsync):
    """Else an extraction of a million images would leave a folder of a hundred thousand files."""
    monkeypatch.setattr(row_store, "SMALL_PIECES", 4)
    store = store_of(tmp_path)
    keys = [(code, view) for code in "abcdef" for view in ("clean", "hflip", "aug1")]
    for key in keys:
        add(store, key)
    assert len(list(store.folder.iterdir())) <= 4
    for reader in (store, store_of(tmp_path)):
        assert reader.there == len(keys)
        assert all(np.array_equal(reader.row(*key), row(*key)) for key in keys)


def test_a_damaged_block_of_a_small_piece_does_not_stop_the_joining(tmp_path, monkeypatch, no_fsync):
    store = store_of(tmp_path)
    add(store, *[(code, "clean") for code in "abcdef"] * 12)  # 72 rows: two blocks
    (piece,) = store.folder.iterdir()
    content = bytearray(piece.read_bytes())
    content[SealedFile(piece).features["features"].span(0, 1)[0]] ^= 1
    piece.write_bytes(content)
    monkeypatch.setattr(row_store, "SMALL_PIECES", 3)
    later = store_of(tmp_path)
    for code in "abcd":
        add(later, (code, "aug1"))
    assert len(list(later.folder.iterdir())) < 4
    for reader in (later, store_of(tmp_path)):
        assert reader.there == 6 + 4
        assert np.array_equal(reader.row("f", "clean"), row("f", "clean"))


@pytest.mark.parametrize("instant", ["write_piece", "unlink"])
def test_a_kill_while_small_pieces_are_joined_loses_no_row(tmp_path, monkeypatch, no_fsync, instant):
    """When the joined one is about to be written, and when it has just got its name."""
    monkeypatch.setattr(row_store, "SMALL_PIECES", 3)
    store, owner, calls = store_of(tmp_path), row_store if instant == "write_piece" else Path, []
    call = getattr(owner, instant)

    def stop(*args, **kwargs):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return call(*args, **kwargs)

    for code in "ab":
        add(store, (code, "clean"))
    with monkeypatch.context() as patch:
        patch.setattr(owner, instant, stop)
        with pytest.raises(KeyboardInterrupt):
            add(store, ("c", "clean"))
    later = store_of(tmp_path)
    assert later.there == 3
    assert np.array_equal(block(later, "abc", ["clean"])[:, 0], [row(code, "clean") for code in "abc"])


def test_where_rows_come_from_stays_with_them(tmp_path, monkeypatch, no_fsync):
    """Through joining, and without the plan."""
    monkeypatch.setattr(row_store, "SMALL_PIECES", 2)
    store = store_of(tmp_path)
    for code, name in (("a", "torch 1"), ("b", "torch 2"), ("c", "torch 2")):
        store.origin = {name}
        add(store, (code, "clean"))
    assert store_of(tmp_path).environments == {"torch 1", "torch 2"}


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    store = store_of(tmp_path, "a", 0)
    add(store, ("a", "clean"), ("a", "hflip"))
    for name in ("1 copy.h5", "notes.txt", "00000000-zz.h5"):
        (store.folder / name).write_bytes(b"x")
    later = store_of(tmp_path, "a", 0)
    assert later.there == 2
    later.discard()
    assert len(list(store.folder.iterdir())) == 3


def test_large_pieces_are_left_as_they_are(tmp_path, monkeypatch, no_fsync):
    monkeypatch.setattr(row_store, "JOINED_BYTES", 10)
    store = store_of(tmp_path)
    for code in "abcdef":
        add(store, (code, "clean"))
    assert len(list(store.folder.iterdir())) == 6


keys = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["clean", "hflip", "aug1", "aug2"]))


@settings(max_examples=25, deadline=None)
@given(batches=st.lists(st.lists(keys, min_size=1, max_size=5), min_size=1, max_size=8), again=st.booleans())
def test_any_sequence_of_pieces_reads_like_a_dictionary(batches, again, tmp_path_factory):
    """Whether one process wrote them or many, joined three at a time."""
    folder = tmp_path_factory.mktemp("pieces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_store, "SMALL_PIECES", 3)
        store = store_of(folder)
        for batch in batches:
            store = store_of(folder) if again else store
            add(store, *batch)
    there = {key for batch in batches for key in batch}
    for reader in (store, store_of(folder)):
        for code in "abcdef":
            for view in ("clean", "hflip", "aug1", "aug2"):
                assert ((code, view) in reader) == ((code, view) in there)
                if (code, view) in there:
                    assert np.array_equal(reader.row(code, view), row(code, view))


@pytest.mark.parametrize("damage", [lambda piece: piece.unlink(), lambda piece: piece.write_bytes(b"x" * 3000)])
def test_a_piece_that_is_lost_under_the_run_is_an_error_for_people(tmp_path, damage):
    store = store_of(tmp_path)
    add(store, ("a", "clean"))
    damage(next(store.folder.iterdir()))
    with pytest.raises(FeatureFileError, match="run the same command again"):
        store.row("a", "clean")


def test_a_row_that_is_nowhere_is_a_key_error(tmp_path):
    store = store_of(tmp_path)
    add(store, ("a", "clean"))
    for codes, views in (("a", ["aug1"]), ("b", ["clean"]), ("z", ["clean"])):
        with pytest.raises(KeyError):
            block(store, codes, views)


def test_a_rank_joins_its_own_pieces_only(tmp_path, monkeypatch, no_fsync):
    """Another one may be about to read, or to join, its own."""
    monkeypatch.setattr(row_store, "SMALL_PIECES", 3)
    other = store_of(tmp_path, alone=False)
    add(other, ("a", "clean"))
    add(other, ("b", "clean"))
    before = set(other.folder.iterdir())
    mine = store_of(tmp_path, alone=False)
    for code in "cdef":
        add(mine, (code, "clean"))
    assert before < set(mine.folder.iterdir())
    assert len(list(mine.folder.iterdir())) == 2 + 2
    assert store_of(tmp_path).there == 6


def test_rows_of_pieces_that_another_rank_has_joined_are_found_again(tmp_path, monkeypatch, no_fsync):
    other = store_of(tmp_path, alone=False)
    for code in "abc":
        add(other, (code, "clean"))
    reader = store_of(tmp_path, alone=False)
    monkeypatch.setattr(row_store, "SMALL_PIECES", 4)
    add(other, ("d", "clean"))
    assert len(list(other.folder.iterdir())) == 1
    found = block(reader, "abcd"[:3], ["clean"])[:, 0]
    assert np.array_equal(found, [row(code, "clean") for code in "abc"])
    reader.discard()
    assert list(tmp_path.iterdir()) == []
