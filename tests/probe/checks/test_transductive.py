"""Transductive predictions: no label is seen, the objective never falls, skewed sets lose nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.checks import transductive
from frozenprobe.probe.checks.transductive import TransductiveSettings, link_neighbours, refine
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.lda import fit_moments
from frozenprobe.probe.heads.parts.moments import moments_of
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.summary import render, summarise
from frozenprobe.probe.stats.metrics import accuracy, log_loss
from tests.conftest import MakeFeatures

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CLASSES, DIM, LABELLED = 12, 30, 3


def make_set(seed: int, counts: Ints | int = 15, classes: int = CLASSES) -> tuple[TrainingRows, Floats, Ints]:
    """Overlapping classes with few labelled images in two views, and `counts` unlabelled images of each class."""
    rng = np.random.default_rng([seed, 7])
    centres = 0.75 * rng.normal(size=(classes, DIM))
    labels = np.repeat(np.arange(classes), LABELLED)
    images = centres[labels] + rng.normal(size=(len(labels), DIM))
    views = images[:, None] + 0.2 * rng.normal(size=(len(labels), 2, DIM))
    rows = TrainingRows(
        views.reshape(-1, DIM).astype(np.float32),
        np.repeat(labels, 2),
        np.full(2 * len(labels), 0.5),
        np.repeat(np.arange(len(labels)), 2),
    )
    truth = np.repeat(np.arange(classes), counts)
    unlabelled = centres[truth] + rng.normal(size=(len(truth), DIM))
    return rows, unlabelled.astype(np.float32), truth


def lda(rows: TrainingRows, features: Floats, temperature: float = 2.0) -> Doubles:
    """LDA's posterior, softened: with so few images it is far too sure."""
    (model,) = fit_moments(moments_of(rows, np.ones(len(rows.labels), dtype=bool)), [0.3])
    probabilities = model.probabilities(features)
    return softmax(np.log(np.maximum(probabilities, 1e-15)) / temperature)


def zipf(seed: int) -> Ints:
    """Images of each class, from 30 down to 2, classes in a drawn order."""
    return np.random.default_rng(seed).permutation(np.maximum(30 // np.arange(1, CLASSES + 1), 2))


def few(seed: int) -> Ints:
    """Two of the classes only."""
    return np.random.default_rng(seed).permutation([20, 20] + [0] * (CLASSES - 2))


@pytest.mark.parametrize("kind", ["balanced", "zipf", "few"])
def test_it_is_more_accurate_than_the_head_alone_whatever_the_shares(kind: str) -> None:
    gains, losses = [], []
    for seed in range(6):
        counts = {"balanced": 15, "zipf": zipf(seed), "few": few(seed)}[kind]
        rows, features, truth = make_set(seed, counts)
        before = lda(rows, features)
        after = refine(before, features, rows).probabilities
        gains.append(accuracy(after, truth) - accuracy(before, truth))
        losses.append(log_loss(after, truth) - log_loss(before, truth))
    assert np.mean(gains) > 0.02, gains
    assert np.mean(losses) < -0.05, losses


@pytest.mark.parametrize("held", range(3))
def test_labels_of_held_out_images_change_no_answer_of_their_fold_but_their_features_do(held: int) -> None:
    rows, _, _ = make_set(0)
    fold = rows.images % LABELLED

    def predict(labels: Ints, features: Floats) -> Doubles:
        inside, outside = fold == held, fold != held
        training = TrainingRows(features[outside], labels[outside], rows.weight[outside], rows.images[outside])
        return refine(lda(training, features[inside]), features[inside], training).probabilities

    reference = predict(rows.labels, rows.features)
    wrong = np.where(fold == held, (rows.labels + 1) % CLASSES, rows.labels)
    np.testing.assert_array_equal(predict(wrong, rows.features), reference)
    poisoned = rows.features.copy()
    last = np.flatnonzero(fold == held)[-1]
    poisoned[last] = poisoned[np.flatnonzero(fold == held)[0]]
    assert np.abs(predict(rows.labels, poisoned)[:-1] - reference[:-1]).max() > 1e-4  # said, since it is so


SETTINGS = [
    TransductiveSettings(),
    TransductiveSettings(trust=0, smoothing=0, weight=1, inertia=0.1),
    TransductiveSettings(trust=0.2, smoothing=20, neighbours=2, weight=3, inertia=0.01),
    TransductiveSettings(trust=1, weight=0),
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_falls(seed: int, settings: TransductiveSettings) -> None:
    rows, features, _ = make_set(seed, zipf(seed))
    found = refine(lda(rows, features), features, rows, replace(settings, tolerance=1e-5))
    rises = np.diff(found.objective)
    assert len(rises) >= (0 if settings.trust == 1 else 3)
    assert (rises >= -1e-9 * np.abs(found.objective[-1])).all(), rises.min()


def test_without_head_and_graph_it_is_em_of_the_mixture() -> None:
    rows, features, _ = make_set(1)
    settings = TransductiveSettings(trust=0, smoothing=0, weight=0.5, inertia=1, tolerance=1e-9)
    found = refine(lda(rows, features, 1.0), features, rows, settings)
    # the plain loop, with densities of scipy's kind: N(x; m, temperature x Sigma), full covariance, no whitening
    x, z = rows.features.astype(float), features.astype(float)
    counts = np.full(CLASSES, float(LABELLED))
    labelled = np.stack([x[rows.labels == c].mean(axis=0) for c in range(CLASSES)])
    centred = x - labelled[rows.labels]
    scatter = centred.T @ centred / len(x)
    inverse = np.linalg.inv(0.7 * scatter + 0.3 * np.trace(scatter) / DIM * np.eye(DIM))
    problem = transductive.make_problem(lda(rows, features, 1.0), features, rows, settings)
    inverse *= problem.sharpness
    shares, means = counts / counts.sum(), labelled
    responsibility = lda(rows, features, 1.0)
    for _ in range(found.iterations):
        mass = responsibility.sum(axis=0)
        means = (counts[:, None] * labelled + 0.5 * responsibility.T @ z) / (counts + 0.5 * mass)[:, None]
        shares = (len(z) / CLASSES + mass) / (2 * len(z))
        away = z[:, None] - means
        responsibility = softmax(np.log(shares) - np.einsum("ncd,de,nce->nc", away, inverse, away) / 2)
    np.testing.assert_allclose(found.probabilities, responsibility, atol=1e-5)
    # and at the end F is the penalised log-likelihood, up to what does not depend on means and shares
    away = z[:, None] - means
    density = np.log(shares) - np.einsum("ncd,de,nce->nc", away, inverse, away) / 2
    likelihood = np.log(np.exp(density).sum(axis=1)).sum() + np.einsum("nd,de,ne->", z, inverse, z) / 2
    pull = np.einsum("c,cd,de,ce->", counts, means - labelled, inverse, means - labelled)
    objective = likelihood + len(z) * np.log(shares).mean() - pull
    centre = labelled.mean(axis=0)  # the module measures from here
    shift = np.einsum("nd,de,ne->", z - centre, inverse, z - centre) / 2 - np.einsum("nd,de,ne->", z, inverse, z) / 2
    assert found.objective[-1] == pytest.approx(objective + shift, rel=1e-5)


def test_the_graph_is_the_normalised_one_of_a_naive_loop() -> None:
    points = np.random.default_rng(0).normal(size=(23, 5))
    cosine = points @ points.T / np.outer(*2 * [np.linalg.norm(points, axis=1)])
    np.fill_diagonal(cosine, -np.inf)
    chosen = np.zeros((23, 23))
    for image in range(23):
        for other in np.argsort(-cosine[image])[:3]:
            chosen[image, other] = max(cosine[image, other], 0)
    both = chosen + chosen.T
    naive = both / np.sqrt(np.outer(both.sum(axis=1), both.sum(axis=0)))
    np.testing.assert_allclose(link_neighbours(points, neighbours=3).toarray(), naive, atol=1e-6)
    assert np.abs(np.linalg.eigvalsh(naive)).max() <= 1 + 1e-9


def test_the_order_of_images_and_classes_changes_no_answer() -> None:
    rows, features, _ = make_set(2)
    before = lda(rows, features)
    reference = refine(before, features, rows).probabilities
    rng = np.random.default_rng(0)
    order, renamed = rng.permutation(len(features)), rng.permutation(CLASSES)
    shuffled = refine(before[order], features[order], rows).probabilities
    np.testing.assert_allclose(shuffled, reference[order], atol=1e-5)
    back = np.argsort(renamed)
    other = TrainingRows(rows.features, renamed[rows.labels], rows.weight, rows.images)
    np.testing.assert_allclose(refine(before[:, back], features, other).probabilities, reference[:, back], atol=1e-5)


def test_equal_views_that_share_a_weight_change_nothing() -> None:
    rows, features, _ = make_set(3)
    twice = TrainingRows(
        np.repeat(rows.features, 2, axis=0),
        np.repeat(rows.labels, 2),
        np.repeat(rows.weight / 2, 2),
        np.repeat(rows.images, 2),
    )
    before = lda(rows, features)
    one, other = (refine(before, features, each).probabilities for each in (rows, twice))
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_the_mixture_is_as_sure_as_the_head() -> None:
    rows, features, _ = make_set(4)
    sharp = [
        transductive.make_problem(lda(rows, features, temperature), features, rows, TransductiveSettings()).sharpness
        for temperature in (1.0, 1.5, 2.0)
    ]
    np.testing.assert_allclose(sharp, [1, 2 / 3, 1 / 2], rtol=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_unlabelled_images_zeros_and_sure_answers_stay_finite(count: int) -> None:
    rows, features, _ = make_set(5)
    features = np.vstack([np.zeros((1, DIM), dtype=np.float32), features])[:count]
    sure = np.eye(CLASSES)[:count]
    found = refine(sure, features, rows)
    assert found.converged
    assert found.probabilities.shape == (count, CLASSES)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


def test_it_says_what_it_used_and_when_it_gave_up() -> None:
    rows, features, _ = make_set(6)
    found = refine(lda(rows, features), features, rows)
    assert found.converged
    assert f"{len(features)} unlabelled images" in found.description
    hasty = refine(lda(rows, features), features, rows, TransductiveSettings(max_iter=1))
    assert not hasty.converged
    assert "NOT converged" in hasty.description


LDA = ProbeOptions("lda", {"shrinkage": 0.3}, transductive=True)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[TrainingRows]:
    """Collects the labelled rows that each set of images is refined with."""
    rows: list[TrainingRows] = []

    def watch(probabilities: Doubles, features: Floats, labelled: TrainingRows) -> transductive.Refined:
        assert features.shape == (len(probabilities), labelled.features.shape[1])
        rows.append(labelled)
        return refine(probabilities, features, labelled)

    monkeypatch.setattr(transductive, "refine", watch)
    return rows


def test_the_class_weight_of_the_options_weighs_the_labelled_images(
    make_features: MakeFeatures, seen: list[TrainingRows]
) -> None:
    features = make_features(classes=3, labels=[0] * 12 + [1] * 6 + [2] * 3, noise=1.5)
    cross_validate(features, replace(LDA, class_weight="balanced", folds=3))
    for rows in seen:
        np.testing.assert_allclose(np.bincount(rows.labels, weights=rows.weight), rows.weight.sum() / 3)
    seen.clear()
    cross_validate(features, replace(LDA, folds=3))
    np.testing.assert_allclose(np.bincount(seen[-1].labels, weights=seen[-1].weight), [12, 6, 3])


def test_the_scaling_of_the_options_scales_the_labelled_images(
    make_features: MakeFeatures, seen: list[TrainingRows]
) -> None:
    features = make_features(noise=1.5)
    stored = features.read("train", range(len(features.views)))
    cross_validate(features, replace(LDA, scale="none"))
    np.testing.assert_array_equal(seen[-1].features, stored.reshape(-1, features.dim))
    cross_validate(features, replace(LDA, scale="l2"))
    np.testing.assert_allclose(np.linalg.norm(seen[-1].features, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", ["global", "none"])
def test_clean_views_alone_take_part_where_the_options_say_so(scale: str, make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5)
    found = cross_validate(features, replace(LDA, aggregate="clean", scale=scale))
    alone = cross_validate(features, replace(LDA, views=0, test_views=("clean",), scale=scale))
    np.testing.assert_allclose(found.oof, alone.oof, atol=1e-12)
    np.testing.assert_allclose(found.test, alone.test, atol=1e-12)


def test_views_that_are_averaged_make_one_row_an_image(make_features: MakeFeatures, seen: list[TrainingRows]) -> None:
    features = make_features(noise=1.5)
    cross_validate(features, replace(LDA, aggregate="mean"))
    assert [len(rows.features) for rows in seen] == [len(np.unique(rows.images)) for rows in seen]
    cross_validate(features, ProbeOptions(budget=0.0, transductive=True))  # auto leaves open what it chooses
    assert len(seen[-1].features) == 24 * len(features.views)


def test_there_is_nothing_before_a_temperature_that_came_first(make_features: MakeFeatures) -> None:
    features = make_features(noise=1.5)
    plain, refined = (
        summarise(cross_validate(features, replace(LDA, calibrate=True, transductive=each))) for each in (False, True)
    )
    assert "before the temperature" in render(plain)
    assert refined["before_temperature"] is None
    assert "before the temperature" not in render(refined)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trust", 1.1),
        ("smoothing", float("nan")),
        ("weight", -1),
        ("weight", float("inf")),
        ("weight", float("nan")),
        ("inertia", 0),
        ("neighbours", 0),
        ("shrinkage", 0),
        ("max_iter", 0),
        ("tolerance", 0),
    ],
)
def test_a_setting_out_of_range_is_an_error_that_names_it(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        TransductiveSettings(**{name: value})
    assert name in caught.value.wanted
