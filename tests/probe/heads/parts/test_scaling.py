"""Scaling: what each kind computes, and that weights count as repetitions."""

from __future__ import annotations

import numpy as np
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats
from frozenprobe.probe.heads.parts.scaling import Scaling, fit_scaling, normalise
from frozenprobe.probe.options import SCALES


def make_rows(rows: int = 40, dim: int = 7, seed: int = 0) -> Floats:
    """Rows whose features differ in mean and spread."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, dim)) * np.geomspace(0.1, 10, dim) + np.arange(dim)).astype(np.float32)


def unit(rows: Floats) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def test_global_centres_unit_rows_and_divides_by_one_number() -> None:
    rows = make_rows()
    centred = unit(rows) - unit(rows).mean(axis=0)
    expected = centred / np.sqrt(np.square(centred).mean())
    scaling = fit_scaling("global", rows, np.ones(len(rows)))
    np.testing.assert_allclose(scaling.apply(rows), expected, atol=1e-4)
    assert len(set(scaling.factor.tolist())) == 1


def test_global_gives_mean_squared_feature_one() -> None:
    rows = make_rows()
    assert np.square(fit_scaling("global", rows, np.ones(len(rows))).apply(rows)).mean() == pytest.approx(1, abs=1e-4)


def test_standard_gives_every_feature_mean_zero_and_deviation_one() -> None:
    rows = make_rows()
    scaled = fit_scaling("standard", rows, np.ones(len(rows))).apply(rows)
    expected = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_l2_gives_unit_rows_and_none_changes_nothing() -> None:
    rows, weight = make_rows(), np.ones(40)
    np.testing.assert_allclose(fit_scaling("l2", rows, weight).apply(rows), unit(rows), atol=1e-6)
    np.testing.assert_array_equal(fit_scaling("none", rows, weight).apply(rows), rows)


@pytest.mark.parametrize("name", SCALES)
def test_a_weight_counts_as_that_many_repetitions(name: str) -> None:
    rows = make_rows()
    times = np.random.default_rng(1).integers(1, 4, size=len(rows))
    weighted = fit_scaling(name, rows, times.astype(float))
    repeated = fit_scaling(name, np.repeat(rows, times, axis=0), np.ones(times.sum()))
    np.testing.assert_allclose(weighted.shift, repeated.shift, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weighted.factor, repeated.factor, rtol=1e-4)


@pytest.mark.parametrize("name", SCALES)
def test_only_ratios_of_weights_matter(name: str) -> None:
    rows, weight = make_rows(), np.linspace(0.5, 2, 40)
    one, other = fit_scaling(name, rows, weight), fit_scaling(name, rows, weight / 8)
    np.testing.assert_allclose(one.apply(rows), other.apply(rows), atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1000.0, -3.3])
def test_a_constant_feature_becomes_zero_and_is_not_blown_up(value: float) -> None:
    rows = make_rows(rows=3001)
    rows[:, 2] = value
    scaling = fit_scaling("standard", rows, np.full(3001, 1 / 3))
    assert np.abs(scaling.apply(rows)[:, 2]).max() < 1e-3
    moved = rows[:1].copy()
    moved[0, 2] += np.float32(1e-3)  # a test image on which the feature is not quite the constant
    assert abs(scaling.apply(moved)[0, 2]) < 0.01


@pytest.mark.parametrize("name", SCALES)
def test_rows_of_zeros_and_equal_rows_stay_finite(name: str) -> None:
    rows = make_rows()
    rows[3] = 0
    assert np.isfinite(fit_scaling(name, rows, np.ones(40)).apply(rows)).all()
    for same in (np.zeros((5, 7), dtype=np.float32), np.ones((5, 7), dtype=np.float32)):
        assert np.isfinite(fit_scaling(name, same, np.ones(5)).apply(same)).all()


def test_the_rounding_of_one_direction_is_not_blown_up_to_features() -> None:
    rows = np.outer(np.linspace(1, 9, 40), np.arange(1, 9)).astype(np.float32)
    assert np.abs(fit_scaling("global", rows, np.ones(40)).apply(rows)).max() < 1e-5
    assert fit_scaling("standard", rows, np.ones(40)).apply(rows).std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["global", "l2", "standard"])
@pytest.mark.parametrize("size", [1e-35, 1e-24, 1e-12, 1e12, 1e20, 1e35])
def test_a_scaling_undoes_any_size_of_the_features(name: str, size: float) -> None:
    rows, large = make_rows(), (make_rows().astype(np.float64) * size).astype(np.float32)
    expected = fit_scaling(name, rows, np.ones(40)).apply(rows)
    np.testing.assert_allclose(fit_scaling(name, large, np.ones(40)).apply(large), expected, atol=1e-4)


def test_a_single_feature_is_not_made_its_sign() -> None:
    rows = np.linspace(1, 9, 40, dtype=np.float32)[:, None]
    scaled = fit_scaling("global", rows, np.ones(40)).apply(rows)
    np.testing.assert_allclose(scaled, (rows - rows.mean()) / rows.std(), atol=1e-5)


def test_a_row_of_zeros_has_no_direction_and_stays_zero() -> None:
    rows = np.array([[0, 0], [3, 4]], dtype=np.float32)
    np.testing.assert_allclose(normalise(rows), [[0, 0], [0.6, 0.8]], atol=1e-7)


def test_apply_is_what_the_scaling_says() -> None:
    rows = make_rows(dim=3)
    shift, factor = np.array([1, -2, 0.5], dtype=np.float32), np.array([2, 0.5, 1], dtype=np.float32)
    plain = Scaling(False, shift, factor).apply(rows)
    np.testing.assert_allclose(plain, (rows - shift) * factor, atol=1e-5)
    np.testing.assert_allclose(Scaling(True, shift, factor).apply(rows), (unit(rows) - shift) * factor, atol=1e-5)


def test_apply_keeps_the_shape_and_float32() -> None:
    rows = make_rows().reshape(8, 5, 7)
    for name in SCALES:
        scaled = fit_scaling(name, rows.reshape(40, 7), np.ones(40)).apply(rows)
        assert scaled.shape == (8, 5, 7)
        assert scaled.dtype == np.float32


def test_fitting_leaves_the_rows_alone() -> None:
    rows = make_rows()
    before = rows.copy()
    for name in SCALES:
        fit_scaling(name, rows, np.ones(40)).apply(rows)
    np.testing.assert_array_equal(rows, before)


def test_arrays_reproduce_the_scaling() -> None:
    rows = make_rows()
    for name in SCALES:
        scaling = fit_scaling(name, rows, np.ones(40))
        arrays = scaling.arrays()
        again = Scaling(bool(arrays["scale_unit"]), arrays["scale_shift"], arrays["scale_factor"])
        np.testing.assert_array_equal(again.apply(rows), scaling.apply(rows))


def test_an_unknown_scaling_names_the_nearest() -> None:
    with pytest.raises(FrozenprobeError, match="did you mean global") as caught:
        fit_scaling("globl", make_rows(), np.ones(40))
    assert caught.value.where == "--scale"
