"""Cosines of all pairs: the same pairs as a naive loop finds, however they are searched."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.probe.heads.parts import cosines
from frozenprobe.probe.heads.parts.cosines import (
    PairSearch,
    find_directions,
    most_similar,
    search_pairs,
    shorten,
)
from frozenprobe.probe.heads.parts.scaling import normalise
from frozenprobe.system import threads

Floats = npt.NDArray[np.float32]


def clustered(count: int, dim: int, seed: int, *, spread: float = 0.3) -> Floats:
    """Rows of length 1 in a few clusters, and one of zeros."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(5, dim))[rng.integers(5, size=count)] + spread * rng.normal(size=(count, dim))
    rows[count // 2] = 0
    return normalise(rows.astype(np.float32))


def found(search: PairSearch, lowest: float) -> dict[tuple[int, int], float]:
    pairs: dict[tuple[int, int], float] = {}
    for block in search.blocks():
        rows, cosine = search.above(block, lowest)
        pairs |= zip(map(tuple, rows.tolist()), cosine.tolist(), strict=True)
    return pairs


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3), st.sampled_from([0.0, 1 / 64, 1.0]), st.booleans())
def test_a_sketch_finds_the_pairs_of_the_naive_loop(seed: int, directions: int, promising: float, same: bool) -> None:
    columns = clustered(60, 12, seed)
    rows = columns if same else clustered(25, 12, seed)  # the same clusters: the centres are drawn first
    naive = {
        (one, other): float(rows[one].astype(float) @ columns[other].astype(float))
        for one in range(len(rows))
        for other in range(one + 1 if same else 0, len(columns))
    }
    values = np.sort([*naive.values()])
    lowest = float(values[-30:-28].mean())  # between two cosines, so that rounding decides nothing
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("DIRECTIONS", directions), ("SAMPLE", 10), ("STRIP", 16), ("PROMISING", promising)):
            patch.setattr(cosines, name, value)
        patch.setattr(cosines, "COSINES_AT_ONCE", 1000)
        search = search_pairs(rows, columns)
        assert search.sketches[1].shape == (60, directions + 1)
        pairs = found(search, lowest)
    assert set(pairs) == {pair for pair, cosine in naive.items() if cosine >= lowest}
    assert all(cosine == pytest.approx(naive[pair], abs=1e-6) for pair, cosine in pairs.items())


def test_the_product_of_sketches_is_never_below_the_cosine() -> None:
    rows = clustered(300, 200, 0)
    for directions in (find_directions(rows), np.linalg.qr(np.random.default_rng(0).normal(size=(200, 9)))[0]):
        short = shorten(rows, directions.astype(np.float32))
        assert ((short @ short.T) >= rows @ rows.T - 1e-6).all()


def test_few_pairs_are_compared_in_full_where_features_have_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = normalise((rng.normal(size=(3000, 200)) * np.arange(1, 201) ** -0.5).astype(np.float32))
    rows[2000:2010] = normalise(rows[:10] + np.float32(1e-3))
    compared, compare = [], cosines.compare
    monkeypatch.setattr(cosines, "compare", lambda *pairs: compared.append(len(pairs[2])) or compare(*pairs))
    assert set(found(search_pairs(rows, rows), 0.95)) == {(image, image + 2000) for image in range(10)}
    assert 10 <= sum(compared) < 100


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clustered(2500, 130, 0, spread=0.2)
    many = found(search_pairs(rows, rows), 0.972)
    monkeypatch.setattr(threads, "thread_count", lambda: 1)
    assert found(search_pairs(rows, rows), 0.972) == many
    assert 1000 < len(many) < 100_000


def test_no_rows_are_searched_without_an_error() -> None:
    columns = clustered(40, 12, 0)
    assert found(search_pairs(columns[:0], columns), 0.5) == {}


@pytest.mark.parametrize("count", [1, 3, 20, 50])
@pytest.mark.parametrize("columns", [50, 1500])
@pytest.mark.parametrize("block", [1, 4_000_000])
def test_the_most_similar_are_those_of_a_whole_sort(
    count: int, columns: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosines, "COSINES_OF_THREAD", block)
    known, rows = clustered(columns, 12, 0), clustered(40, 12, 0)
    known[-7:] = known[3]  # equal ones: the first columns are taken
    near, cosine = most_similar(rows, known, count)
    order = np.argsort(-(rows @ known.T).round(6), axis=1, kind="stable")[:, :count]
    np.testing.assert_allclose(cosine, np.take_along_axis(rows @ known.T, order, axis=1), atol=2e-6)
    assert (near == order).mean() > 0.99  # but for rounding
    assert all(len(set(each)) == count for each in near.tolist())


def test_what_is_of_the_same_image_comes_last_and_is_marked() -> None:
    rows = clustered(30, 12, 0)
    images = np.arange(30) // 3
    near, cosine = most_similar(rows, rows, 30, together=(images, images))
    assert (images[near[:, :27]] != images[:, None]).all()
    assert np.isneginf(cosine[:, 27:]).all()
    assert np.isfinite(cosine[:, :27]).all()
