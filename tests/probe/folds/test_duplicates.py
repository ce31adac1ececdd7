"""Near duplicates: planted copies are found, strangers are not joined, and no order of anything changes a cluster."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.cache.contents import Split
from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.folds import duplicates
from frozenprobe.probe.folds.deal import assign_folds, cluster_images, unscored_classes
from frozenprobe.probe.folds.duplicates import (
    Pairs,
    different_contents,
    find_clusters,
    join_pairs,
    near_duplicates,
)
from frozenprobe.probe.heads.parts import cosines
from frozenprobe.probe.options import ProbeOptions, read_near_duplicates
from tests.conftest import MakeFeatures, rewrite

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

quick = settings(max_examples=60, deadline=None)


def unit(rows: npt.ArrayLike) -> Floats:
    array = np.asarray(rows, dtype=np.float64)
    return (array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32)


def arcs(*degrees: float) -> Floats:
    """Unit vectors in the plane."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def join(
    vectors: Floats, threshold: float, labels: list[int], hashes: list[str] | None = None
) -> tuple[Ints, Ints, int]:
    codes = tuple(hashes or map(str, range(len(vectors))))
    ids = tuple(map(str, range(len(vectors))))
    images = different_contents(codes, ids)
    rows, _ = near_duplicates(vectors[images], threshold)
    split = Split(ids, codes, np.ones(len(ids), dtype=bool), np.array(labels))
    return join_pairs(split, np.array(labels), Pairs(images, vectors[images], rows, threshold))


# Pairs


@pytest.mark.parametrize("block", [1, 400, 8_000_000])
def test_pairs_are_those_of_the_naive_loop_whatever_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosines, "COSINES_AT_ONCE", block)
    clean = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    pairs, cosine = near_duplicates(clean, 0.9)
    rows = unit(clean).astype(np.float64)
    naive = {(i, j): rows[i] @ rows[j] for i in range(70) for j in range(i + 1, 70) if rows[i] @ rows[j] >= 0.9}
    assert len(naive) > 50
    assert set(map(tuple, pairs.tolist())) == set(naive)
    np.testing.assert_allclose(cosine, [naive[one, other] for one, other in pairs.tolist()], atol=1e-6)
    assert (np.diff(cosine) <= 0).all()


def test_where_there_are_too_many_pairs_the_most_similar_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32)
    pairs, cosine = near_duplicates(clean, 0.5)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 20)
    monkeypatch.setattr(cosines, "COSINES_AT_ONCE", 1)
    few, highest = near_duplicates(clean, 0.5)
    assert len(few) == 20
    np.testing.assert_array_equal(few, pairs[:20])
    np.testing.assert_allclose(highest, cosine[:20], atol=1e-6)


def test_equal_rows_are_near_duplicates_even_at_a_cosine_of_1() -> None:
    clean = np.random.default_rng(0).normal(size=(30, 500)).astype(np.float32)
    clean[21:] = clean[1:10] * np.float32(1.7)
    pairs, cosine = near_duplicates(clean, 1.0)
    assert sorted(pairs.tolist()) == [[image, image + 20] for image in range(1, 10)]
    assert cosine.max() <= 1


def test_rows_of_zeros_resemble_nothing() -> None:
    assert len(near_duplicates(np.zeros((5, 3), dtype=np.float32), 0.1)[0]) == 0


# Clusters


@st.composite
def planted(draw: st.DrawFn) -> tuple[Floats, list[int], list[str]]:
    """A few directions in the plane and in space, many of them close; labels; hashes, some equal with equal rows."""
    count = draw(st.integers(2, 24))
    degrees = draw(st.lists(st.integers(0, 90), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    hashes = [f"{angle} {draw(st.integers(0, 2))}" for angle in degrees]
    return arcs(*degrees), labels, hashes


def partition(clusters: Ints) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(clusters == cluster).tolist()) for cluster in np.unique(clusters)}


@quick
@given(planted(), st.randoms(use_true_random=False), st.permutations(range(4)))
def test_no_order_of_images_or_classes_changes_a_cluster(
    images: tuple[Floats, list[int], list[str]], random: Random, renumber: list[int]
) -> None:
    vectors, labels, hashes = images
    clusters, apart, chained = join(vectors, 0.995, labels, hashes)
    order = list(range(len(labels)))
    random.shuffle(order)
    moved, moved_apart, moved_chained = join(
        vectors[order], 0.995, [renumber[labels[image]] for image in order], [hashes[image] for image in order]
    )
    back = np.empty_like(moved)
    back[order] = moved
    assert partition(back) == partition(clusters)
    assert sorted(renumber[label] for label in apart) == moved_apart.tolist()
    assert chained == moved_chained


@quick
@given(planted())
def test_copies_are_always_together_and_pairs_only_add(images: tuple[Floats, list[int], list[str]]) -> None:
    vectors, labels, hashes = images
    joined, alone = join(vectors, 0.995, labels, hashes)[0], cluster_images(hashes, None)
    for cluster in range(int(alone.max()) + 1):
        assert len(set(joined[alone == cluster].tolist())) == 1


@quick
@given(planted())
def test_near_duplicates_never_cost_a_class_its_score(images: tuple[Floats, list[int], list[str]]) -> None:
    vectors, labels, hashes = images
    clusters = join(vectors, 0.995, labels, hashes)[0]
    alone = cluster_images(hashes, None)
    for label in set(labels):
        of_class = np.array(labels) == label
        if len(set(alone[of_class].tolist())) > 1:
            assert len(set(clusters[of_class].tolist())) > 1


def test_a_class_of_near_duplicates_alone_is_scored_and_named() -> None:
    vectors = arcs(0, 1, 2, 3, 60, 61, 80, 85)
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    clusters, apart, _ = join(vectors, float(np.cos(np.deg2rad(3.1))), labels)
    assert apart.tolist() == [0]
    assert len(set(clusters[:4].tolist())) == 4
    assert clusters[4] == clusters[5]  # the other class keeps its pair
    folds = assign_folds(np.array(labels), clusters, list(map(str, range(8))), folds=3, seed=0)
    assert len(unscored_classes(np.array(labels), folds)) == 0


def test_pairs_join_transitively_but_a_chain_stops_where_copies_of_one_image_would() -> None:
    step = float(np.cos(np.deg2rad(1.01)))
    clusters, _, chained = join(arcs(0, 1, 2, 50, 70), step, [0] * 5)
    assert partition(clusters) == {frozenset([0, 1, 2]), frozenset([3]), frozenset([4])}  # 0 and 2 are no pair
    assert chained == 0
    clusters, _, chained = join(arcs(*range(12), 50, 70), step, [0] * 14)
    assert np.bincount(clusters).max() <= 3  # 2 degrees: both copies at most 1 from their original
    assert chained >= 3


def test_near_duplicates_join_groups() -> None:
    split = Split(("a", "b", "c", "d"), ("1", "2", "3", "4"), np.ones(4, dtype=bool), np.zeros(4, dtype=np.int64))
    grouped = replace(split, groups=("p", "p", "q", "r"))
    vectors, images = arcs(0, 40, 41, 80), np.arange(4)
    rows, _ = near_duplicates(vectors, 0.999)
    clusters, _, _ = join_pairs(grouped, np.zeros(4, dtype=np.int64), Pairs(images, vectors, rows, 0.999))
    assert partition(clusters) == {frozenset([0, 1, 2]), frozenset([3])}


# A feature file


def with_copies(features: Features, copies: dict[int, int]) -> Features:
    vectors = features.read("train", range(len(features.views)))
    for image, original in copies.items():
        vectors[image] = vectors[original] + 1e-2
    return rewrite(features, "copies.h5", vectors=vectors)


@pytest.mark.parametrize("test_views", [("clean",), ("clean", "hflip"), ("clean", "direct", "hflip")])
def test_copies_in_a_file_are_found(test_views: tuple[str, ...], make_features: MakeFeatures) -> None:
    plain = make_features(dim=40, test_views=test_views)
    assert len(find_clusters(plain, ProbeOptions()).pairs) == 0
    found = find_clusters(with_copies(plain, {1: 0, 2: 0, 9: 7, 20: 8}), ProbeOptions())
    assert {frozenset(pair) for pair in found.pairs.tolist()} == {
        frozenset(pair) for pair in [(0, 1), (0, 2), (1, 2), (7, 9), (8, 20)]
    }
    together = [cluster for cluster in partition(found.clusters) if len(cluster) > 1]
    assert sorted(map(sorted, together)) == [[0, 1, 2], [7, 9], [8, 20]]


def test_a_typed_cosine_is_taken_and_off_leaves_only_content_and_groups(make_features: MakeFeatures) -> None:
    features = with_copies(make_features(dim=40, groups=tuple(f"g{index // 2}" for index in range(24))), {3: 0})
    off = find_clusters(features, ProbeOptions(near_duplicates=0))
    np.testing.assert_array_equal(off.clusters, cluster_images(features.train.hashes, features.train.groups))
    assert off.threshold is None
    assert len(off.pairs) == 0
    loose, strict = (find_clusters(features, ProbeOptions(near_duplicates=cosine)) for cosine in (0.5, 1.0))
    assert loose.threshold == 0.5
    assert len(loose.pairs) > 10
    assert len(strict.pairs) == 0


@pytest.mark.parametrize("cosine", [-0.1, 1.1, float("nan")])
def test_a_cosine_out_of_range_is_an_error(cosine: float, make_features: MakeFeatures) -> None:
    with pytest.raises(FrozenprobeError, match="above 0 up to 1"):
        find_clusters(make_features(), ProbeOptions(near_duplicates=cosine))


def test_what_is_typed_becomes_the_option() -> None:
    assert [read_near_duplicates(text) for text in ("auto", "off", "0.95", "1")] == [None, 0, 0.95, 1]
    for text in ("of", "2", "nan", "-1", ""):
        with pytest.raises(FrozenprobeError, match="auto, off, or a cosine"):
            read_near_duplicates(text)


def test_test_images_are_compared_unless_equal_byte_for_byte_or_bad(make_features: MakeFeatures) -> None:
    hashes = (*(f"{index:064x}" for index in range(23)), f"{10_002:064x}")  # the last image is also the test image 2
    features = make_features(dim=40, hashes=hashes, unusable=(6,))
    vectors, test = features.read("train", range(5)), features.read("test", (0, 1))
    test[2] = vectors[23, :2]
    test[4] = vectors[11, :2] + 1e-3
    found = find_clusters(rewrite(features, "overlap.h5", vectors=vectors, test_vectors=test), ProbeOptions())
    assert found.overlap.tolist() == [[4, 11]]
    assert found.overlap_cosine[0] > 0.999


def test_nothing_but_the_clean_and_the_mirrored_view_is_looked_at(make_features: MakeFeatures) -> None:
    features = make_features(dim=40)
    vectors = features.read("train", range(len(features.views)))
    vectors[:, 2:] = 7
    spoiled, plain = (
        find_clusters(each, ProbeOptions()) for each in (rewrite(features, "s.h5", vectors=vectors), features)
    )
    assert spoiled.threshold == plain.threshold
    np.testing.assert_array_equal(spoiled.clusters, plain.clusters)


def test_the_order_of_the_file_changes_neither_threshold_nor_clusters(make_features: MakeFeatures) -> None:
    hashes = tuple(f"{index * 7 % 22:064x}" for index in range(24))  # two images are there twice
    features = with_copies(make_features(dim=40, hashes=hashes), {5: 1, 9: 1, 14: 13})
    order = np.random.default_rng(0).permutation(24)
    train = features.train
    assert train.labels is not None
    moved = rewrite(
        features,
        "moved.h5",
        vectors=features.read("train", range(5))[order],
        train=replace(
            train,
            ids=tuple(train.ids[image] for image in order),
            hashes=tuple(train.hashes[image] for image in order),
            labels=train.labels[order],
        ),
    )
    here, there = (find_clusters(each, ProbeOptions()) for each in (features, moved))
    assert here.threshold == there.threshold
    assert len(here.pairs) >= 3
    np.testing.assert_array_equal(order[there.pairs], here.pairs)
    back = np.empty_like(there.clusters)
    back[order] = there.clusters
    assert partition(back) == partition(here.clusters)


def test_features_that_are_no_numbers_are_an_error_that_names_the_image(make_features: MakeFeatures) -> None:
    features = make_features()
    vectors = features.read("train", range(5))
    vectors[3, 0, 0] = np.nan
    with pytest.raises(FrozenprobeError, match=r"image 3\.jpg"):
        find_clusters(rewrite(features, "nan.h5", vectors=vectors), ProbeOptions())
