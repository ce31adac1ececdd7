"""Scaling and head fitted together, on weighted rows."""

from __future__ import annotations

import numpy as np

from frozenprobe.probe.fit.fitting import balance, fit_scaled
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from tests.probe.heads.test_head import make_rows


def test_the_scaling_is_fitted_on_the_weighted_rows_and_applied_to_unseen_ones() -> None:
    rows = make_rows()
    fitted = fit_scaled(ShrinkageLdaHead(), rows, scale="standard", seed=0)
    mean = np.average(rows.features, axis=0, weights=rows.weight)
    np.testing.assert_allclose(fitted.scaling.shift, mean, atol=1e-6)
    unseen = rows.features[:4] + 1
    scaled = (unseen - mean) / rows.features.std(axis=0)
    np.testing.assert_allclose(fitted.probabilities(unseen), fitted.head.probabilities(scaled), atol=1e-5)


def test_features_measured_in_other_units_change_no_answer() -> None:
    rows = make_rows()
    units = np.geomspace(1e-2, 1e2, rows.features.shape[1]).astype(np.float32)
    other = type(rows)(rows.features * units, rows.labels, rows.weight, rows.images)
    one = fit_scaled(ShrinkageLdaHead(), rows, scale="standard", seed=0).probabilities(rows.features)
    two = fit_scaled(ShrinkageLdaHead(), other, scale="standard", seed=0).probabilities(other.features)
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_balanced_weights_have_equal_totals_and_keep_their_ratios_and_sum() -> None:
    labels, weight = np.array([0, 0, 1, 2, 2, 2]), np.array([1.0, 2, 4, 1, 1, 2])
    balanced = balance(labels, weight)
    np.testing.assert_allclose(np.bincount(labels, weights=balanced), np.full(3, 11 / 3))
    np.testing.assert_allclose(balanced[:2] / balanced[0], [1, 2])
