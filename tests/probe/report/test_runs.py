"""Runs: complete or invisible, back as they went in, readable without pickle, and the newest is the newest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.compare.compare import compare_runs
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.runs import load_predictions, load_run, newest_run, newest_runs, save_run
from frozenprobe.probe.report.summary import summarise
from frozenprobe.probe.result import ProbeResult
from frozenprobe.system.csv_tables import Table, read_table
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter

SAMPLE = Table(Path("data/sample submission.csv"), ("ID", "Label"), (("t1", "NA"), ("007", "")))
NAMES = ("10", "2", "NA", 'a, "b"\nÄ')


@pytest.fixture
def features(make_features: MakeFeatures) -> Features:
    return make_features(class_names=NAMES, sample=SAMPLE, unusable=(2,), noise=1.5)


@pytest.fixture
def result(features: Features) -> ProbeResult:
    return cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.3}))


def save(result: ProbeResult, features: Features, folder: Path) -> Path:
    return save_run(result, summarise(result), features, folder)


@pytest.fixture
def make_run(result: ProbeResult, features: Features, tmp_path: Path) -> Callable[[], Path]:
    """Writes a run of a small probe, in `runs`."""
    return lambda: save(result, features, tmp_path / "runs")


def change(path: Path, **arrays: object) -> None:
    """Write the run's arrays again, with others."""
    with np.load(path / "predictions.npz") as stored:
        np.savez(path / "predictions.npz", **{**stored, **arrays})  # type: ignore[arg-type]


def rewrite_config(path: Path, **changes: object) -> None:
    """Write config.json again with changes; None takes an entry out."""
    config = json.loads((path / "config.json").read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (path / "config.json").write_text(json.dumps(kept), encoding="utf-8")


def test_a_run_has_its_five_files_under_a_name_of_time_and_head(
    result: ProbeResult, features: Features, tmp_path: Path
) -> None:
    path = save(result, features, tmp_path / "deep" / "runs")
    assert path.parent == tmp_path / "deep" / "runs"
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    created = datetime.fromisoformat(config["created"]).astimezone()  # the name says the time on the wall
    assert path.name == f"{created:%Y%m%d-%H%M%S}-lda"
    files = {"config.json", "metrics.json", "oof.csv", "predictions.npz", "head.npz"}
    assert {file.name for file in path.iterdir()} == files
    assert [item.name for item in path.parent.iterdir()] == [path.name]  # nothing is left aside


def test_config_and_metrics_are_json_and_say_what_was_run(
    result: ProbeResult, features: Features, tmp_path: Path
) -> None:
    path = save(result, features, tmp_path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["version"]) == ("frozenprobe.run", 1)
    assert config["options"]["head"] == "lda"
    assert config["options"]["settings"] == {"shrinkage": 0.3}
    assert config["options"]["folds"] == 5
    assert config["options"]["scale"] == "global"
    assert config["features"] == str(features.path)
    assert config["fingerprint"] == features.spec.fingerprint()
    assert config["spec"] == asdict(features.spec)
    assert datetime.fromisoformat(config["created"]).utcoffset() is not None
    metrics = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] == summarise(result)["accuracy"]
    assert metrics["per_class"][3]["class"] == NAMES[3]


def test_predictions_are_plain_arrays(result: ProbeResult, features: Features, tmp_path: Path) -> None:
    path = save(result, features, tmp_path)
    for name in ("predictions.npz", "head.npz"):
        with np.load(path / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype.kind in "fiubU" for key in arrays)
    with np.load(path / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["class_names"].tolist() == list(NAMES)
        assert arrays["ids"].tolist() == list(result.ids)
        assert arrays["test_ids"].tolist() == list(result.test_ids)
        np.testing.assert_allclose(arrays["oof"], result.oof, atol=1e-6)
        np.testing.assert_allclose(arrays["test"], result.test, atol=1e-6)
        for key in ("labels", "folds", "clusters", "scored", "test_usable"):
            np.testing.assert_array_equal(arrays[key], getattr(result, key))


def test_the_out_of_fold_table_is_tidy(result: ProbeResult, features: Features, tmp_path: Path) -> None:
    table = read_table(save(result, features, tmp_path) / "oof.csv")
    assert table.columns == ("id", "label", "predicted", "probability", "probability_of_label", "fold", "scored")
    assert table.column("id") == result.ids
    assert table.column("label") == tuple(NAMES[label] for label in result.labels)
    predicted = result.oof.argmax(axis=1)
    assert table.column("predicted") == tuple(NAMES[label] for label in predicted)
    np.testing.assert_allclose(np.array(table.column("probability"), dtype=float), result.oof.max(axis=1), atol=1e-6)
    own = result.oof[np.arange(24), result.labels]
    np.testing.assert_allclose(np.array(table.column("probability_of_label"), dtype=float), own, atol=1e-6)
    assert table.column("fold") == tuple(str(fold + 1) for fold in result.folds)
    assert set(table.column("scored")) == {"1"}


@pytest.mark.parametrize("head", ["logreg", "lda", "linear", "report"])
@pytest.mark.parametrize("scale", ["global", "standard", "none"])
def test_plain_numpy_reproduces_the_answers_from_the_saved_head(
    head: str, scale: str, make_features: MakeFeatures, tmp_path: Path
) -> None:
    features = make_features(classes=2 if head == "logreg" else 3)
    settings = {"epochs": 2} if head == "linear" else {}
    result = cross_validate(features, ProbeOptions(head, settings, scale=scale, folds=2, test_views=("clean", "hflip")))
    path = save(result, features, tmp_path / "runs")
    with np.load(path / "head.npz", allow_pickle=False) as arrays:
        model = dict(arrays)
    probabilities = []
    for view in (0, 1):
        x = features.read("test", (view,))[:, 0].astype(np.float64)
        if model["scale_unit"]:
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        scores = (x - model["scale_shift"]) * model["scale_factor"] @ model["coefficients"].T + model["intercepts"]
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities.append(powers / powers.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(np.mean(probabilities, axis=0), load_run(path).test, atol=1e-4)
    assert tuple(model["class_names"]) == features.class_names


def test_a_run_comes_back_as_it_was(result: ProbeResult, features: Features, tmp_path: Path) -> None:
    run = load_run(save(result, features, tmp_path))
    assert run.class_names == NAMES
    assert run.test_ids == result.test_ids
    assert run.sample == SAMPLE
    np.testing.assert_allclose(run.test, result.test, atol=1e-6)
    np.testing.assert_array_equal(run.test_usable, result.test_usable)


def test_a_run_without_test_images_or_sample_comes_back(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features(test=0)
    run = load_run(save(cross_validate(features, ProbeOptions("lda")), features, tmp_path))
    assert (run.test_ids, run.sample) == ((), None)
    assert run.test.shape == (0, 4)


def test_a_sample_without_rows_comes_back(make_features: MakeFeatures, tmp_path: Path) -> None:
    features = make_features(sample=Table(Path("s.csv"), ("ID", "Label"), ()))
    run = load_run(save(cross_validate(features, ProbeOptions("lda")), features, tmp_path))
    assert run.sample == features.sample


def test_the_predictions_that_a_probe_saved_come_back(result: ProbeResult, make_run: Callable[[], Path]) -> None:
    read = load_predictions(make_run())
    assert (read.ids, read.class_names) == (result.ids, result.class_names)
    for name in ("labels", "folds", "clusters", "scored"):
        np.testing.assert_array_equal(getattr(read, name), getattr(result, name))
    np.testing.assert_allclose(read.oof, result.oof, atol=1e-6)
    assert read.config["options"]["head"] == "lda"


def test_images_of_fold_minus_one_are_empty_in_the_table_and_unscored_in_a_comparison(
    make_features: MakeFeatures, tmp_path: Path
) -> None:
    features = make_features(folds=("-1", "a", "b", "c") * 6)
    runs = []
    for shrinkage in (0.3, 0.9):
        result = cross_validate(features, ProbeOptions("lda", {"shrinkage": shrinkage}))
        runs.append(save(result, features, tmp_path / "runs"))
    table = read_table(runs[0] / "oof.csv")
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "id": "image 0.jpg",
        "label": "class 0",
        "predicted": "",
        "probability": "",
        "probability_of_label": "",
        "fold": "-1",
        "scored": "0",
    }
    read = [load_predictions(run) for run in runs]
    assert np.isnan(read[0].oof[::4]).all()
    assert compare_runs(read).images == 18
    assert np.isfinite([run.log_loss for run in compare_runs(read).runs]).all()


def test_a_run_without_repeats_is_a_run_of_one(make_run: Callable[[], Path]) -> None:
    read = load_predictions(make_run())
    np.testing.assert_array_equal(read.repeat_predicted, read.oof.argmax(axis=1)[None])
    np.testing.assert_array_equal(read.repeat_folds, read.folds[None])


def test_repeats_are_read(make_run: Callable[[], Path]) -> None:
    path = make_run()
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
    arrays: dict[str, object], make_run: Callable[[], Path]
) -> None:
    path = make_run()
    change(path, **arrays)
    with pytest.raises(FrozenprobeError, match="folder of a run") as caught:
        load_predictions(path)
    assert caught.value.where == str(path)


def test_runs_within_a_second_do_not_collide(result: ProbeResult, features: Features, tmp_path: Path) -> None:
    paths = [save(result, features, tmp_path / "runs") for _ in range(4)]
    assert len(set(paths)) == 4
    assert newest_run(tmp_path / "runs") == paths[-1]
    assert all(load_run(path).test_ids == result.test_ids for path in paths)


def test_the_newest_run_is_the_newest_by_the_time_inside(
    result: ProbeResult, features: Features, tmp_path: Path
) -> None:
    first, second = (save(result, features, tmp_path / "runs") for _ in range(2))
    renamed = first.rename(tmp_path / "runs" / "zzz best")
    os.utime(second, (1, 1))
    os.utime(second / "config.json", (1, 1))
    assert newest_run(tmp_path / "runs") == second
    (second / "config.json").write_text("{}")  # no time: not a run
    assert newest_run(tmp_path / "runs") == renamed


def test_the_newest_runs_are_the_newest_by_the_time_inside_oldest_first(make_run: Callable[[], Path]) -> None:
    paths = [make_run() for _ in range(3)]
    renamed = paths[1].rename(paths[1].with_name("zzz"))
    folder = renamed.parent
    assert newest_runs(folder, 2) == [renamed, paths[2]]
    assert newest_runs(folder, 1) == [newest_run(folder)]
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text(json.dumps([]))
    assert newest_runs(folder, 3) == [paths[0], renamed, paths[2]]


def test_too_few_runs_is_an_error_that_says_how_to_make_one(make_run: Callable[[], Path], tmp_path: Path) -> None:
    with pytest.raises(FrozenprobeError, match=r"2 runs(.|\n)*none(.|\n)*frozenprobe probe"):
        newest_runs(tmp_path / "absent", 2)
    make_run()
    with pytest.raises(FrozenprobeError, match=r"2 runs\n  found:  1"):
        newest_runs(tmp_path / "runs", 2)


@pytest.mark.parametrize("content", ["", "[]", "{", "3", '{"created": ', "\udcff"])
def test_what_is_no_run_is_passed_over(content: str, result: ProbeResult, features: Features, tmp_path: Path) -> None:
    path = save(result, features, tmp_path / "runs")
    other = tmp_path / "runs" / "other"
    other.mkdir()
    (other / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert newest_run(tmp_path / "runs") == path


def test_no_run_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FrozenprobeError, match="frozenprobe probe"):
            newest_run(folder)


@pytest.mark.parametrize("nth", [1, 2])
def test_a_crash_while_writing_leaves_no_run(
    nth: int, result: ProbeResult, features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    savez = np.savez

    def fail(path: Path, **arrays: object) -> None:
        calls.append(path)
        if len(calls) == nth:
            raise OSError("No space left on device")
        savez(path, **arrays)  # type: ignore[arg-type]

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space left"):
        save(result, features, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_killed_write_is_never_taken_for_a_run(
    result: ProbeResult, features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process does not clean up
    monkeypatch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(result, features, tmp_path / "runs")
    (left,) = (tmp_path / "runs").iterdir()
    assert (left / "config.json").exists()
    with pytest.raises(FrozenprobeError, match="A run"):
        newest_run(tmp_path / "runs")


def test_everything_is_on_disk_before_the_run_gets_its_name(
    result: ProbeResult, features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename = os.rename

    def note_sync(handle: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def note_rename(source: Path, target: Path) -> None:
        events.append("rename")
        rename(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("open files have no names here")
    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    path = save(result, features, tmp_path / "runs")
    before = events[: events.index("rename")]
    assert {file.name for file in path.iterdir()} <= set(before)
    assert events[events.index("rename") + 1 :] == ["runs"]


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("predictions.npz", lambda data: data[: len(data) // 2]),
        ("predictions.npz", lambda data: b""),
        ("predictions.npz", lambda data: b"not a zip file"),
        ("predictions.npz", lambda data: data[:200] + b"\0" * 200 + data[400:]),
        ("config.json", lambda data: data[:-5]),
        ("config.json", lambda data: b"3"),
        ("config.json", lambda data: b"\xff\xfe"),
    ],
)
@pytest.mark.parametrize("load", [load_run, load_predictions])
def test_a_damaged_run_is_an_error_that_names_it(
    load: Callable[[Path], object], file: str, damage: Callable[[bytes], bytes], make_run: Callable[[], Path]
) -> None:
    path = make_run()
    (path / file).write_bytes(damage((path / file).read_bytes()))
    with pytest.raises(FrozenprobeError, match="folder of a run") as caught:
        load(path)
    assert caught.value.where == str(path)


def test_a_run_without_a_version_is_read_as_it_was(make_run: Callable[[], Path]) -> None:
    path = make_run()
    before = load_run(path), load_predictions(path)
    rewrite_config(path, format=None, version=None)  # as of frozenprobe 0.4.0
    run, predictions = load_run(path), load_predictions(path)
    assert (run.test_ids, run.sample) == (before[0].test_ids, before[0].sample)
    np.testing.assert_array_equal(run.test, before[0].test)
    np.testing.assert_array_equal(predictions.oof, before[1].oof)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"version": 2}, "version = 2"),
        ({"version": "1"}, "version = '1'"),
        ({"version": 0}, "version = 0"),
        ({"format": "frozenprobe.features"}, "format = frozenprobe.features"),
    ],
)
@pytest.mark.parametrize("load", [load_run, load_predictions])
def test_a_run_of_another_format_or_a_newer_version_is_refused(
    load: Callable[[Path], object], changes: dict[str, object], found: str, make_run: Callable[[], Path]
) -> None:
    path = make_run()
    rewrite_config(path, **changes)
    with pytest.raises(FrozenprobeError, match="and a version up to 1") as caught:
        load(path)
    assert found in caught.value.found
    assert caught.value.where == str(path)
    assert "upgrade frozenprobe" in caught.value.remedy
    assert "frozenprobe probe" in caught.value.remedy


def test_the_newest_run_is_not_passed_over_for_its_version(make_run: Callable[[], Path]) -> None:
    older, newer = make_run(), make_run()
    rewrite_config(newer, version=2)
    assert newest_runs(older.parent, 2) == [older, newer]  # whoever reads it is told


@pytest.mark.parametrize("file", ["predictions.npz", "config.json"])
@pytest.mark.parametrize("load", [load_run, load_predictions])
def test_a_run_with_a_file_missing_is_an_error(
    load: Callable[[Path], object], file: str, make_run: Callable[[], Path]
) -> None:
    path = make_run()
    (path / file).unlink()
    with pytest.raises(FrozenprobeError, match="folder of a run"):
        load(path)


def test_pickled_objects_are_refused(make_run: Callable[[], Path]) -> None:
    path = make_run()
    change(path, class_names=np.array(list(NAMES), dtype=object))
    with pytest.raises(FrozenprobeError, match="allow_pickle"):
        load_run(path)


def test_names_survive_as_fixed_width_text(result: ProbeResult, features: Features, tmp_path: Path) -> None:
    for names in ((), ("",), ("a", "ä" * 50, "x y ", "007", "\U0001f600")):
        path = save_run(replace(result, test_ids=names), {}, features, tmp_path)
        with np.load(path / "predictions.npz") as arrays:
            assert arrays["test_ids"].dtype.kind == "U"
        assert load_run(path).test_ids == names
