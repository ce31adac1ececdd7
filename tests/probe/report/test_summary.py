"""Summary: all numbers as JSON without NaN, and a table that shows them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics

from frozenprobe.cache.store import Features
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.summary import converged, render, render_convergence, summarise, title
from frozenprobe.probe.result import ProbeResult
from frozenprobe.system.json_text import to_json
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter


@pytest.fixture
def features(make_features: MakeFeatures) -> Features:
    """Overlapping classes, one of a single image."""
    return make_features(classes=7, labels=[*np.repeat(np.arange(6), 6), 6], noise=1.5)


@pytest.fixture
def result(features: Features) -> ProbeResult:
    return cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.3}))


def test_the_numbers_are_those_of_the_scored_images(result: ProbeResult) -> None:
    summary = summarise(result)
    oof, labels = result.oof[:36], result.labels[:36]
    predicted = oof.argmax(axis=1)
    assert summary["images"] == 36
    assert summary["images_not_scored"] == 1
    assert summary["classes"] == 7
    assert summary["accuracy"] == sklearn.metrics.accuracy_score(labels, predicted)
    assert summary["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(labels, predicted, average="macro"))
    assert summary["balanced_accuracy"] == pytest.approx(
        sklearn.metrics.recall_score(labels, predicted, average="macro")
    )
    top5 = sklearn.metrics.top_k_accuracy_score(labels, oof, k=5, labels=range(7))
    assert summary["top5"] == pytest.approx(top5)
    assert summary["log_loss"] == pytest.approx(-np.log(oof[np.arange(36), labels]).mean())
    assert summary["accuracy_low"] < summary["accuracy"] < summary["accuracy_high"]


def test_classes_and_confusions_are_named(result: ProbeResult) -> None:
    summary = summarise(result)
    assert [row["class"] for row in summary["per_class"]] == list(result.class_names)
    assert [row["images"] for row in summary["per_class"]] == [6.0] * 6 + [0.0]
    wrong = (result.oof.argmax(axis=1) != result.labels)[:36].sum()
    for one, other, count in summary["confused"]:
        assert {one, other} <= set(result.class_names)
        assert 0 < count <= wrong


def test_a_summary_is_json_without_nan_even_for_a_fold_that_scores_nothing(make_features: MakeFeatures) -> None:
    column = ("a", "c", "a", "c", "b", "a", "c", "a", "c")
    features = make_features(classes=3, labels=[0] * 4 + [1] + [2] * 4, folds=column)
    summary = summarise(cross_validate(features, ProbeOptions("lda")))
    assert np.isnan(summary["folds"][1]["accuracy"])
    parsed = json.loads(to_json(summary))
    assert isinstance(parsed, dict)
    assert parsed["folds"][1]["accuracy"] is None
    assert parsed["accuracy"] == summary["accuracy"]


def test_the_table_holds_the_numbers(result: ProbeResult) -> None:
    summary = summarise(result)
    shown = render(summary)
    for key in ("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "top5"):
        assert f"{summary[key]:.1%}" in shown
    for key in ("log_loss", "macro_f1"):
        assert f"{summary[key]:.3f}" in shown
    assert "36 images, 7 classes" in shown
    lines = shown.split("\n")
    for number, fold in enumerate(summary["folds"], start=1):
        assert lines[number].split()[:3] == [str(number), str(fold["images"]), f"{fold['accuracy']:.1%}"]
    for one, other, count in summary["confused"]:
        assert any(f"{one} / {other}" in line and f"{count} images" in line for line in lines)
    assert any(line.startswith("note: 1 classes are trained on but not scored") for line in lines)
    assert "precision" not in shown


@pytest.mark.parametrize(("classes", "told"), [(2, False), (5, False), (6, True)])
def test_the_top_5_of_five_classes_or_fewer_are_not_told(classes: int, told: bool, make_features: MakeFeatures) -> None:
    summary = summarise(cross_validate(make_features(classes=classes), ProbeOptions("lda", {"shrinkage": 0.3})))
    assert (json.loads(to_json(summary))["top5"] is not None) is told
    assert ("top-5" in render(summary)) is told


def test_the_table_of_classes_is_there_when_asked_for_lowest_recall_first(result: ProbeResult) -> None:
    summary = summarise(result)
    rows = render(summary, per_class=True).split("precision     F1\n")[1].split("\n")[:7]
    recalls = [float(row.split("%")[0].split()[-1]) for row in rows]
    assert recalls == sorted(recalls)
    assert {row[:7] for row in rows} == set(result.class_names)


def test_a_fold_that_scores_nothing_can_be_shown(make_features: MakeFeatures) -> None:
    column = ("a", "c", "a", "c", "b", "a", "c", "a", "c")
    features = make_features(classes=3, labels=[0] * 4 + [1] + [2] * 4, folds=column)
    row = render(summarise(cross_validate(features, ProbeOptions("lda")))).split("\n")[2]
    assert row.split()[:5] == ["2", "0", "-", "-", "-"]


def test_the_reports_score_is_labelled_optimistic(make_features: MakeFeatures) -> None:
    summary = summarise(cross_validate(make_features(classes=2), ProbeOptions("report")))
    shown = render(summary)
    assert "selected on itself, optimistic" in shown
    assert f"{summary['optimistic_accuracy']:.1%} (selected on itself" in shown
    assert "last epoch" in shown
    assert "9 epochs" in shown


def test_other_heads_say_nothing_of_optimism(result: ProbeResult) -> None:
    assert "optimistic" not in render(summarise(result))


def test_the_title_says_what_was_run(features: Features) -> None:
    result = cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.4}, folds=3, views=2, scale="l2"))
    shown = title(result, [features], chosen=True)
    assert "head lda, shrinkage = 0.4; scaling l2; 3 folds, seed 0" in shown
    assert "backbone synthetic, recipe mild: 2 augmented views, and clean, hflip" in shown
    assert "default" not in shown


def test_the_title_says_where_a_head_comes_from_that_was_not_named(features: Features) -> None:
    result = cross_validate(features, ProbeOptions(settings={"c": 0.5}, folds=2))
    shown = title(result, [features], chosen=False)
    assert "head logreg (from the options), c = 0.5" in shown
    assert "3 augmented views" in shown


@pytest.mark.parametrize(
    ("states", "expected"), [((True, True), True), ((True, False), False), ((False, True), False), ((None, None), None)]
)
def test_one_fit_that_did_not_converge_is_enough(
    states: tuple[bool | None, bool | None], expected: bool | None, result: ProbeResult
) -> None:
    fold, refit = states
    scores = (
        *result.fold_scores[:-1],
        replace(result.fold_scores[-1], convergence=Convergence(fold, 7, 1.0, 0.1)),
    )
    others = Convergence(None if expected is None else True)
    scores = (*(replace(score, convergence=others) for score in scores[:-1]), scores[-1])
    changed = replace(result, fold_scores=scores, refit=Convergence(refit, 7, 1.0, 0.1))
    assert converged(changed) is expected
    assert ("NOT CONVERGED: " in render(summarise(changed))) is (expected is False)


@pytest.mark.parametrize("stuck", [False, True])
def test_iterations_are_not_advised_where_they_would_not_help(stuck: bool, result: ProbeResult) -> None:
    changed = replace(result, refit=Convergence(False, 7, 1.0, 0.1, stuck=stuck))
    assert ("raise --max-iter" in render(summarise(changed))) is not stuck
    assert ("lower --c" in render(summarise(changed))) is stuck


def test_convergence_is_told_in_the_terms_of_the_head() -> None:
    assert render_convergence(Convergence(True, 41, 0.5, 3e-5)) == "converged, 41 iterations, |gradient| 3.0e-05"
    assert render_convergence(Convergence(False, 2, 0.5, 0.25)).startswith("NOT CONVERGED, 2 iterations")
    assert render_convergence(Convergence(None, 9, 0.5)) == "9 epochs, training loss 0.500"
    assert render_convergence(Convergence()) == "exact, no iterations"
