"""Moments: whatever they add up to is what the rows themselves say, wherever the origin lies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.parts import moments as module
from frozenprobe.probe.heads.parts.moments import Moments, solve_shifted, starting_point
from frozenprobe.probe.heads.parts.scaling import fit_scaling, normalise
from frozenprobe.probe.options import SCALES

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    features: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    weight: Doubles

    def moments(self, chosen: object = slice(None), origin: Doubles | None = None) -> Moments:
        start = starting_point(self.features) if origin is None else origin
        rows, labels, weight = (each[chosen] for each in (self.features, self.labels, self.weight))  # type: ignore[index]
        return Moments.of(rows, labels, weight, classes=4, origin=start)


def make_rows(seed: int = 0, rows: int = 90, dim: int = 7, *, unit: bool = False) -> Rows:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(rows) % 4)
    features = rng.normal(size=(rows, dim)) * np.geomspace(0.1, 10, dim) + 3 * np.arange(dim) + labels[:, None]
    features = features.astype(np.float32)
    return Rows(normalise(features) if unit else features, labels, rng.uniform(0.1, 2, size=rows))


def close(found: Doubles, expected: Doubles, relative: float = 1e-6) -> None:
    assert np.linalg.norm(found - expected) <= relative * np.linalg.norm(expected)


def test_they_are_the_sums_of_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MULTIPLIED_ROWS", 16)
    rows = make_rows()
    moments = rows.moments()
    x, w = rows.features.astype(np.float64), rows.weight
    means = np.stack([np.average(x[rows.labels == c], axis=0, weights=w[rows.labels == c]) for c in range(4)])
    centred = x - means[rows.labels]
    np.testing.assert_allclose(moments.means, means, rtol=1e-5)
    np.testing.assert_allclose(moments.weight, [w[rows.labels == c].sum() for c in range(4)])
    close(moments.within(), (centred * w[:, None]).T @ centred / w.sum(), 1e-5)
    close(moments.total(), np.cov(x, rowvar=False, aweights=w, ddof=0), 1e-5)
    close(moments.mean, np.average(x, axis=0, weights=w))


@pytest.mark.parametrize("ratio", [1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("subtracted", [False, True])
def test_a_scatter_within_classes_far_smaller_than_between_them_is_told(ratio: float, subtracted: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(90) % 4)
    spread = np.sqrt(ratio) * rng.normal(size=(90, 7)) @ rng.normal(size=(7, 7))
    features = (rng.normal(size=(4, 7))[labels] + spread).astype(np.float32)
    rows = Rows(features, labels, rng.uniform(0.1, 2, size=90))
    kept = np.arange(90) < (60 if subtracted else 90)
    moments = rows.moments() - rows.moments(~kept) if subtracted else rows.moments()
    x, y, w = features[kept].astype(np.float64), labels[kept], rows.weight[kept]
    means = np.stack([np.average(x[y == c], axis=0, weights=w[y == c]) for c in range(4)])
    centred = x - means[y]
    close(moments.within(), (centred * w[:, None]).T @ centred / w.sum(), 1e-3)


def test_one_row_a_class_tells_no_scatter_and_the_variance_of_all_stands_for_it() -> None:
    features = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32) + 5
    alone = Rows(features, np.arange(4), np.ones(4)).moments()
    assert not alone.within().any()
    np.testing.assert_allclose(alone.noise(), features.var(axis=0).mean() * np.eye(7), rtol=1e-5)
    several = make_rows().moments()
    np.testing.assert_array_equal(several.noise(), several.within())
    equal = Rows(np.ones((4, 7), dtype=np.float32), np.arange(4), np.ones(4)).moments()
    np.testing.assert_array_equal(equal.noise(), np.eye(7))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), held=st.floats(0.05, 0.8))
def test_all_less_the_held_out_is_the_direct_sum(seed: int, held: float) -> None:
    rows = make_rows(seed)
    out = np.random.default_rng(seed).random(90) < held
    training = rows.moments() - rows.moments(out)
    direct = rows.moments(~out)
    for name in ("weight", "sums", "second"):
        close(getattr(training, name), getattr(direct, name))
    close(training.within(), direct.within(), 1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 90), max_size=4))
def test_blocks_added_are_all_rows(seed: int, cuts: list[int]) -> None:
    rows = make_rows(seed)
    edges = [0, *sorted(cuts), 90]
    parts = [rows.moments(slice(start, stop)) for start, stop in pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total += part
    for name in ("weight", "sums", "second"):
        close(getattr(total, name), getattr(rows.moments(), name))


def test_no_result_depends_on_the_origin() -> None:
    rows = make_rows()
    near, far = rows.moments(), rows.moments(origin=starting_point(rows.features) + np.linspace(-3, 3, 7))
    for name in ("means", "mean", "weight"):
        np.testing.assert_allclose(getattr(far, name), getattr(near, name), rtol=1e-5, atol=1e-5)
    close(far.within(), near.within(), 1e-5)
    close(far.total(), near.total(), 1e-5)


def test_an_origin_that_float32_has_to_round_is_no_shift() -> None:
    rows = make_rows()
    found = rows.moments(origin=np.full(7, 1000.1)).mean
    np.testing.assert_allclose(found, np.average(rows.features.astype(float), axis=0, weights=rows.weight), rtol=2e-5)


@pytest.mark.parametrize("name", SCALES)
def test_the_scaling_is_the_one_fitted_to_the_rows(name: str) -> None:
    rows = make_rows(unit=name in ("global", "l2"))
    found, expected = rows.moments().scaling(name), fit_scaling(name, rows.features, rows.weight)
    assert found.unit == expected.unit
    np.testing.assert_allclose(found.shift, expected.shift, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.factor, expected.factor, rtol=1e-5)


@pytest.mark.parametrize("name", SCALES)
def test_scaled_moments_are_those_of_the_scaled_rows(name: str) -> None:
    rows = make_rows(unit=name in ("global", "l2"))
    scaling = fit_scaling(name, rows.features, rows.weight)
    direct = Rows(scaling.apply(rows.features), rows.labels, rows.weight).moments()
    found = rows.moments().scaled(scaling)
    np.testing.assert_allclose(found.means, direct.means, rtol=1e-4, atol=1e-5)
    close(found.within(), direct.within(), 1e-5)
    close(found.total(), direct.total(), 1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1000.0])
def test_a_feature_constant_in_training_alone_is_not_blown_up(constant: float) -> None:
    rows = make_rows()
    rows.features[20:, 2] = constant
    held = np.arange(90) < 20
    scaling = (rows.moments() - rows.moments(held)).scaling("standard")
    expected = fit_scaling("standard", rows.features[~held], rows.weight[~held])
    np.testing.assert_allclose(scaling.factor, expected.factor, rtol=1e-4)
    assert scaling.factor[2] == 1


def test_a_class_that_is_all_held_out_has_no_weight_and_can_be_dropped() -> None:
    rows = make_rows()
    training = rows.moments() - rows.moments(rows.labels == 2)
    np.testing.assert_array_equal(training.present(), [0, 1, 3])
    rest = training.restricted(training.present())
    direct = rows.moments(rows.labels != 2)
    np.testing.assert_allclose(rest.means, direct.means[[0, 1, 3]], rtol=1e-6)
    close(rest.within(), direct.within(), 1e-5)
    close(training.within(), direct.within(), 1e-5)


def test_moments_of_nothing_change_nothing() -> None:
    rows = make_rows()
    none = rows.moments(slice(0, 0))
    np.testing.assert_array_equal((rows.moments() + none).second, rows.moments().second)
    np.testing.assert_array_equal((rows.moments() - none).sums, rows.moments().sums)
    assert starting_point(rows.features[:0]).tolist() == [0] * 7


def test_an_unknown_scaling_names_the_nearest() -> None:
    with pytest.raises(FrozenprobeError, match="did you mean global"):
        make_rows().moments().scaling("globl")


# Shifted systems: against numpy, in both precisions, and where nothing can be decomposed


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 1e-10), (False, 1e-3)])
@pytest.mark.parametrize(("keep", "shift"), [(1.0, 0.01), (0.3, 2.0), (0.0, 1.0)])
def test_it_solves_the_system(exact: bool, tolerance: float, keep: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    rows, right = rng.normal(size=(20, 30)), rng.normal(size=(30, 4))
    scatter = rows.T @ rows / 20
    before = scatter.copy()
    path = [(keep, shift)] if exact else [(1.0, 5.0), (keep, shift), (0.0, 3.0)]
    for (one, more), found in zip(path, solve_shifted(scatter, right, path), strict=True):
        wanted = np.linalg.solve(one * scatter + more * np.eye(30), right)
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
        assert found.dtype == np.float64
    np.testing.assert_array_equal(scatter, before)


def test_what_float32_cannot_decompose_is_solved_in_float64() -> None:
    scatter, right = np.array([[1, 1 - 1e-9], [1 - 1e-9, 1]]), np.array([[1.0], [0.0]])  # in float32 all ones
    found, _ = solve_shifted(scatter, right, [(1.0, 1e-9), (1.0, 1.0)])
    np.testing.assert_allclose((scatter + 1e-9 * np.eye(2)) @ found, right, atol=1e-6)


def test_what_rounding_made_negative_has_a_least_squares_solution() -> None:
    assert np.isfinite(solve_shifted(np.diag([1.0, -1.0]), np.ones((2, 1)), [(1.0, 1e-9)])[0]).all()
