"""Repeats: joined honestly, the same on processes and on a cluster, and readable by `compare`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError, MissingExtra
from frozenprobe.probe import repeats as module
from frozenprobe.probe.arrays import softmax
from frozenprobe.probe.compare.compare import compare_runs
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.heads.parts.scaling import Scaling
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.repeats import repeat_probe
from frozenprobe.probe.report.runs import load_predictions, load_run, save_run
from frozenprobe.probe.report.summary import render, summarise
from frozenprobe.probe.result import ProbeResult
from tests.conftest import MakeFeatures

pytestmark = pytest.mark.usefixtures("no_fsync")  # durability is test_publish's matter

LDA = ProbeOptions("lda", {"shrinkage": 0.3}, seed=5)


@pytest.fixture
def features(make_features: MakeFeatures) -> Features:
    return make_features(noise=1.5, per_class=8)


def accuracy(result: ProbeResult) -> float:
    return float((result.oof.argmax(axis=1) == result.labels)[result.scored].mean())


def assert_equal(one: ProbeResult, other: ProbeResult) -> None:
    assert len(one.repeats) == len(other.repeats)
    for a, b in zip((one, *one.repeats), (other, *other.repeats), strict=True):
        np.testing.assert_array_equal(a.folds, b.folds)
        np.testing.assert_allclose(a.oof, b.oof, atol=1e-12)
        np.testing.assert_allclose(a.test, b.test, atol=1e-12)
        assert a.notes == b.notes
        assert a.ids == b.ids


# Joining


def test_repeats_are_cross_validations_with_the_next_seeds(features: Features) -> None:
    joined = repeat_probe([features], LDA, repeats=3)
    alone = [cross_validate(features, ProbeOptions("lda", {"shrinkage": 0.3}, seed=seed)) for seed in (5, 6, 7)]
    for one, expected in zip(joined.repeats, alone, strict=True):
        assert_equal(one, expected)
    assert (alone[0].folds != alone[1].folds).any()
    np.testing.assert_allclose(joined.test, np.mean([each.test for each in alone], axis=0))
    np.testing.assert_array_equal(joined.oof, alone[0].oof)
    assert [(score.repeat, score.fold) for score in joined.fold_scores] == [(r, k) for r in range(3) for k in range(5)]


@pytest.mark.parametrize("repeats", [1, 3])
def test_what_is_saved_is_what_predicted_the_test_images(repeats: int, features: Features, tmp_path: Path) -> None:
    options = ProbeOptions("linear", {"epochs": 3, "lr": 0.05})  # the seed decides its order: every repeat's is another
    joined = repeat_probe([features], options, repeats=repeats)
    run = save_run(joined, summarise(joined), features, tmp_path)
    with np.load(run / "head.npz") as arrays:
        assert int(arrays.get("repeats", 1)) == repeats
        predictions = [predict_again(arrays, f"repeat{n}_" if repeats > 1 else "", features) for n in range(repeats)]
    saved = load_run(run).test
    np.testing.assert_allclose(np.mean(predictions, axis=0), saved, atol=1e-6)
    assert repeats == 1 or np.abs(predictions[0] - saved).max() > 1e-3


def predict_again(arrays: Mapping[str, npt.NDArray[Any]], prefix: str, features: Features) -> npt.NDArray[np.float64]:
    """The test predictions of a linear head: the mean over the views of the softmax of scaled rows."""
    scaling = Scaling(*(arrays[f"{prefix}scale_{name}"] for name in ("unit", "shift", "factor")))  # type: ignore[arg-type]
    rows = scaling.apply(features.read("test", (0, 1))).astype(np.float64)
    return softmax(rows @ arrays[f"{prefix}coefficients"].T + arrays[f"{prefix}intercepts"]).mean(axis=1)


def test_one_repeat_is_the_cross_validation_itself(features: Features) -> None:
    result = repeat_probe([features], LDA)
    assert result.repeats == ()
    assert_equal(result, cross_validate(features, LDA))


def test_the_accuracy_is_the_mean_of_the_repeats_and_not_that_of_averaged_answers(features: Features) -> None:
    joined = repeat_probe([features], LDA, repeats=4)
    accuracies = [accuracy(one) for one in joined.repeats]
    averaged = np.mean([one.oof for one in joined.repeats], axis=0)
    assert (averaged.argmax(axis=1) == joined.labels).mean() != pytest.approx(np.mean(accuracies))  # the two differ
    summary = summarise(joined)
    assert summary["accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["repeats"]["accuracies"] == accuracies
    assert summary["repeats"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    losses = [-np.log(one.oof[np.arange(32), one.labels]).mean() for one in joined.repeats]
    assert summary["log_loss"] == pytest.approx(np.mean(losses))
    assert summary["images"] == 32


def test_more_repeats_do_not_make_the_interval_over_images_narrower_as_more_images_would(features: Features) -> None:
    widths = []
    for repeats in (2, 8):
        summary = summarise(repeat_probe([features], LDA, repeats=repeats))
        widths.append(summary["accuracy_high"] - summary["accuracy_low"])
    assert widths[1] > 0.75 * widths[0]  # as many images: not halved


def test_the_table_has_a_row_a_repeat_and_says_what_is_counted_over_all(features: Features) -> None:
    joined = repeat_probe([features], ProbeOptions("lda", {"shrinkage": 0.3}, calibrate=True), repeats=2)
    shown = render(summarise(joined))
    rows = shown.split("repeat  accuracy")[1].split("\n")[1:3]
    for number, (row, one) in enumerate(zip(rows, joined.repeats, strict=True), start=1):
        assert row.split()[:2] == [str(number), f"{accuracy(one):.1%}"]
    assert "over the repeats      mean of 2 repeats" in shown
    assert "most confused, counted over all 2 repeats" in shown
    assert "final (of the first repeat; test images get the mean of all): " in shown
    assert max(map(len, shown.split("\n"))) <= 120


def test_the_reports_optimistic_score_and_the_certificates_are_those_of_all_repeats(
    make_features: MakeFeatures,
) -> None:
    report = repeat_probe([make_features(classes=2, noise=2.0)], ProbeOptions("report"), repeats=2)
    own = [one.optimistic for one in report.repeats]
    assert None not in own
    assert report.optimistic == pytest.approx(np.mean([each or 0.0 for each in own]))
    logreg = repeat_probe([make_features()], ProbeOptions("logreg"), repeats=2)
    assert logreg.refit.gap == max(one.refit.gap or 0.0 for one in logreg.repeats)
    hasty = ProbeOptions("logreg", {"max_iter": 1, "tol": 1e-9})
    assert repeat_probe([make_features()], hasty, repeats=2).refit.converged is False


def test_a_run_holds_all_repeats_and_compare_reads_them(features: Features, tmp_path: Path) -> None:
    paths = []
    for shrinkage in (0.3, 0.9):
        joined = repeat_probe([features], ProbeOptions("lda", {"shrinkage": shrinkage}), repeats=3)
        paths.append(save_run(joined, summarise(joined), [features], tmp_path))
    with np.load(paths[0] / "predictions.npz", allow_pickle=False) as arrays:
        assert arrays["repeat_oof"].shape == (3, 32, 4)
        assert arrays["repeat_folds"].shape == (3, 32)
        np.testing.assert_array_equal(arrays["repeat_folds"][0], arrays["folds"])
        np.testing.assert_array_equal(arrays["repeat_oof"][0], arrays["oof"])
    comparison = compare_runs([load_predictions(path) for path in paths])
    assert load_predictions(paths[0]).repeat_predicted.shape == (3, 32)
    assert comparison.images == 32
    assert any(note.startswith("of A, B the first repeat is shown") for note in comparison.notes)
    assert load_run(paths[0]).test.shape == (7, 4)


def test_a_run_of_several_files_names_all_of_them(make_features: MakeFeatures, tmp_path: Path) -> None:
    files = [make_features(name="one.h5"), make_features(name="other.h5", seed=2, dim=7)]
    result = repeat_probe(files, LDA, repeats=2)
    config = load_run(save_run(result, summarise(result), files, tmp_path)).config
    assert config["features"] == str(files[0].path)
    assert [each["features"] for each in config["more_features"]] == [str(files[1].path)]
    assert config["more_features"][0]["fingerprint"] == files[1].spec.fingerprint()
    assert config["more_features"][0]["licence"] == "none"


# Refusing


@pytest.mark.parametrize(("more", "where"), [({"repeats": 0}, "--repeats"), ({"jobs": 0}, "--jobs")])
def test_numbers_out_of_range_are_errors(more: dict[str, int], where: str, features: Features) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        repeat_probe([features], LDA, **more)  # type: ignore[arg-type]
    assert caught.value.where == where


def test_folds_of_a_column_cannot_be_dealt_anew(make_features: MakeFeatures) -> None:
    features = make_features(folds=tuple(f"part {index % 3}" for index in range(24)))
    with pytest.raises(FrozenprobeError, match="dealt anew"):
        repeat_probe([features], LDA, repeats=2)
    assert repeat_probe([features], LDA).options.folds == 3
    assert len(repeat_probe([features], ProbeOptions("lda", folds=2), repeats=2).repeats) == 2


# Elsewhere


def test_two_processes_give_what_one_does(features: Features) -> None:
    told: list[tuple[str, int, int]] = []
    apart = repeat_probe([features], LDA, repeats=2, jobs=2, progress=lambda *news: told.append(news))
    assert_equal(apart, repeat_probe([features], LDA, repeats=2))
    assert told == [("repeats", 1, 2), ("repeats", 2, 2)]


def test_processes_read_the_taps_that_were_chosen(make_features: MakeFeatures) -> None:
    features = make_features(taps=(("cls", 8), ("mean", 4))).select_tap("mean")
    here, there = (repeat_probe([features], ProbeOptions("lda"), repeats=2, jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(here.test, there.test)
    assert here.options.tap == there.options.tap == "mean"


def test_progress_says_which_repeat_it_is_of(features: Features) -> None:
    told: list[str] = []
    repeat_probe([features], LDA, repeats=2, progress=lambda stage, done, total: told.append(stage))
    assert list(dict.fromkeys(told)) == ["repeat 1 of 2: fitting", "repeat 2 of 2: fitting"]


def test_an_error_of_another_process_arrives_whole(features: Features) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        repeat_probe([features], ProbeOptions("lda", folds=99), repeats=2, jobs=2)
    assert caught.value.where == "--folds"
    assert caught.value.found == "99"


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Two workers, each a process with one thread."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield str(cluster.scheduler_address)


def test_a_cluster_of_two_workers_gives_what_this_machine_does(features: Features, scheduler: str) -> None:
    told: list[tuple[str, int, int]] = []
    here = repeat_probe([features], LDA, repeats=4)
    there = repeat_probe([features], LDA, repeats=4, scheduler=scheduler, progress=lambda *news: told.append(news))
    assert_equal(there, here)
    assert summarise(there)["accuracy"] == summarise(here)["accuracy"]
    assert told[-1] == ("repeats", 4, 4)


def test_an_error_of_a_worker_arrives_whole(features: Features, scheduler: str) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        repeat_probe([features], ProbeOptions("lda", folds=99), repeats=2, scheduler=scheduler)
    assert caught.value.where == "--folds"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere://x", "tcp://127.0.0.1"])
def test_a_scheduler_that_does_not_answer_is_an_error_with_exit_code_1(
    address: str, features: Features, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("distributed")
    from click.testing import CliRunner

    from frozenprobe.cli import main

    monkeypatch.setattr(module, "PATIENCE", 1.0)
    line = ["probe", str(features.path), "--head", "lda", "--repeats", "2", "--scheduler", address]
    result = CliRunner().invoke(main, [*line, "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 1, result.output
    assert "A dask scheduler" in result.output
    assert f"where:  {address}" in result.output
    assert not (tmp_path / "runs").exists()


def test_a_scheduler_without_workers_is_an_error_and_not_an_endless_wait(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0", silence_logs=50) as cluster,
        pytest.raises(FrozenprobeError, match="at least one worker"),
    ):
        repeat_probe([features], LDA, repeats=2, scheduler=cluster.scheduler_address)


def test_without_dask_the_error_says_what_to_install(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(MissingExtra, match=r"pip install 'frozenprobe\[dask\]'"):
        repeat_probe([features], LDA, repeats=2, scheduler="tcp://127.0.0.1:1")


def test_without_processes_nothing_of_joblib_or_dask_is_loaded(features: Features) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom frozenprobe.cache.store import open_features\n"
        "from frozenprobe.probe.options import ProbeOptions\nfrom frozenprobe.probe.repeats import repeat_probe\n"
        f"repeat_probe([open_features(Path({str(features.path)!r}))], ProbeOptions('ridge'), repeats=2)\n"
        "assert not {'joblib', 'dask', 'sklearn', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
