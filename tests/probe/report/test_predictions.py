"""Out-of-fold predictions come back from a run as they went in, and what is no run is an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.predictions import load_predictions, newest_runs
from frozenprobe.probe.report.runs import newest_run, save_run
from frozenprobe.probe.report.summary import summarise
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture
def save(make_features: MakeFeatures, tmp_path: Path) -> Callable[[], Path]:
    """Writes a run of a small probe."""
    features = make_features(noise=1.5, class_names=("10", "2", "NA", "ä"))
    result = cross_validate(features, ProbeOptions("lda"))
    return lambda: save_run(result, summarise(result), features, tmp_path / "runs")


def change(path: Path, **arrays: object) -> None:
    """Write the run's arrays again, with others."""
    with np.load(path / "predictions.npz") as stored:
        np.savez(path / "predictions.npz", **{**stored, **arrays})  # type: ignore[arg-type]


def test_the_predictions_that_a_probe_saved_come_back(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features(noise=1.5)
    result = cross_validate(features, ProbeOptions("lda"))
    read = load_predictions(save_run(result, summarise(result), features, tmp_path))
    assert (read.ids, read.class_names) == (result.ids, result.class_names)
    for name in ("labels", "folds", "clusters", "scored"):
        np.testing.assert_array_equal(getattr(read, name), getattr(result, name))
    np.testing.assert_allclose(read.oof, result.oof, atol=1e-6)
    assert read.config["options"]["head"] == "lda"


def test_a_run_without_repeats_is_a_run_of_one(save: Callable[[], Path]) -> None:
    read = load_predictions(save())
    np.testing.assert_array_equal(read.repeat_predicted, read.oof.argmax(axis=1)[None])
    np.testing.assert_array_equal(read.repeat_folds, read.folds[None])


def test_repeats_are_read(save: Callable[[], Path]) -> None:
    path = save()
    repeats = np.random.default_rng(0).random((3, 24, 4)).astype(np.float32)
    folds = np.tile(np.arange(24) % 5, (3, 1))
    change(path, repeat_oof=repeats, repeat_folds=folds)
    read = load_predictions(path)
    np.testing.assert_array_equal(read.repeat_predicted, repeats.argmax(axis=2))
    np.testing.assert_array_equal(read.repeat_folds, folds)


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.arange(3)},
        {"oof": np.zeros((24, 3), dtype=np.float32)},
        {"labels": np.full(24, 4)},
        {"repeat_oof": np.zeros((2, 24, 4)), "repeat_folds": np.zeros((1, 24))},
        {"repeat_oof": np.zeros((2, 24, 4))},
        {"ids": np.array(["same"] * 24)},
        {"ids": np.array(["objects"] * 24, dtype=object)},
        {"class_names": np.array("no list")},
    ],
)
def test_arrays_that_do_not_fit_are_an_error_that_names_the_run(
    arrays: dict[str, object], save: Callable[[], Path]
) -> None:
    path = save()
    change(path, **arrays)
    with pytest.raises(FrozenprobeError, match="folder of a run") as caught:
        load_predictions(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("predictions.npz", b""),
        ("predictions.npz", b"not a zip file"),
        ("config.json", b"{"),
        ("config.json", b"3"),
        ("config.json", b"\xff\xfe"),
    ],
)
def test_a_damaged_run_is_an_error(file: str, content: bytes, save: Callable[[], Path]) -> None:
    path = save()
    (path / file).write_bytes(content)
    with pytest.raises(FrozenprobeError, match="folder of a run"):
        load_predictions(path)
    (path / file).unlink()
    with pytest.raises(FrozenprobeError, match="folder of a run"):
        load_predictions(path)


def test_the_newest_runs_are_the_newest_by_the_time_inside_oldest_first(save: Callable[[], Path]) -> None:
    paths = [save() for _ in range(3)]
    renamed = paths[1].rename(paths[1].with_name("zzz"))
    folder = renamed.parent
    assert newest_runs(folder, 2) == [renamed, paths[2]]
    assert newest_runs(folder, 1) == [newest_run(folder)]
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text(json.dumps([]))
    assert newest_runs(folder, 3) == [paths[0], renamed, paths[2]]


def test_too_few_runs_is_an_error_that_says_how_to_make_one(save: Callable[[], Path], tmp_path: Path) -> None:
    with pytest.raises(FrozenprobeError, match=r"2 runs(.|\n)*none(.|\n)*frozenprobe probe"):
        newest_runs(tmp_path / "absent", 2)
    save()
    with pytest.raises(FrozenprobeError, match=r"2 runs\n  found:  1"):
        newest_runs(tmp_path / "runs", 2)
