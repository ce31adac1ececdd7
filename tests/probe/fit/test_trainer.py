"""Fits side by side and from moments are those of one head on the rows of one set of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.fit.trainer import LEAST, FittedProbe, Trainer, average_logs, fit_scaled
from frozenprobe.probe.heads.head import FittedHead, Head, LinearModel, TrainingRows
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.heads.parts.temperature import fit_temperature
from frozenprobe.probe.heads.registry import HEADS, make_head
from frozenprobe.probe.options import SCALES, Setting
from tests.probe.heads.test_head import make_rows

CLASSES, PER_CLASS, VIEWS, DIM = 4, 7, 3, 10
COUNT = CLASSES * PER_CLASS


def make_vectors(seed: int = 0, noise: float = 1.2) -> tuple[Floats, Ints]:
    """Overlapping classes, `(N, V, D)`, neither centred nor of one size in all features."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    images = rng.normal(size=(CLASSES, DIM))[labels] + noise * rng.normal(size=(COUNT, DIM))
    views = images[:, None] + 0.3 * rng.normal(size=(COUNT, VIEWS, DIM))
    return ((views + 2) * np.linspace(0.5, 3, DIM)).astype(np.float32), labels


def subsets() -> list[Ints]:
    """Folds left out, a class that is missing, and all images."""
    images = np.arange(COUNT)
    return [images[images % 5 != 0], images[images % 5 != 1], images[PER_CLASS:], images]


def heads(name: str, settings: str, values: Sequence[float], **more: Any) -> list[Head]:
    return [make_head(name, {settings: value, **more}) for value in values]


def one_by_one(trainer: Trainer, grid: Sequence[Head]) -> list[list[FittedProbe]]:
    return [[replace(trainer, head=head).fit(images) for images in subsets()] for head in grid]


def largest_difference(one: FittedProbe, other: FittedProbe, vectors: Floats) -> float:
    return float(np.abs(one.predict(vectors) - other.predict(vectors)).max())


# The size of the features


FAST: dict[str, dict[str, Setting]] = {"mlp": {"epochs": 3}, "linear": {"epochs": 3}}
SIZED = {
    "times 1e20": lambda vectors: vectors * np.float32(1e20),
    "times 1e-24": lambda vectors: vectors * np.float32(1e-24),
    "subnormal in float16": lambda vectors: (vectors * 1e-7).astype(np.float16).astype(np.float32),
    "one feature": lambda vectors: np.float32(1e10) + np.float32(1e9) * vectors[..., :1],
}


@pytest.mark.parametrize("scale", ["global", "standard"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_the_same_answers_at_any_size_of_the_features(name: str, scale: str) -> None:
    vectors, labels = make_vectors(noise=0.3)
    images = subsets()[0]

    def answer(features: Floats) -> Ints:
        trainer = Trainer(make_head(name, FAST.get(name, {})), features, labels, scale=scale)
        ((fit,),) = trainer.fit_grid([trainer.head], [images])
        found = fit.predict(features)
        assert np.isfinite(found).all()
        return found.argmax(axis=1)

    usual, one = answer(vectors), answer(vectors[..., :1] + 10)
    for what, make in SIZED.items():
        same = answer(make(vectors)) == (one if what == "one feature" else usual)
        assert same.mean() >= (0.85 if "float16" in what else 0.95), what  # one digit is left of such numbers


@pytest.mark.parametrize("name", HEADS)
def test_of_equal_features_a_head_learns_nothing_but_shares_and_a_constant_one_changes_nothing(name: str) -> None:
    vectors, labels = make_vectors()
    head = make_head(name, FAST.get(name, {}))
    (fit,) = Trainer(head, np.full_like(vectors, 0.3), labels).fit_all([np.arange(len(labels))])
    found = fit.predict(np.full_like(vectors, 0.3))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, found[:1].repeat(len(found), axis=0), atol=1e-6)
    vectors[..., 3] = 7.0
    (fit,) = Trainer(head, vectors, labels, scale="standard").fit_all(subsets()[:1])
    moved = vectors.copy()
    moved[..., 3] = 7.0001
    np.testing.assert_allclose(fit.predict(moved), fit.predict(vectors), atol=1e-3)
    assert np.isfinite(fit.predict(vectors)).all()


# Side by side


@pytest.mark.parametrize("scale", ["global", "l2", "none"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_logistic_regressions_side_by_side_are_those_one_by_one(scale: str, class_weight: str | None) -> None:
    vectors, labels = make_vectors()
    grid = heads("logreg", "c", [0.03, 0.3, 3.0], tol=1e-8)
    trainer = Trainer(grid[0], vectors, labels, scale=scale, class_weight=class_weight)
    assert trainer.side_by_side(grid) == (grid[0], [0.03, 0.3, 3.0])
    found = trainer.fit_grid(grid, subsets())
    for line, expected in zip(found, one_by_one(trainer, grid), strict=True):
        for fitted, alone in zip(line, expected, strict=True):
            assert largest_difference(fitted, alone, vectors) < 2e-3
            np.testing.assert_array_equal(fitted.classes, alone.classes)
            assert fitted.head.convergence.converged
    weak, strong = found[0][0].predict(vectors), found[2][0].predict(vectors)
    assert np.abs(weak - strong).max() > 0.2  # values of c that do differ


def test_every_logistic_regression_of_a_grid_has_its_own_certificate() -> None:
    vectors, labels = make_vectors()
    grid = heads("logreg", "c", [0.1, 10.0])
    for line in Trainer(grid[0], vectors, labels).fit_grid(grid, subsets()):
        for fitted in line:
            gap = fitted.head.convergence.gap
            assert gap is not None
            assert 0 <= gap <= 1e-5


@pytest.mark.parametrize(
    ("settings", "scale"), [({"solver": "sklearn"}, "global"), ({}, "standard")], ids=["sklearn", "standard"]
)
def test_what_cannot_share_a_matrix_is_fitted_one_by_one(settings: dict[str, Any], scale: str) -> None:
    vectors, labels = make_vectors()
    grid = heads("logreg", "c", [0.1, 1.0], **settings)
    trainer = Trainer(grid[0], vectors, labels, scale=scale)
    assert trainer.side_by_side(grid) is None
    for line, expected in zip(trainer.fit_grid(grid, subsets()), one_by_one(trainer, grid), strict=True):
        for fitted, alone in zip(line, expected, strict=True):
            assert largest_difference(fitted, alone, vectors) == 0


# From moments


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize(
    ("name", "setting", "values"),
    [("lda", "shrinkage", [0.3]), ("lda", "shrinkage", [0.1, 0.5, 1.0]), ("ridge", "alpha", [0.01, 0.3])],
)
def test_a_head_from_moments_is_that_on_the_rows_but_for_its_temperature(
    scale: str, class_weight: str | None, name: str, setting: str, values: list[float]
) -> None:
    vectors, labels = make_vectors()
    grid = heads(name, setting, values)
    trainer = Trainer(grid[0], vectors, labels, scale=scale, class_weight=class_weight)
    assert trainer.moment_path(grid) is not None
    for line, expected in zip(trainer.fit_grid(grid, subsets()), one_by_one(trainer, grid), strict=True):
        for fitted, alone in zip(line, expected, strict=True):
            np.testing.assert_array_equal(fitted.classes, alone.classes)
            np.testing.assert_allclose(fitted.scaling.factor, alone.scaling.factor, rtol=1e-5)
            np.testing.assert_allclose(fitted.scaling.shift, alone.scaling.shift, atol=1e-5)
            assert scores_differ(fitted.head, alone.head) < 1e-3


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 6),
    st.integers(1, 24),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.sampled_from([0.0, 1e-4, 1e-2, 1.0]),
    st.sampled_from([0.01, 0.3, 0.95]),
    st.sampled_from(SCALES),
)
@example(1, 1, 6, 24, 1.0, 1.0, 0.3, "global")
@example(2, 1, 6, 24, 1.0, 1e-4, 0.3, "global")
def test_few_images_however_close_are_answered_from_moments_as_from_rows(
    per_class: int, views: int, classes: int, dim: int, size: float, noise: float, shrinkage: float, scale: str
) -> None:
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(classes), per_class)
    centres = rng.normal(size=(classes, dim)) + 2 * rng.normal(size=dim)
    images = centres[labels][:, None] + noise * rng.normal(size=(len(labels), views, dim))
    vectors = (size * images).astype(np.float32)
    grid = heads("lda", "shrinkage", [shrinkage])
    trainer = Trainer(grid[0], vectors, labels, scale=scale)
    ((fitted,),) = trainer.fit_grid(grid, [np.arange(len(labels))])
    alone = trainer.fit(np.arange(len(labels)))
    assert scores_differ(fitted.head, alone.head) < 0.02
    if noise <= 1e-2 and dim > 8 and scale != "standard":
        shown = (size * centres[:, None]).astype(np.float32)
        np.testing.assert_array_equal(fitted.predict(shown).argmax(axis=1), np.arange(classes))


def scores_differ(one: FittedHead, other: FittedHead) -> float:
    """The largest difference of the models before their temperature, as a share of their largest number."""
    assert isinstance(one, LinearModel)
    assert isinstance(other, LinearModel)
    pairs = [(one.coefficients, other.coefficients), (one.intercepts, other.intercepts)]
    temperature = other.chosen.get("temperature", 1.0)
    return max(float(np.abs(a - temperature * b).max() / (np.abs(a).max() or 1)) for a, b in pairs)


@pytest.mark.parametrize("name", ["lda", "ridge"])
def test_what_moments_cannot_tell_is_fitted_on_the_rows(name: str) -> None:
    vectors, labels = make_vectors()
    head = make_head(name, {})
    trainer = Trainer(head, vectors, labels)
    assert trainer.moment_path([head]) is None
    (line,) = trainer.fit_grid([head], subsets())
    (expected,) = one_by_one(trainer, [head])
    for fitted, alone in zip(line, expected, strict=True):
        assert largest_difference(fitted, alone, vectors) == 0


@pytest.mark.parametrize("scale", SCALES)
def test_images_that_a_set_leaves_out_change_nothing_fitted_from_moments(scale: str) -> None:
    vectors, labels = make_vectors()
    spoiled, renamed = vectors.copy(), labels.copy()
    spoiled[::5] = 1e4 * np.random.default_rng(1).normal(size=spoiled[::5].shape)
    renamed[::5] = (renamed[::5] + 1) % CLASSES
    grid = heads("lda", "shrinkage", [0.3])
    kept = [subsets()[0]]  # without 0, 5, 10 ... whose rows would carry the common origin away if it were a mean
    ((clean,),) = Trainer(grid[0], vectors, labels, scale=scale).fit_grid(grid, kept)
    ((other,),) = Trainer(grid[0], spoiled, renamed, scale=scale).fit_grid(grid, kept)
    assert largest_difference(clean, other, vectors) < 1e-4


def test_an_unknown_scaling_is_an_error_on_every_way() -> None:
    vectors, labels = make_vectors()
    for head in (make_head("lda", {"shrinkage": 0.3}), make_head("logreg", {}), make_head("cosine", {})):
        with pytest.raises(FrozenprobeError, match="name of a scaling"):
            Trainer(head, vectors, labels, scale="zscore").fit_grid([head], subsets())


# What every way shares


class Spy:
    """A head that keeps the rows it is given."""

    def __init__(self) -> None:
        self.given: list[TrainingRows] = []

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        self.given.append(rows)
        return LinearModel(np.zeros((rows.classes, rows.features.shape[1])), np.zeros(rows.classes))


@pytest.mark.parametrize(("scale", "mean", "size"), [("global", 0, 1), ("standard", 0, 1), ("none", None, None)])
def test_a_scaling_is_fitted_on_the_images_of_the_fit_alone(scale: str, mean: float | None, size: float | None) -> None:
    vectors, labels = make_vectors()
    spy = Spy()
    images = subsets()[0]
    Trainer(spy, vectors, labels, scale=scale).fit(images)
    rows = spy.given[0].features
    if mean is None:
        np.testing.assert_array_equal(rows, vectors[images].reshape(-1, DIM))
        return
    np.testing.assert_allclose(rows.mean(axis=0), mean, atol=1e-5)
    assert float(np.square(rows).mean()) == pytest.approx(size, rel=1e-5)


def test_answers_of_views_are_averaged_as_probabilities_or_as_their_logarithms() -> None:
    vectors, labels = make_vectors(noise=2.0)
    trainer = Trainer(make_head("lda", {"shrinkage": 0.3}), vectors, labels)
    arithmetic = trainer.fit(np.arange(COUNT))
    geometric = replace(trainer, geometric=True).fit(np.arange(COUNT))
    by_view = np.stack([arithmetic.predict(vectors[:, [view]]) for view in range(VIEWS)], axis=1)
    np.testing.assert_allclose(arithmetic.predict(vectors), by_view.mean(axis=1), atol=1e-9)
    product = by_view.prod(axis=1) ** (1 / VIEWS)
    np.testing.assert_allclose(geometric.predict(vectors), product / product.sum(axis=1, keepdims=True), atol=1e-9)


def test_a_view_that_excludes_a_class_leaves_it_the_least_of_the_geometric_mean() -> None:
    answers = np.array([[[1.0, 0.0], [0.5, 0.5]]])
    odds = (0.5 * LEAST) ** 0.5 / 0.5**0.5
    np.testing.assert_allclose(average_logs(answers), [[1, odds]], rtol=1e-9)


def test_tails_of_sure_answers_are_kept_so_that_a_temperature_can_soften_them() -> None:
    # a posterior that is a hundred times too sure: cut at 1e-30, all but the first class would look alike
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=400)
    logits = np.eye(5)[labels] + 0.7 * rng.normal(size=(400, 5))
    sure: npt.NDArray[np.float64] = 100 * (logits - logits.max(axis=1, keepdims=True))
    kept = np.log(np.maximum(np.exp(sure), LEAST))
    assert fit_temperature(kept, labels) == pytest.approx(fit_temperature(sure, labels), rel=1e-3)
    assert fit_temperature(np.maximum(sure, np.log(1e-30)), labels) < 0.7 * fit_temperature(sure, labels)


def test_classes_that_a_fit_has_not_seen_get_nothing_whatever_the_way() -> None:
    vectors, labels = make_vectors()
    images = subsets()[2]  # without class 0
    for head in (make_head("lda", {"shrinkage": 0.3}), make_head("logreg", {}), make_head("cosine", {})):
        for geometric in (False, True):
            trainer = Trainer(head, vectors, labels, total=CLASSES + 1, geometric=geometric)
            ((fitted,),) = trainer.fit_grid([head], [images])
            answers = fitted.predict(vectors)
            assert answers.shape == (COUNT, CLASSES + 1)
            assert (answers[:, [0, CLASSES]] == 0).all()
            np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-9)


def test_fit_all_tells_how_far_it_is_and_fits_what_fit_does() -> None:
    vectors, labels = make_vectors()
    told: list[int] = []
    trainer = Trainer(make_head("cosine", {}), vectors, labels)
    fits = trainer.fit_all(subsets(), told.append)
    assert told == [1, 2, 3, 4]
    assert largest_difference(fits[1], trainer.fit(subsets()[1]), vectors) == 0
    told.clear()
    assert len(replace(trainer, head=make_head("logreg", {})).fit_all(subsets(), told.append)) == 4
    assert told == [4]  # all at once


# Scaling and head fitted together, on weighted rows


def test_the_scaling_is_fitted_on_the_weighted_rows_and_applied_to_unseen_ones() -> None:
    rows = make_rows()
    fitted = fit_scaled(ShrinkageLdaHead(), rows, scale="standard", seed=0)
    mean = np.average(rows.features, axis=0, weights=rows.weight)
    np.testing.assert_allclose(fitted.scaling.shift, mean, atol=1e-6)
    unseen = rows.features[:4] + 1
    scaled = (unseen - mean) / rows.features.std(axis=0)
    np.testing.assert_allclose(fitted.predict(unseen[:, None]), fitted.head.probabilities(scaled), atol=1e-5)


def test_features_measured_in_other_units_change_no_answer() -> None:
    rows = make_rows()
    units = np.geomspace(1e-2, 1e2, rows.features.shape[1]).astype(np.float32)
    other = type(rows)(rows.features * units, rows.labels, rows.weight, rows.images)
    one = fit_scaled(ShrinkageLdaHead(), rows, scale="standard", seed=0).predict(rows.features[:, None])
    two = fit_scaled(ShrinkageLdaHead(), other, scale="standard", seed=0).predict(other.features[:, None])
    np.testing.assert_allclose(one, two, atol=1e-4)
