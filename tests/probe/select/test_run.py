"""`auto` with few images a class: what chooses, what is told apart, and what the final head is taken to be worth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.heads.parts.temperature import fit_temperature
from frozenprobe.probe.options import AUTO, ProbeOptions
from frozenprobe.probe.report.final_head import estimate_final
from frozenprobe.probe.result import ProbeResult
from frozenprobe.probe.stats.metrics import log_loss
from tests.conftest import MakeFeatures

OPTIONS = ProbeOptions(head=AUTO, budget=0.0, near_duplicates=0.0)


@pytest.fixture
def two_a_class(make_features: MakeFeatures) -> ProbeResult:
    """Of ten classes that overlap."""
    return cross_validate(make_features(classes=10, per_class=2, noise=1.5, views=0), OPTIONS)


def test_finer_folds_tell_apart_the_classes_that_they_took_an_image_of(two_a_class: ProbeResult) -> None:
    assert two_a_class.finer is not None
    falling = np.sort(np.log(two_a_class.finer), axis=1)[:, ::-1]
    rivals = (-np.diff(falling, axis=1)).argmax(axis=1) + 1  # the deepest gap lies below them
    assert np.median(rivals) == 4  # five folds of four images
    assert any(note.startswith("few images a class: the final blend was chosen on finer") for note in two_a_class.notes)


def test_where_folds_leave_enough_images_to_choose_there_are_no_finer_ones(make_features: MakeFeatures) -> None:
    result = cross_validate(make_features(classes=3, per_class=5, views=0), OPTIONS)
    assert result.finer is None
    assert not any("chosen on finer" in note for note in result.notes)


def test_heads_that_nothing_was_held_out_for_are_no_surer_than_they_can_be(two_a_class: ProbeResult) -> None:
    assert log_loss(two_a_class.oof, two_a_class.labels) < 1.2 * np.log(10)


def test_the_final_head_is_taken_for_what_either_kind_of_folds_holds_for_possible(two_a_class: ProbeResult) -> None:
    for surely in (0.99, 0.001):  # right, or wrong, of every image
        finer = np.full((20, 10), (1 - surely) / 9)
        finer[np.arange(20), two_a_class.labels] = surely
        both, alone = (estimate_final(replace(two_a_class, finer=each)) for each in (finer, None))
        assert both is not None
        assert alone is not None
        if surely > 0.5:
            assert both.accuracy.low == alone.accuracy.low < alone.accuracy.value < both.accuracy.value
            assert both.accuracy.high > alone.accuracy.high
            assert both.log_loss.low < alone.log_loss.low < alone.log_loss.high == both.log_loss.high
        else:
            assert both.accuracy.high == alone.accuracy.high > alone.accuracy.value > both.accuracy.value
            assert both.accuracy.low < alone.accuracy.low
            assert both.log_loss.high > alone.log_loss.high > alone.log_loss.low == both.log_loss.low


def test_halves_of_the_largest_member_are_compared_at_their_best_temperatures(make_features: MakeFeatures) -> None:
    result = cross_validate(make_features(classes=4, per_class=8, noise=0.9, views=0), OPTIONS)
    assert result.halved is not None
    for chances in (result.halved.fewer, result.halved.more):
        labels = result.labels[result.halved.images]
        assert fit_temperature(np.log(chances), labels, unknown=1.0) == pytest.approx(1, abs=1e-3)
