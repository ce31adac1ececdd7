"""Results as tables of pandas: the same facts as in the run folder and in the summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.repeats import repeat_probe
from frozenprobe.probe.report.runs import write_oof
from frozenprobe.probe.report.summary import summarise
from frozenprobe.probe.result import ProbeResult
from tests.conftest import MakeFeatures

NAMES = ("10", "2", "NA", "ä")


@pytest.fixture
def features(make_features: MakeFeatures) -> Features:
    """Overlapping classes, the last one of a single image."""
    return make_features(labels=[*np.repeat(np.arange(3), 8), 3], class_names=NAMES, noise=2)


@pytest.fixture
def result(features: Features) -> ProbeResult:
    return cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.3}))


def test_a_frame_has_the_prediction_of_every_training_image(result: ProbeResult) -> None:
    frame = result.to_frame()
    assert frame.index.name == "id"
    assert frame.index.tolist() == list(result.ids)
    assert frame.dtypes["fold"].kind == "i"
    assert frame.dtypes["scored"].kind == "b"
    for row, (_, image) in enumerate(frame.iterrows()):
        predicted = result.oof[row].argmax()
        assert (image["label"], image["predicted"]) == (NAMES[result.labels[row]], NAMES[predicted])
        assert image["probability"] == result.oof[row, predicted]
        assert image["probability_of_label"] == result.oof[row, result.labels[row]]
        assert image["fold"] == result.folds[row] + 1
        assert image["scored"] == (row < 24)
    right = frame["label"] == frame["predicted"]
    assert right[frame["scored"]].mean() == summarise(result)["accuracy"]


def test_the_frame_holds_what_the_csv_does(result: ProbeResult, tmp_path: Path) -> None:
    write_oof(tmp_path / "oof.csv", result)
    text = {"id": str, "label": str, "predicted": str}
    table = pd.read_csv(tmp_path / "oof.csv", index_col="id", dtype=text, keep_default_na=False)
    pd.testing.assert_frame_equal(table.astype({"scored": bool}), result.to_frame(), atol=1e-6, check_dtype=False)


def test_classes_are_a_frame_of_the_summarys_numbers(features: Features) -> None:
    result = repeat_probe([features], ProbeOptions("lda", {"shrinkage": 0.3}), repeats=2)
    frame = result.class_frame()
    rows = summarise(result)["per_class"]
    assert frame.index.tolist() == list(NAMES)
    assert frame.reset_index().to_dict("records") == rows
    assert frame["images"].tolist() == [16, 16, 16, 0]  # of both repeats


def test_candidates_are_a_frame_best_first(features: Features) -> None:
    result = cross_validate(features, ProbeOptions(budget=0.01))
    frame = result.candidate_frame()
    assert frame.to_dict("records") == summarise(result)["candidates"]
    assert frame["log_loss"].is_monotonic_increasing
    assert frame["share"].sum() == pytest.approx(1)


def test_where_nothing_was_chosen_the_frame_of_candidates_is_empty(result: ProbeResult) -> None:
    frame = replace(result, candidates=()).candidate_frame()
    assert frame.empty
    assert frame.columns.tolist() == ["description", "family", "accuracy", "log_loss", "share"]
