"""The heads as scikit-learn classifiers: its own checks, its pipelines and folds, and the same answers as the probe."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import frozenprobe
from frozenprobe.probe import crossval, estimators
from frozenprobe.probe.estimators import NAMES, ProbeClassifier, estimator_class, hyper_parameters, make_rows
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.options import ProbeOptions
from tests.conftest import MakeFeatures

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Trained for moments only; every other head with its defaults.
SHORT: dict[str, dict[str, Any]] = {
    "linear": {"epochs": 30, "lr": 0.1},
    "mlp": {"epochs": 30, "lr": 0.02, "hidden": 32},
}


def make(head: str, **given: Any) -> ProbeClassifier:
    return estimator_class(head)(**(SHORT.get(head, {}) | given))


@parametrize_with_checks([make(head) for head in HEADS])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def blobs(images: int = 24, views: int = 3, *, noise: float = 0.5, seed: int = 0) -> tuple[Floats, Ints, Ints]:
    """Rows view by view (an image's rows are not adjacent), their labels and images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    centres = np.random.default_rng(99).normal(size=(3, 8))
    image = centres[labels] + noise * rng.normal(size=(images, 8))
    rows = image + 0.1 * rng.normal(size=(views, images, 8))
    return rows.reshape(-1, 8).astype(np.float32), np.tile(labels, views), np.tile(np.arange(images), views)


# What they are


def test_every_head_is_a_public_classifier() -> None:
    for name, head in NAMES.items():
        assert getattr(frozenprobe, name) is estimator_class(head)
        assert name == type(make(head)).__name__
        assert type(make(head)).__doc__.count("\n") > 3  # type: ignore[union-attr]
    assert set(NAMES.values()) == set(HEADS)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = estimators.Nothing


@pytest.mark.parametrize("head", HEADS)
def test_the_parameters_are_the_heads_and_the_shared_ones(head: str) -> None:
    expected = hyper_parameters(head) | {"scale": HEADS[head].scale, "class_weight": None, "random_state": 0}
    assert estimator_class(head)().get_params() == expected
    with pytest.raises(TypeError, match="nonsense"):
        estimator_class(head)(nonsense=1)


@pytest.mark.parametrize("head", HEADS)
def test_a_value_out_of_range_is_kept_until_fit_refuses_it(head: str) -> None:
    X, y, _ = blobs()
    for name in hyper_parameters(head):
        estimator = clone(make(head, **{name: -1}))
        assert estimator.get_params()[name] == -1
        with pytest.raises(ValueError, match=name.replace("_", "-")):
            estimator.fit(X, y)


def test_other_values_that_fit_refuses() -> None:
    X, y, images = blobs()
    for parameters, said in (({"scale": "nonsense"}, "nonsense"), ({"class_weight": "nonsense"}, "balanced")):
        with pytest.raises(ValueError, match=said):
            make("lda", **parameters).fit(X, y)
    with pytest.raises(ValueError, match="from 0 on"):
        make("lda").fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="inconsistent"):
        make("lda").fit(X, y, groups=images[:-1])
    with pytest.raises(ValueError, match="One label an image"):
        make("lda").fit(X, y, groups=np.arange(len(y)) // 2)


def test_more_images_than_the_head_can_take_are_refused_before_any_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, images = blobs()
    count = len(np.unique(images))
    monkeypatch.setitem(HEADS, "kernel", replace(HEADS["kernel"], most_images=count))
    make("kernel").fit(X, y, groups=images)
    monkeypatch.setattr(estimators, "fit_scaled", lambda *given, **more: pytest.fail("work before the refusal"))
    with pytest.raises(ValueError, match=f"At most {count} training images"):
        make("kernel").fit(X, y)  # without groups every row is an image


@pytest.mark.parametrize("head", HEADS)
def test_labels_of_any_type_and_a_copy_by_pickle(head: str) -> None:
    X, y, images = blobs()
    names = np.array(["pear", "10", "2"])[y]
    by_name, by_object, by_number = (
        make(head).fit(X, labels, groups=images) for labels in (names, names.astype(object), 5.0 + y)
    )
    assert by_name.classes_.tolist() == ["10", "2", "pear"]
    assert set(by_name.predict(X)) <= set(names)
    np.testing.assert_array_equal(by_name.predict(X), by_object.predict(X))
    assert by_number.classes_.tolist() == [5, 6, 7]
    again = pickle.loads(pickle.dumps(by_name))
    np.testing.assert_array_equal(again.predict_proba(X), by_name.predict_proba(X))


def test_iterations_are_told_only_where_there_are_some() -> None:
    X, y, _ = blobs()
    assert make("linear", epochs=7).fit(X, y).n_iter_ == 7
    assert make("logreg").fit(X, y).n_iter_ > 1
    for head in ("lda", "cosine", "knn"):
        assert not hasattr(make(head).fit(X, y), "n_iter_")


def test_decisions_are_log_probabilities_and_log_odds() -> None:
    X, y, _ = blobs()
    three, two = make("lda").fit(X, y), make("lda").fit(X, y > 0)
    np.testing.assert_allclose(np.exp(three.decision_function(X)), three.predict_proba(X), atol=1e-12)
    odds = np.exp(two.decision_function(X))
    np.testing.assert_allclose(odds / (1 + odds), two.predict_proba(X)[:, 1], atol=1e-12)
    far = make("lda").fit(1e3 * X, y, groups=None).decision_function(1e5 * X)
    assert np.isfinite(far).all()


# The same answers as the probe


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.usefixtures("no_fsync")
def test_it_fits_what_the_probe_fits(head: str, class_weight: str | None, make_features: MakeFeatures) -> None:
    features = make_features(classes=3, per_class=5, labels=[0] * 3 + [1] * 5 + [2] * 7, noise=1.5)
    settings = SHORT.get(head, {})
    options = ProbeOptions(head=head, settings=settings, folds=3, test_views=("clean",), class_weight=class_weight)
    result = crossval.cross_validate(features, options)
    augmented = range(len(features.test_views), len(features.views))
    views = [*augmented] if HEADS[head].augmented_only else [0, *augmented]
    vectors, clean = features.read("train", views), features.read("train", [0])[:, 0]
    for fold in range(3):
        kept = np.flatnonzero(result.folds != fold)
        rows = vectors[kept].transpose(1, 0, 2).reshape(-1, features.dim)  # view by view
        estimator = make(head, class_weight=class_weight)
        estimator.fit(rows, np.tile(result.labels[kept], len(views)), groups=np.tile(kept, len(views)))
        held = result.folds == fold
        close = 4e-3 if head == "logreg" else 1e-6  # it stops within 1e-5 of the optimum, alone or side by side
        np.testing.assert_allclose(estimator.predict_proba(clean[held]), result.oof[held], atol=close)


# Rows, weights and images


@pytest.mark.parametrize("head", HEADS)
def test_a_row_of_weight_zero_is_as_if_absent(head: str) -> None:
    X, y, images = blobs()
    weight = np.where((images == 4) | (y == 1), 0.0, 1.0)
    kept = weight > 0
    weighted = make(head).fit(X, y, sample_weight=weight, groups=images)
    without = make(head).fit(X[kept], y[kept], groups=images[kept])
    assert weighted.classes_.tolist() == [0, 2]
    np.testing.assert_array_equal(weighted.predict_proba(X), without.predict_proba(X))


@pytest.mark.parametrize("head", HEADS)
def test_without_groups_the_order_of_rows_changes_no_bit(head: str) -> None:
    X, y, _ = blobs(noise=2)
    order = np.random.default_rng(0).permutation(len(y))
    one, other = make(head).fit(X, y), make(head).fit(X[order], y[order])
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_equal_rows_are_one_image_that_weighs_as_many() -> None:
    features = np.array([[1, 2], [0, 1], [1, 2], [-0.0, 1], [1, 2]], dtype=np.float32)
    rows = make_rows(features, np.array([0, 1, 0, 1, 1]), np.array([1.0, 2, 3, 4, 5]), None)
    found = {(*row, label): w for row, label, w in zip(rows.features.tolist(), rows.labels, rows.weight, strict=True)}
    assert found == {(1, 2, 0): 4, (0, 1, 1): 6, (1, 2, 1): 5}
    assert rows.images.tolist() == [0, 1, 2]


def test_groups_bring_the_rows_of_an_image_together_and_share_its_weight() -> None:
    features = np.arange(6, dtype=np.float32)[:, None]
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    rows = make_rows(features, np.array([1, 0, 1, 0, 0, 1]), np.array([3.0, 1, 3, 1, 1, 3]), groups)
    assert rows.features[:, 0].tolist() == [1, 4, 0, 2, 5, 3]  # in the order of the views, as they were given
    assert rows.images.tolist() == [0, 0, 1, 1, 1, 2]
    assert rows.labels.tolist() == [0, 0, 1, 1, 1, 0]
    assert rows.weight.tolist() == [0.5, 0.5, 1, 1, 1, 1]


def test_class_weights_by_name_and_balanced_ones_agree() -> None:
    X, y, _ = blobs()
    y = np.array(["a", "b", "c"])[np.where(np.arange(len(y)) < 20, 0, y)]
    classes, counts = np.unique(y, return_counts=True)
    by_name = dict(zip(classes, len(y) / (3 * counts), strict=True))
    one, other = make("lda", class_weight="balanced").fit(X, y), make("lda", class_weight=by_name).fit(X, y)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)
    assert np.abs(one.predict_proba(X) - make("lda").fit(X, y).predict_proba(X)).max() > 1e-3


def test_a_random_state_decides() -> None:
    X, y, _ = blobs(noise=2)
    first, same, other = (make("report", random_state=state).fit(X, y).predict_proba(X) for state in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    drawn = [make("report", random_state=np.random.RandomState(7)).fit(X, y).predict_proba(X) for _ in range(2)]
    np.testing.assert_array_equal(*drawn)


# In scikit-learn's company


@pytest.mark.parametrize("head", ["lda", "logreg", "cosine"])
def test_a_pipeline_and_a_grid_over_grouped_folds(head: str) -> None:
    X, y, images = blobs()
    pipeline = Pipeline([("scale", StandardScaler()), ("head", make(head, scale="none"))])
    scores = cross_validate(pipeline, X, y, groups=images, cv=GroupKFold(4), params={"head__groups": images})
    assert scores["test_score"].mean() > 0.8
    name, values = {
        "lda": ("shrinkage", [0.1, 0.9]),
        "logreg": ("c", [0.1, 10.0]),
        "cosine": ("temperature", [0.1, 1]),
    }[head]
    name = f"head__{name}"
    grid = GridSearchCV(pipeline, {name: values}, cv=GroupKFold(4), scoring="neg_log_loss").fit(X, y, groups=images)
    alone = [
        cross_val_score(
            clone(pipeline).set_params(**{name: value}), X, y, groups=images, cv=GroupKFold(4), scoring="neg_log_loss"
        ).mean()
        for value in values
    ]
    np.testing.assert_allclose(grid.cv_results_["mean_test_score"], alone)
    assert abs(alone[0] - alone[1]) > 1e-3  # the value reaches the head
    assert grid.best_params_ == {name: values[int(np.argmax(alone))]}
    assert grid.best_estimator_.get_params()[name] == grid.best_params_[name]


def test_groups_reach_folds_and_fit_by_metadata_routing() -> None:
    X, y, images = blobs()
    seen = []

    class Spy(estimator_class("lda")):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Any:
            seen.append(groups)
            return super().fit(X, y, sample_weight, groups)

    with config_context(enable_metadata_routing=True):
        spy = Spy().set_fit_request(groups=True, sample_weight=False)
        pipeline = Pipeline([("scale", StandardScaler()), ("head", spy)])
        cross_validate(pipeline, X, y, cv=GroupKFold(4), params={"groups": images})
    assert len(seen) == 4
    for groups in seen:
        assert len(np.unique(groups)) == 18
        assert (np.bincount(groups)[np.unique(groups)] == 3).all()  # whole images


@pytest.mark.parametrize("head", ["knn", "cosine", "lda"])
def test_grouped_folds_score_labels_of_chance_at_chance(head: str) -> None:
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(60), 4)
    X = rng.normal(size=(60, 300))[image] + 0.05 * rng.normal(size=(240, 300))
    y = rng.integers(3, size=60)[image]

    def accuracy(cv: Any, **split: Any) -> float:
        answers = cross_val_predict(make(head), X, y, cv=cv, params={"groups": image}, **split)
        return float((answers == y).mean())

    assert accuracy(GroupKFold(5), groups=image) < 0.5
    assert accuracy(KFold(5, shuffle=True, random_state=0)) > 0.7  # what views on both sides would make of it


def test_what_is_fitted_by_leaving_out_leaves_out_the_whole_image() -> None:
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(60), 4)
    X = rng.normal(size=(60, 30))[image] + 0.05 * rng.normal(size=(240, 30))
    y = rng.integers(3, size=60)[image]
    grouped, alone = make("cosine").fit(X, y, groups=image), make("cosine").fit(X, y)
    assert grouped.probe_.head.temperature > 3 * alone.probe_.head.temperature  # labels of chance deserve no confidence
    assert grouped.predict_proba(X).max() < 0.6
