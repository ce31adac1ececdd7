"""The final head's scores are estimated by what twice the images gave, and hold on new images as often as said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.folds.deal import NEVER
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.repeats import repeat_probe
from frozenprobe.probe.report.final_head import estimate_final
from frozenprobe.probe.report.summary import TOO_FEW, render, summarise
from frozenprobe.probe.result import ProbeResult
from frozenprobe.probe.stats.growth import ACCURACY, LOSS, Estimate, grow, measure_growth
from frozenprobe.probe.stats.intervals import accuracy_interval, loss_interval
from frozenprobe.probe.stats.metrics import accuracy, log_loss, losses, right_of
from frozenprobe.probe.stats.public import public_score_interval
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter

LDA = ProbeOptions("lda", {"shrinkage": 0.3}, near_duplicates=0.0)


def one_of(result: ProbeResult) -> tuple[float, float, float, float]:
    """(times, low, value, high) of the final head's accuracy."""
    found = estimate_final(result)
    assert found is not None
    return found.times, found.accuracy.low, found.accuracy.value, found.accuracy.high


@pytest.mark.parametrize(("per_class", "noise"), [(2, 1.0), (4, 1.6), (10, 2.0)])
def test_the_final_heads_accuracy_lies_in_its_interval_as_often_as_said(
    per_class: int, noise: float, make_features: MakeFeatures
) -> None:
    held, gains = [], []
    for seed in range(16):
        made = {"classes": 8, "per_class": per_class, "test": 600, "views": 0, "noise": noise, "seed": seed}
        features = make_features(**made, test_views=("clean",), name=f"{seed}.h5")  # type: ignore[arg-type]
        rng = np.random.default_rng(seed)
        rng.normal(size=(8, 12))
        truth = accuracy((result := cross_validate(features, LDA)).test, rng.integers(8, size=600))
        _, low, _, high = one_of(result)
        held.append(low <= truth <= high)
        gains.append(truth - accuracy(result.oof, result.labels))
    assert np.mean(held) >= 0.87
    assert np.mean(gains) > 0.01 * (per_class < 10)  # out of fold it has fewer images


@pytest.mark.parametrize(
    ("per_class", "folds", "times"), [(10, None, 1.25), (10, 2, 2.0), (2, None, 2.0), (3, None, 1.5)]
)
def test_how_many_times_the_images_it_has_follows_from_the_folds(
    per_class: int, folds: int | None, times: float, make_features: MakeFeatures
) -> None:
    result = cross_validate(make_features(per_class=per_class), ProbeOptions(**(vars(LDA) | {"folds": folds})))
    assert one_of(result)[0] == pytest.approx(times)


def test_images_that_are_always_trained_on_count(make_features: MakeFeatures) -> None:
    folds = tuple("-1" if image % 6 < 3 else str(image % 2) for image in range(24))
    result = cross_validate(make_features(folds=folds), LDA)
    assert (result.folds == NEVER).sum() == 12
    held = np.bincount(result.folds[result.folds >= 0])
    assert one_of(result)[0] == pytest.approx(24 / ((held * (24 - held)).sum() / 12))


@pytest.mark.parametrize("head", ["lda", "auto", "calibrated"])
def test_half_of_the_images_are_half_of_every_class_and_none_that_is_predicted(
    head: str, make_features: MakeFeatures
) -> None:
    options = {
        "lda": LDA,
        "auto": ProbeOptions("auto", budget=0.0, near_duplicates=0.0),
        "calibrated": ProbeOptions("lda", {"shrinkage": 0.3}, calibrate=True, near_duplicates=0.0),
    }[head]
    result = cross_validate(make_features(per_class=10, noise=1.6), options)
    assert result.halved is not None
    assert sorted(result.halved.images) == np.flatnonzero(result.folds < 2).tolist()
    assert result.halved.times == 2
    labels = result.labels[result.halved.images]
    assert log_loss(result.halved.fewer, labels) > log_loss(result.halved.more, labels)  # the same head, worse off
    if head == "lda":
        np.testing.assert_array_equal(result.halved.more, result.oof[result.halved.images])


def test_one_image_a_class_to_train_on_is_not_halved_and_says_little(make_features: MakeFeatures) -> None:
    result = cross_validate(make_features(per_class=2, classes=8), LDA)
    assert result.halved is not None
    assert result.halved.times == 1
    _, low, value, high = one_of(result)
    assert low < accuracy(result.oof, result.labels) < value <= high
    assert high - low > 0.15
    found, measured = estimate_final(result), log_loss(result.oof, result.labels)
    assert found is not None
    assert 0.4 * measured < found.log_loss.value < 0.9 * measured
    assert found.log_loss.high > 2 * found.log_loss.low


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_growth_is_what_twice_the_images_gave_in_all_repeats_together_by_clusters(
    repeats: int, make_features: MakeFeatures
) -> None:
    features = make_features(per_class=8, noise=2.0, groups=tuple(f"{image // 2}" for image in range(32)))
    result = repeat_probe([features], LDA, repeats=repeats)
    each = [(one, one.halved) for one in result.repeats or (result,) if one.halved is not None]
    assert len(each) == repeats
    found = estimate_final(result)
    assert found is not None
    assert found.times == pytest.approx(4 / 3)  # of four groups a class: four folds
    clusters = np.concatenate([one.clusters[half.images] for one, half in each])
    assert len(clusters) > len(np.unique(clusters)) > 5
    for score, interval, scale, final in (
        (right_of, accuracy_interval, ACCURACY, found.accuracy),
        (losses, loss_interval, LOSS, found.log_loss),
    ):
        fewer, more = (
            np.concatenate([score(getattr(half, name), one.labels[half.images]) for one, half in each])
            for name in ("fewer", "more")
        )
        growth = measure_growth(fewer, more, clusters, times=each[0][1].times, scale=scale)
        scored = result.scored_predictions()
        scores = score(scored.oof, scored.labels)
        measured = interval(scores, scored.clusters)
        assert measured != interval(scores, np.arange(len(scores)))
        assert final == grow(float(scores.mean()), measured, growth, times=found.times, images=len(scores), scale=scale)


def test_it_is_shown_beside_what_was_measured_and_used_for_the_public_score(make_features: MakeFeatures) -> None:
    features = make_features(per_class=10, noise=2.0, test=200)
    result = cross_validate(features, LDA)
    summary = summarise(result, public_share=1.0)
    times, low, value, high = one_of(result)
    assert summary["final_head"]["accuracy"] == value > summary["accuracy"]
    assert (summary["final_head"]["accuracy_low"], summary["final_head"]["accuracy_high"]) == (low, high)
    assert summary["final_head"]["times_the_images"] == times
    assert summary["final_head"]["log_loss_low"] < summary["final_head"]["log_loss"] < summary["log_loss"]
    text = render(summary)
    assert f"final head, estimated {value:.1%}   (95 % interval {low:.1%} to {high:.1%}; it has 1.25 times" in text
    measured = Estimate(summary["accuracy"], summary["accuracy_low"], summary["accuracy_high"])
    assert summary["public_score"]["low"] > public_score_interval(measured, test_images=200, share=1.0)[0]


def test_too_few_groups_are_said_to_be_too_few(make_features: MakeFeatures) -> None:
    groups = tuple(str(image % 3) for image in range(24))
    summary = summarise(cross_validate(make_features(groups=groups), LDA))
    assert (summary["accuracy_low"], summary["accuracy_high"]) == (0, 1)
    assert summary["log_loss_high"] == math.inf
    assert render(summary).count(TOO_FEW) == 3


def test_streamed_features_leave_it_out(make_features: MakeFeatures) -> None:
    features: Features = make_features(per_class=9, noise=1.5)
    result = cross_validate(features, ProbeOptions(**(vars(LDA) | {"memory": 8000.0})))
    assert any(note.startswith("STREAMED") for note in result.notes)
    summary = summarise(result)
    assert summary["final_head"] is None
    assert "final head" not in render(summary)


@pytest.mark.parametrize(("per_class", "measured"), [(3, False), (4, True)])
def test_halves_of_one_image_a_class_tell_nothing_of_how_the_log_loss_grows(
    per_class: int, measured: bool, make_features: MakeFeatures
) -> None:
    result = cross_validate(make_features(per_class=per_class, classes=8, noise=2.0), LDA)
    found = estimate_final(result)
    assert found is not None
    scores = losses(result.oof, result.labels)
    unmeasured = grow(
        scores.mean(), loss_interval(scores, result.clusters), LOSS.unmeasured, times=found.times, images=1, scale=LOSS
    )
    assert (found.log_loss == unmeasured) is not measured
