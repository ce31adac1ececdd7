"""Transductive answers: no label is seen, the objective never falls, Sinkhorn's marginals, skewed sets lose nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.checks import transductive
from frozenprobe.probe.checks.transductive import TransductiveSettings, balanced_assignment, link_neighbours, refine
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.stats.metrics import accuracy, log_loss

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
    """LDA's answers, softened: with so few images it is far too sure."""
    answers = ShrinkageLdaHead(0.3).fit(rows, seed=0).probabilities(features)
    return softmax(np.log(np.maximum(answers, 1e-15)) / temperature)


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

    def answer(labels: Ints, features: Floats) -> Doubles:
        inside, outside = fold == held, fold != held
        training = TrainingRows(features[outside], labels[outside], rows.weight[outside], rows.images[outside])
        return refine(lda(training, features[inside]), features[inside], training).probabilities

    reference = answer(rows.labels, rows.features)
    wrong = np.where(fold == held, (rows.labels + 1) % CLASSES, rows.labels)
    np.testing.assert_array_equal(answer(wrong, rows.features), reference)
    poisoned = rows.features.copy()
    last = np.flatnonzero(fold == held)[-1]
    poisoned[last] = poisoned[np.flatnonzero(fold == held)[0]]
    assert np.abs(answer(rows.labels, poisoned)[:-1] - reference[:-1]).max() > 1e-4  # said, since it is so


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
    answer = refine(lda(rows, features), features, rows, replace(settings, tolerance=1e-5))
    rises = np.diff(answer.objective)
    assert len(rises) >= (0 if settings.trust == 1 else 3)
    assert (rises >= -1e-9 * np.abs(answer.objective[-1])).all(), rises.min()


def test_without_head_and_graph_it_is_em_of_the_mixture() -> None:
    rows, features, _ = make_set(1)
    settings = TransductiveSettings(trust=0, smoothing=0, weight=0.5, inertia=1, tolerance=1e-9)
    answer = refine(lda(rows, features, 1.0), features, rows, settings)
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
    for _ in range(answer.iterations):
        mass = responsibility.sum(axis=0)
        means = (counts[:, None] * labelled + 0.5 * responsibility.T @ z) / (counts + 0.5 * mass)[:, None]
        shares = (len(z) / CLASSES + mass) / (2 * len(z))
        away = z[:, None] - means
        responsibility = softmax(np.log(shares) - np.einsum("ncd,de,nce->nc", away, inverse, away) / 2)
    np.testing.assert_allclose(answer.probabilities, responsibility, atol=1e-5)
    # and at the end F is the penalised log-likelihood, up to what does not depend on means and shares
    away = z[:, None] - means
    density = np.log(shares) - np.einsum("ncd,de,nce->nc", away, inverse, away) / 2
    likelihood = np.log(np.exp(density).sum(axis=1)).sum() + np.einsum("nd,de,ne->", z, inverse, z) / 2
    pull = np.einsum("c,cd,de,ce->", counts, means - labelled, inverse, means - labelled)
    objective = likelihood + len(z) * np.log(shares).mean() - pull
    centre = labelled.mean(axis=0)  # the module measures from here
    shift = np.einsum("nd,de,ne->", z - centre, inverse, z - centre) / 2 - np.einsum("nd,de,ne->", z, inverse, z) / 2
    assert answer.objective[-1] == pytest.approx(objective + shift, rel=1e-5)


def test_the_graph_is_the_normalised_one_of_a_naive_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transductive, "BLOCK", 4)  # several blocks
    points = np.random.default_rng(0).normal(size=(23, 5))
    cosine = points @ points.T / np.outer(*2 * [np.linalg.norm(points, axis=1)])
    np.fill_diagonal(cosine, -np.inf)
    chosen = np.zeros((23, 23))
    for image in range(23):
        for other in np.argsort(-cosine[image])[:3]:
            chosen[image, other] = max(cosine[image, other], 0)
    both = chosen + chosen.T
    naive = both / np.sqrt(np.outer(both.sum(axis=1), both.sum(axis=0)))
    graph = link_neighbours(points, 10, neighbours=3)
    np.testing.assert_allclose(graph.average(np.eye(23)), naive[:10], atol=1e-6)
    np.testing.assert_allclose(graph.average(np.eye(23)[:10]), naive[:10] @ np.eye(23)[:, :23] * (np.arange(23) < 10))
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
    answer = refine(sure, features, rows)
    assert answer.converged
    assert answer.probabilities.shape == (count, CLASSES)
    np.testing.assert_allclose(answer.probabilities.sum(axis=1), 1)


def test_it_says_what_it_used_and_when_it_gave_up() -> None:
    rows, features, _ = make_set(6)
    answer = refine(lda(rows, features), features, rows)
    assert answer.converged
    assert f"{len(features)} unlabelled images" in answer.description
    hasty = refine(lda(rows, features), features, rows, TransductiveSettings(max_iter=1))
    assert not hasty.converged
    assert "NOT converged" in hasty.description


def test_full_strength_gives_exactly_the_priors_shares() -> None:
    rng = np.random.default_rng(0)
    answers, prior = rng.dirichlet(np.full(6, 0.5), size=50), rng.dirichlet(np.full(6, 5.0))
    result = balanced_assignment(answers, prior, strength=1, tolerance=1e-10)
    assert result.converged
    np.testing.assert_allclose(result.probabilities.mean(axis=0), prior, rtol=1e-6)
    np.testing.assert_allclose(result.probabilities.sum(axis=1), 1)
    # the answers times a factor an image and a factor a class, as Sinkhorn's theorem wants it
    factors = np.log(result.probabilities / answers)
    factors -= factors.mean(axis=0)
    np.testing.assert_allclose(factors - factors.mean(axis=1, keepdims=True), 0, atol=1e-6)


def test_partial_strength_is_the_optimum_of_the_relaxed_problem() -> None:
    rng = np.random.default_rng(1)
    answers, prior = rng.dirichlet(np.ones(4), size=20), np.array([0.7, 0.1, 0.1, 0.1])
    strength = 0.6
    found = balanced_assignment(answers, prior, strength=strength, tolerance=1e-12).probabilities

    def cost(shared: Doubles) -> float:
        shares = shared.mean(axis=0)
        relaxed = strength / (1 - strength) * len(shared) * (shares * np.log(shares / prior)).sum()
        return float((shared * np.log(shared / answers)).sum() + relaxed)

    for _ in range(50):
        other = softmax(np.log(found) + 0.05 * rng.normal(size=found.shape))
        assert cost(other) > cost(found)


def test_no_strength_leaves_the_answers_and_more_moves_them_further() -> None:
    rng = np.random.default_rng(2)
    answers, prior = rng.dirichlet(np.ones(5), size=30), np.array([0.6, 0.1, 0.1, 0.1, 0.1])
    shares = [
        balanced_assignment(answers, prior, strength=strength).probabilities.mean(axis=0)[0]
        for strength in (0, 0.3, 0.7, 1)
    ]
    np.testing.assert_allclose(balanced_assignment(answers, prior, strength=0).probabilities, answers, atol=1e-12)
    assert np.all(np.diff(shares) > 0.01)


def test_sinkhorn_says_when_it_gave_up() -> None:
    answers = np.random.default_rng(3).dirichlet(np.full(5, 0.1), size=30)
    assert not balanced_assignment(answers, np.full(5, 0.2), strength=1, max_iter=1).converged


def test_balance_helps_a_balanced_set_and_is_off_unless_asked_for() -> None:
    rows, features, truth = make_set(7)
    before = lda(rows, features)
    plain, balanced = (refine(before, features, rows, TransductiveSettings(balance=value)) for value in (0, 1))
    np.testing.assert_allclose(balanced.probabilities.mean(axis=0), 1 / CLASSES, atol=1e-4)
    assert np.ptp(plain.probabilities.mean(axis=0)) > 0.01
    assert accuracy(balanced.probabilities, truth) > accuracy(plain.probabilities, truth)
    assert "moved towards the prior" in balanced.description
    assert "prior" not in plain.description


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trust", 1.1),
        ("balance", -0.1),
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
