"""Objective, gradient and Hessian of many problems at once, against naive float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg import sums
from frozenprobe.probe.heads.logreg.problems import LogisticProblems, scale_intercepts
from frozenprobe.probe.heads.logreg.sums import Operand
from frozenprobe.system import threads as pool

Doubles = npt.NDArray[np.float64]


def make_rows(classes: int = 4, images: int = 6, views: int = 3, dim: int = 5, seed: int = 0) -> TrainingRows:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    centres = rng.normal(size=(classes, dim))[labels] + rng.normal(size=(len(labels), dim))
    features = np.repeat(centres, views, axis=0) + 0.2 * rng.normal(size=(len(labels) * views, dim))
    images = np.repeat(np.arange(len(labels)), views)
    return TrainingRows(features.astype(np.float32), np.repeat(labels, views), np.ones(len(images)), images)


def make_weights(rows: TrainingRows, seed: int = 0) -> list[Doubles]:
    """All rows; some images held out; a class without any weight."""
    rng = np.random.default_rng(seed)
    some = np.where(rows.images % 3 == 0, 0.0, rng.uniform(0.5, 2, len(rows.labels)))
    return [np.full(len(rows.labels), 1 / 3), some, np.where(rows.labels == 1, 0.0, 0.7)]


def naive(features: Doubles, labels: npt.NDArray[np.int64], weight: Doubles, at: Doubles, c: float) -> float:
    """F, row by row."""
    total = 0.0
    for x, label, w in zip(features, labels, weight, strict=True):
        if w:
            scores = at @ np.append(x, 1.0)
            total += w * (np.log(np.exp(scores).sum()) - scores[label])
    return c * total + float((at[:, :-1] ** 2).sum()) / 2


def centred(problems: LogisticProblems, each: Operand) -> Doubles:
    """The weights of a problem as they are for features that are not centred."""
    at = each.at.astype(np.float64)
    at[:, -1] -= at[:, :-1] @ problems.centres[each.problem]
    return at


def points(problems: LogisticProblems, seed: int = 1) -> list[Operand]:
    rng = np.random.default_rng(seed)
    return [
        Operand(number, 0.5 + number, rng.normal(size=(len(own), 6)).astype(np.float32))
        for number, own in enumerate(problems.classes)
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [5, 16384])
def test_objective_and_gradient_are_those_of_finite_differences(
    threads: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "thread_count", lambda: threads)
    monkeypatch.setattr(sums, "THREAD_ROWS", size)
    monkeypatch.setattr(sums, "BLOCK", 0)
    monkeypatch.setattr(sums, "ALONE", 0)
    rows = make_rows()
    weights = make_weights(rows)
    problems = LogisticProblems.of(rows, weights)
    operands = points(problems)
    for each, (objective, gradient) in zip(operands, problems.evaluate(problems.full, operands), strict=True):
        own = problems.classes[each.problem]
        keep = np.isin(rows.labels, own)
        data = rows.features[keep].astype(np.float64), np.searchsorted(own, rows.labels[keep])

        def objective_at(at: Doubles, each: Operand = each, data: object = data, keep: object = keep) -> float:
            plain = centred(problems, Operand(each.problem, each.c, at))
            return naive(*data, weights[each.problem][keep], plain, each.c)  # type: ignore[misc, call-overload]

        at = each.at.astype(np.float64)
        assert objective == pytest.approx(objective_at(at), rel=1e-6)
        for index in np.ndindex(at.shape):
            step = np.zeros_like(at)
            step[index] = 1e-5
            slope = (objective_at(at + step) - objective_at(at - step)) / 2e-5
            assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_the_hessian_of_the_mean_views_is_the_change_of_their_gradient() -> None:
    rows = make_rows()
    problems = LogisticProblems.of(rows, make_weights(rows))
    operands = points(problems)
    curvatures = [problems.bend(each) for each in operands]
    directions = [
        Operand(each.problem, each.c, other.at) for each, other in zip(operands, points(problems, 2), strict=True)
    ]
    for each, way, product, curvature in zip(
        operands, directions, problems.multiply(directions), curvatures, strict=True
    ):
        step = np.float32(1e-2)
        ends = [Operand(each.problem, each.c, each.at + sign * step * way.at) for sign in (1, -1)]
        (_, up), (_, down) = (problems.evaluate(problems.mean, [end])[0] for end in ends)
        expected = (up - down) / (2 * step)
        matrix, ridge = curvature
        expected[:, -1] += ridge * way.at[:, -1]
        np.testing.assert_allclose(product, expected, rtol=5e-3, atol=5e-3)
        bias = np.zeros_like(way.at)
        bias[:, -1] = way.at[:, -1]
        (alone,) = problems.multiply([Operand(each.problem, each.c, bias)])
        np.testing.assert_allclose(alone[:, -1], matrix @ bias[:, -1] + ridge * bias[:, -1], rtol=1e-4, atol=1e-4)


def test_a_mean_view_stands_for_its_image_with_the_weight_of_all_views() -> None:
    rows = make_rows()
    weights = make_weights(rows)
    problems = LogisticProblems.of(rows, weights)
    assert problems.mean.features.shape == (24, 6)
    for row, image in enumerate(problems.mean.order):
        own = rows.images == image
        np.testing.assert_allclose(problems.mean.features[row, :-1], rows.features[own].mean(axis=0), atol=1e-6)
        for table, weight in zip(problems.mean.weights, weights, strict=True):
            assert table[row] == pytest.approx(weight[own].sum(), rel=1e-6)


def test_rows_of_two_labels_under_one_image_are_kept_apart() -> None:
    rows = make_rows()
    everything_one_image = replace(rows, images=np.zeros_like(rows.images))
    problems = LogisticProblems.of(everything_one_image, make_weights(rows))
    assert len(problems.mean.features) == 4
    np.testing.assert_allclose(problems.mean.features[2, :-1], rows.features[rows.labels == 2].mean(axis=0), atol=1e-6)


def test_problems_side_by_side_get_the_answers_they_get_alone() -> None:
    rows = make_rows()
    problems = LogisticProblems.of(rows, make_weights(rows))
    operands = points(problems)
    for each, (objective, gradient) in zip(operands, problems.evaluate(problems.full, operands), strict=True):
        ((alone, slope),) = problems.evaluate(problems.full, [each])
        assert alone == pytest.approx(objective, rel=1e-9)
        np.testing.assert_allclose(slope, gradient, atol=1e-5)


def test_the_span_of_the_mean_views_gives_the_same_hessian() -> None:
    rows = make_rows()
    problems = LogisticProblems.of(rows, make_weights(rows))
    operands = points(problems)
    ridges = [problems.bend(each)[1] for each in operands]
    directions = [
        Operand(each.problem, each.c, other.at) for each, other in zip(operands, points(problems, 2), strict=True)
    ]
    scaled = [
        Operand(each.problem, each.c, scale_intercepts(each.at, ridge))
        for each, ridge in zip(directions, ridges, strict=True)
    ]
    images = problems.project(directions)
    answers = problems.kernel([Operand(each.problem, 1.0, image) for each, image in zip(operands, images, strict=True)])
    lifted = problems.lift(
        [Operand(each.problem, 1.0, bent) for each, (bent, _) in zip(operands, answers, strict=True)]
    )
    for each, ridge, part, product in zip(directions, ridges, lifted, problems.multiply(scaled), strict=True):
        expected = scale_intercepts(product, ridge)  # of (W, b sqrt(ridge)): D H D with D = diag(1, 1 / sqrt(ridge))
        np.testing.assert_allclose(each.at + part, expected, rtol=1e-4, atol=1e-4)
    back = problems.project([Operand(each.problem, 1.0, part) for each, part in zip(operands, lifted, strict=True)])
    for image, (_, product) in zip(back, answers, strict=True):
        np.testing.assert_allclose(product, image, rtol=1e-3, atol=1e-3)
