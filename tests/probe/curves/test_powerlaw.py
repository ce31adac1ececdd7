"""The power law of learning curves: known laws are found again, impossible ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from frozenprobe.probe.curves.powerlaw import EXPONENTS, fit_power_law

SIZES = np.array([1.0, 2, 4, 8, 16])


@pytest.mark.parametrize("law", [(0.0, 0.6, 0.5), (0.1, 0.5, 0.7), (0.05, 0.9, 0.3), (0.2, 0.3, 1.0)])
def test_the_law_that_made_the_points_is_found(law: tuple[float, float, float]) -> None:
    floor, scale, exponent = law
    found = fit_power_law(SIZES, floor + scale * SIZES**-exponent, np.array([1.0, 2, 3, 4, 5]))
    np.testing.assert_allclose((found.floor, found.scale, found.exponent), law, atol=1e-9)
    assert found.error(32) == pytest.approx(floor + scale * 32**-exponent)


def test_many_curves_at_once_are_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors, weight = rng.random((7, 5)), rng.random(5) + 0.1
    together = fit_power_law(SIZES, errors, weight)
    for index, each in enumerate(errors):
        alone = fit_power_law(SIZES, each, weight)
        for name in ("floor", "scale", "exponent"):
            np.testing.assert_allclose(getattr(together, name)[index], getattr(alone, name), rtol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_no_law_on_the_grid_is_nearer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors, weight = rng.random(5), rng.random(5) + 0.1  # anything: rising curves too, so both edges are reached
    found = fit_power_law(SIZES, errors, weight)
    ours = (weight * np.square(found.floor + found.scale * SIZES**-found.exponent - errors)).sum()
    root = np.sqrt(weight)
    costs = [
        2 * lsq_linear(root[:, None] * np.stack([SIZES**0, SIZES**-c], axis=1), root * errors, (0, np.inf)).cost
        for c in EXPONENTS
    ]
    assert found.floor >= 0
    assert found.scale >= 0
    assert ours == pytest.approx(min(costs), rel=1e-6, abs=1e-12)


def test_a_flat_curve_promises_nothing() -> None:
    found = fit_power_law(SIZES, np.full(5, 0.3), np.ones(5))
    assert found.error(1) - found.error(1000) == pytest.approx(0, abs=1e-9)


def test_a_rising_error_is_not_extrapolated_upwards() -> None:
    found = fit_power_law(SIZES, np.linspace(0.2, 0.4, 5), np.ones(5))
    assert found.scale == 0
    assert found.floor == pytest.approx(0.3)
