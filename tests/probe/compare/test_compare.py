"""Comparing runs: matched by name, tested in pairs, and "no difference shown" when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from click.testing import CliRunner

from frozenprobe.cli import main
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.compare.compare import LEVEL, compare_runs, joint_p, paired_p, what_would_show
from frozenprobe.probe.compare.table import render_comparison
from frozenprobe.probe.report.runs import OutOfFold
from frozenprobe.probe.stats.significance import CorrectedT, cluster_p
from frozenprobe.system.json_text import to_json

NAMES = ("10", "2", "NA")


def make_run(right: npt.ArrayLike, *, name: str = "a", repeats: int = 1, **changes: object) -> OutOfFold:
    """A run of three classes whose predictions are right where `right` says so; 5 folds, every image a cluster."""
    rightly = np.asarray(right, dtype=bool)
    images = len(rightly)
    labels = np.arange(images) % 3
    oof = np.full((images, 3), 0.1)
    oof[np.arange(images), np.where(rightly, labels, (labels + 1) % 3)] = 0.8
    folds = np.arange(images) // 3 % 5
    run = OutOfFold(
        path=Path("runs") / name,
        config={"options": {"head": name, "settings": {}}},
        class_names=NAMES,
        ids=tuple(f"{index}.jpg" for index in range(images)),
        labels=labels,
        folds=folds,
        clusters=np.arange(images),
        scored=np.ones(images, dtype=bool),
        oof=oof,
        repeat_predicted=np.tile(oof.argmax(axis=1), (repeats, 1)),
        repeat_folds=np.array([np.random.default_rng(repeat).permutation(folds) for repeat in range(repeats)]),
    )
    return replace(run, **changes)  # type: ignore[arg-type]


def save(run: OutOfFold, folder: Path, created: str = "2026-01-01") -> Path:
    """Write a run as `probe` does, as far as `compare` reads it."""
    path = folder / run.path
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"created": created, **run.config}))
    np.savez(
        path / "predictions.npz",
        class_names=np.array(run.class_names),
        ids=np.array(run.ids),
        labels=run.labels,
        folds=run.folds,
        clusters=run.clusters,
        scored=run.scored,
        oof=run.oof.astype(np.float32),
    )
    return path


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_identical_runs_show_no_difference() -> None:
    right = rng().random(200) < 0.8
    (pair,) = compare_runs([make_run(right), make_run(right, name="b")]).pairs
    assert (pair.p, pair.difference, pair.better) == (1.0, 0.0, None)
    assert pair.verdict == "no difference shown"
    assert pair.low < 0 < pair.high
    assert (pair.log_loss_difference, pair.log_loss_low, pair.log_loss_high) == (0, 0, 0)
    assert pair.images_needed is None


def test_a_clear_difference_is_shown_whichever_way_the_runs_are_named() -> None:
    good, bad = make_run(rng().random(300) < 0.9), make_run(rng(1).random(300) < 0.7, name="b")
    (pair,) = compare_runs([good, bad]).pairs
    (turned,) = compare_runs([bad, good]).pairs
    assert (pair.better, turned.better) == ("A", "B")
    assert pair.p == turned.p < 0.001
    assert pair.low > 0 > turned.high
    assert pair.difference == pytest.approx(-turned.difference)
    assert pair.log_loss_high < 0


def test_the_numbers_are_those_of_references() -> None:
    a, b = rng().random(150) < 0.8, rng(1).random(150) < 0.75
    (pair,) = compare_runs([make_run(a), make_run(b, name="b")]).pairs
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert (pair.only_first_right, pair.only_second_right) == (only_a, only_b)
    assert pair.p == pair.p_images == pytest.approx(scipy.stats.binomtest(only_a, only_a + only_b).pvalue)
    assert pair.difference == pytest.approx((only_a - only_b) / 150)
    losses = -np.log(np.where(a, 0.8, 0.1)) + np.log(np.where(b, 0.8, 0.1))
    assert pair.log_loss_difference == pytest.approx(losses.mean())
    for values, low, high in (
        (a.astype(float) - b, pair.low, pair.high),
        (losses, pair.log_loss_low, pair.log_loss_high),
    ):
        means = [values[rng(seed).integers(150, size=150)].mean() for seed in range(3000)]
        assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.1 * np.ptp([low, high]))


@pytest.mark.parametrize("clustered", [False, True])
def test_equally_good_heads_are_told_apart_no_more_often_than_promised(clustered: bool) -> None:
    random = rng(5)
    clusters = np.arange(90) // 3 if clustered else np.arange(90)
    alarms = outside = 0
    for _ in range(300):
        units = int(clusters.max()) + 1
        hard = random.random(units)  # how hard a cluster is, for both heads alike
        a, b = ((hard + 0.5 * random.normal(size=units) < 0.8)[clusters] for _ in range(2))
        (pair,) = compare_runs([make_run(a, clusters=clusters), make_run(b, name="b", clusters=clusters)]).pairs
        alarms += pair.better is not None
        outside += not pair.low <= 0 <= pair.high
    assert 0.005 <= alarms / 300 <= 0.075
    assert outside / 300 <= 0.09


def test_ten_equally_good_runs_together_raise_few_false_alarms() -> None:
    random = rng(6)
    alarms = unadjusted = 0
    for _ in range(60):
        runs = [make_run(random.random(60) < 0.8, name=str(index)) for index in range(6)]
        pairs = compare_runs(runs).pairs
        assert len(pairs) == 15
        alarms += any(pair.better for pair in pairs)
        unadjusted += any(pair.p_images < LEVEL for pair in pairs)
    assert alarms / 60 <= 0.1
    assert unadjusted / 60 > 0.15


def test_images_of_one_cluster_are_no_independent_evidence() -> None:
    a, b = np.ones(60, dtype=bool), np.arange(60) >= 10  # ten images, all of one patient
    alone = compare_runs([make_run(a), make_run(b, name="b")])
    assert alone.pairs[0].better == "A"
    clusters = np.maximum(np.arange(60) - 9, 0)
    more = [make_run(np.tile(one, 8), name=str(index)) for index, one in enumerate((a, b))]
    each = (clusters + np.arange(8)[:, None] * 60).ravel()
    together = compare_runs([replace(run, clusters=each) for run in more])
    assert together.clusters == 8 * 51
    assert together.pairs[0].p is not None
    assert compare_runs(more).pairs[0].p is not None
    assert together.pairs[0].p > 0.005 > 1e-20 > (compare_runs(more).pairs[0].p or 0.0)
    assert any("McNemar's test would treat them as independent" in note for note in together.notes)
    assert "t-test over clusters, approximate" in render_comparison(together)


def test_few_or_uneven_clusters_are_too_few_to_say() -> None:
    a, b = np.ones(120, dtype=bool), np.arange(120) % 3 == 0
    for clusters in (np.arange(120) // 5, np.maximum(np.arange(120) - 60, 0)):  # 24 of 5; one of 61 and 59 of 1
        comparison = compare_runs([make_run(a, clusters=clusters), make_run(b, name="b")])
        (pair,) = comparison.pairs
        assert (pair.p, pair.p_images, pair.better, pair.smallest_difference, pair.images_needed) == (None,) * 5
        uneven = comparison.effective_clusters < 4
        assert pair.low == -1 if uneven else pair.low > 0  # of 24 the difference's interval is still shown
        assert any("too few to tell a difference from luck; from 30 on" in note for note in comparison.notes)
        assert "too few clusters to say" in render_comparison(comparison)
        assert json.loads(to_json(asdict(comparison)))["pairs"][0]["p"] is None
    assert any("60 clusters (copies, groups), as uneven as 4 of one size" in note for note in comparison.notes)


def test_clusters_of_both_runs_count() -> None:
    right = np.ones(6, dtype=bool)
    first = make_run(right, clusters=np.array([0, 0, 1, 2, 3, 4]))
    second = make_run(right, name="b", clusters=np.array([5, 1, 1, 2, 3, 4]))
    comparison = compare_runs([first, second])
    assert comparison.clusters == 4
    assert any("A and B have different clusters" in note for note in comparison.notes)
    renumbered = replace(first, clusters=5 - first.clusters)
    assert not any("different clusters" in note for note in compare_runs([first, renumbered]).notes)


def test_runs_are_matched_by_image_and_class_name_whatever_their_order() -> None:
    right = rng().random(60) < 0.7
    run, order, classes = make_run(right), rng(1).permutation(60), np.array([2, 0, 1])
    turned = replace(
        run,
        ids=tuple(run.ids[row] for row in order),
        class_names=tuple(NAMES[index] for index in classes),
        labels=np.argsort(classes)[run.labels[order]],
        oof=run.oof[order][:, classes],
        **{name: getattr(run, name)[order] for name in ("folds", "clusters", "scored")},
    )
    comparison = compare_runs([run, turned])
    assert comparison.notes == ()
    assert comparison.pairs[0].only_first_right == comparison.pairs[0].only_second_right == 0
    assert comparison.runs[0].log_loss == pytest.approx(comparison.runs[1].log_loss)


def part_of(run: OutOfFold, images: slice) -> OutOfFold:
    """The run as if it had been made on some of its images."""
    parts = {name: getattr(run, name)[images] for name in ("ids", "labels", "folds", "clusters", "scored", "oof")}
    repeats = {name: getattr(run, name)[:, images] for name in ("repeat_predicted", "repeat_folds")}
    return replace(run, **parts, **repeats)


def test_only_images_that_all_runs_scored_are_compared_and_their_number_is_said() -> None:
    run = make_run(rng().random(60) < 0.7)
    scored = np.arange(60) >= 5
    comparison = compare_runs([part_of(run, slice(0, 50)), replace(run, scored=scored), part_of(run, slice(2, 60))])
    assert comparison.images == 45
    assert "compared on the 45 training images" in comparison.notes[0]
    assert "A has 50, B has 60, C has 58" in comparison.notes[0]


def test_runs_without_a_shared_image_are_an_error() -> None:
    run = make_run(np.ones(20, dtype=bool))
    with pytest.raises(FrozenprobeError, match="all runs predicted out of fold"):
        compare_runs([part_of(run, slice(0, 10)), part_of(run, slice(10, 20))])


def test_labels_that_contradict_each_other_are_an_error_that_names_the_image() -> None:
    run = make_run(np.ones(20, dtype=bool))
    labels = run.labels.copy()
    labels[4] = 2
    with pytest.raises(FrozenprobeError, match=r"1 images with two labels: 4.jpg \(2 and NA\)"):
        compare_runs([run, replace(run, labels=labels)])


def test_different_folds_and_classes_are_allowed_and_said() -> None:
    run = make_run(np.ones(60, dtype=bool))
    renumbered = replace(run, folds=(run.folds + 2) % 5)
    assert compare_runs([run, renumbered]).notes == ()
    more = replace(run, class_names=(*NAMES, "rare"), oof=np.hstack([run.oof, np.zeros((60, 1))]))
    notes = compare_runs([run, replace(run, folds=np.arange(60) % 5), more]).notes
    assert any("A and B have different folds" in note for note in notes)
    assert any("A and C choose among different classes" in note for note in notes)


def test_one_run_is_an_error() -> None:
    with pytest.raises(FrozenprobeError, match="Two or more runs"):
        compare_runs([make_run([True])])


def test_repeats_add_the_corrected_t_test_over_their_folds() -> None:
    a, b = rng().random(100) < 0.9, rng(1).random(100) < 0.7
    runs = [make_run(a, repeats=3), make_run(b, name="b", repeats=4)]
    (pair,) = compare_runs(runs).pairs
    folds = runs[0].repeat_folds
    per_fold = [[(a[deal == k].mean() - b[deal == k].mean()) for k in range(5)] for deal in folds]
    differences = np.ravel(per_fold)
    # folds of 19 to 21 images: n_test / n_train is their mean, near 1/4
    t = differences.mean() / np.sqrt((1 / 15 + 0.25) * differences.var(ddof=1))
    assert pair.repeats is not None
    assert pair.repeats.freedom == 14
    assert pair.repeats.difference == pytest.approx(differences.mean())
    assert pair.repeats.t == pytest.approx(t, rel=0.01)
    assert pair.p == max(pair.p_images, pair.repeats.p)
    assert "over 15 folds of the repeats" in render_comparison(compare_runs(runs))


def test_repeats_on_other_folds_or_a_single_one_are_left_out() -> None:
    right = rng().random(100) < 0.9
    run = make_run(right, repeats=3)
    assert compare_runs([run, replace(run, repeat_folds=run.repeat_folds[::-1])]).pairs[0].repeats is None
    assert compare_runs([run, make_run(right)]).pairs[0].repeats is None


def test_a_difference_has_to_show_over_images_and_over_repeats_the_same_way() -> None:
    sure = CorrectedT(difference=0.1, t=9.0, freedom=14, p=0.001)
    assert joint_p(0.02, 0.1, None) == 0.02
    assert joint_p(0.02, 0.1, sure) == 0.02
    assert joint_p(0.02, 0.1, replace(sure, p=0.3)) == 0.3
    assert joint_p(0.02, -0.1, sure) == 1.0


def test_the_smallest_difference_is_shown_about_four_times_of_five() -> None:
    images, random, shown = 400, rng(7), 0
    discordant = 0.2
    typical = np.repeat([1, -1, 0], [40, 40, 320]).astype(float)
    smallest, needed = what_would_show(typical, np.arange(images), level=0.05)
    assert needed is None
    for _ in range(200):
        first = random.random(images) < (discordant + smallest) / 2 / discordant
        differs = random.random(images) < discordant
        only_a, only_b = int((differs & first).sum()), int((differs & ~first).sum())
        shown += scipy.stats.binomtest(only_a, only_a + only_b).pvalue < 0.05
    assert 0.7 <= shown / 200 <= 0.9


def test_the_smallest_difference_over_clusters_is_shown_about_four_times_of_five() -> None:
    random, clusters = rng(8), np.arange(400) // 4
    typical = np.repeat([1, -1, 0], [40, 40, 320])[random.permutation(400)].astype(float)
    smallest, _ = what_would_show(typical, clusters, level=0.05)
    chances = [0.1 + smallest / 2, 0.1 - smallest / 2, 0.8]
    found = [paired_p(random.choice([1.0, -1.0, 0.0], p=chances, size=400), clusters) for _ in range(200)]
    assert 0.7 <= np.mean([p is not None and p < 0.05 for p in found]) <= 0.9
    again = what_would_show(np.tile(typical, 4), np.arange(1600) // 4, level=0.05)[0]
    assert 0.4 * smallest < again < 0.5 * smallest  # of four times the images: a half, and less against it


def test_the_images_needed_over_clusters_show_it_about_four_times_of_five() -> None:
    random, chances = rng(9), [0.13, 0.07, 0.8]
    once = np.repeat([1.0, -1.0, 0.0], [26, 14, 160])[random.permutation(200)]
    needed = what_would_show(once, np.arange(200) // 4, level=0.05)[1]
    assert needed is not None
    sums, more = once.reshape(50, 4).sum(axis=1), needed / 200  # an image has 3 companions: 1.5 of them are against
    assert 12 * more - 1.5 == pytest.approx(2.8016 * np.sqrt(more * (sums @ sums) + 1.5**2), rel=0.01)
    clusters = np.arange(needed) // 4
    found = [paired_p(random.choice([1.0, -1.0, 0.0], p=chances, size=needed), clusters) for _ in range(200)]
    assert 0.7 <= np.mean([p is not None and p < 0.05 for p in found]) <= 0.9


def test_no_differing_image_leaves_a_smallest_difference_over_clusters() -> None:
    smallest, needed = what_would_show(np.zeros(400), np.arange(400) // 4, level=0.05)
    sums = np.append(np.ones(round(400 * smallest)), np.zeros(100))[:100]
    assert cluster_p(sums, np.full(100, 4.0)) < 0.05 < cluster_p(np.append(sums[1:], 0), np.full(100, 4.0))
    assert needed is None


def test_few_images_cannot_show_what_no_outcome_of_the_test_would() -> None:
    assert what_would_show(np.zeros(100), np.arange(100), level=0.05)[0] == 0.06  # 6 images one way: p = 2 / 2^6
    assert scipy.stats.binomtest(6, 6).pvalue < 0.05 < scipy.stats.binomtest(5, 5).pvalue
    tiny = compare_runs([make_run([True] * 4), make_run([False] * 4, name="b")])
    assert tiny.pairs[0].better is None
    assert "too few to show any difference" in render_comparison(tiny)


def test_the_images_needed_grow_with_the_square_of_the_difference() -> None:
    def needed(first: int, second: int) -> int:
        differences = np.repeat([1.0, -1.0, 0.0], [first, second, 1000 - first - second])
        count = what_would_show(differences, np.arange(1000), level=0.05)[1]
        assert count is not None
        return count

    assert needed(52, 48) / needed(54, 46) == pytest.approx(4, rel=0.01)
    # n = (1.96 + 0.84)^2 q / d^2 with a share q = 0.1 of discordant images and d = 0.004
    assert needed(52, 48) == pytest.approx(2.8016**2 * 0.1 / 0.004**2, rel=0.001)


def test_the_table_says_who_won_and_what_would_be_needed() -> None:
    good, bad = make_run(rng().random(300) < 0.9, name="good"), make_run(rng(1).random(300) < 0.6, name="bad")
    near = make_run(rng(2).random(300) < 0.88, name="near")
    text = render_comparison(compare_runs([bad, good, near]))
    lines = {line[:5]: line for line in text.splitlines()[5:9]}
    assert lines["A - B"].endswith("B is better")
    assert lines["A - C"].endswith("C is better")
    assert lines["B - C"].endswith("no difference shown")
    assert "Holm" in text
    assert "such images would show a difference of" in text
    assert "good: good" in text


def test_runs_are_told_apart_by_what_differs() -> None:
    right = [True, False] * 10
    options = {"head": "lda", "settings": {"shrinkage": 0.3}, "folds": 5, "views": None}
    configs = [
        {"options": options, "features": "/x/a.h5", "fingerprint": "1"},
        {"options": {**options, "settings": {"shrinkage": 0.4}, "views": 2}, "features": "/x/b.h5", "fingerprint": "2"},
    ]
    first, second = compare_runs([make_run(right, config=config) for config in configs]).runs
    assert first.description == "lda, shrinkage = 0.3, views = None, features = a.h5"
    assert second.description == "lda, shrinkage = 0.4, views = 2, features = b.h5"
    moved = [configs[0], {**configs[0], "features": "/y/a.h5"}, {}]
    assert [run.description for run in compare_runs([make_run(right, config=config) for config in moved[:2]]).runs] == [
        "lda",
        "lda",
    ]
    assert compare_runs([make_run(right, config=config) for config in moved]).runs[2].description == "unknown head"


def test_runs_of_before_and_after_probe_had_a_device_differ_in_it_only_where_it_was_no_cpu() -> None:
    right, settings = np.ones(20, dtype=bool), {"c": 1.0, "solver": "own"}
    after, cpu, cuda = (
        make_run(right, config={"options": {"head": "logreg", "settings": settings | more}})
        for more in ({}, {"device": "cpu"}, {"device": "cuda"})
    )
    assert [run.description for run in compare_runs([after, cpu]).runs] == ["logreg", "logreg"]
    assert [run.description for run in compare_runs([cpu, cuda]).runs] == ["logreg", "logreg, device = cuda"]


def test_more_runs_than_letters_keep_different_names() -> None:
    runs = compare_runs([make_run([True] * 6, name=str(index)) for index in range(28)]).runs
    assert [run.name for run in runs[24:]] == ["Y", "Z", "R27", "R28"]


def test_the_command_compares_the_named_runs_or_the_two_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for index in range(3):
        save(make_run(rng(index).random(60) < 0.5 + 0.2 * index, name=f"run{index}"), tmp_path, f"2026-01-0{index + 1}")
    newest = CliRunner().invoke(main, ["compare"])
    assert newest.exit_code == 0
    assert "run1: run1" in newest.stdout
    assert "run2: run2" in newest.stdout
    assert "run0" not in newest.stdout
    named = CliRunner().invoke(main, ["compare", "runs/run0", "runs/run2", "--json"])
    values = json.loads(named.stdout)
    assert values["images"] == 60
    assert values["pairs"][0]["better"] == "B"
    assert set(values["pairs"][0]) >= {"difference", "low", "high", "p", "log_loss_difference", "smallest_difference"}


def test_comparing_runs_loads_scipy_for_a_t_test_only(tmp_path: Path) -> None:
    for name in "ab":
        save(make_run(rng().random(60) < 0.7, name=name), tmp_path)
    heavy = ("h5py", "scipy", "sklearn", "pandas", "torch")
    code = (
        "import sys\nfrom frozenprobe.cli import main\n"
        "try: main(['compare', 'runs/a', 'runs/b'])\nexcept SystemExit as end: assert not end.code\n"
        f"print('LOADED', *[name for name in {heavy!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    ("arguments", "description"),
    [
        (["--runs", "nowhere"], "2 runs"),
        (["runs/a"], "Two or more runs"),
        (["runs/a", "nowhere"], "folder of a run"),
    ],
)
def test_what_cannot_be_compared_is_a_message_and_exit_code_1(
    arguments: list[str], description: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(make_run([True] * 6), tmp_path)
    result = CliRunner().invoke(main, ["compare", *arguments])
    assert result.exit_code == 1
    assert description in result.stderr
    assert "to do:" in result.stderr


def test_all_numbers_are_json() -> None:
    runs = [make_run([True] * 30, repeats=2), make_run([False] * 30, name="b", repeats=2)]
    values = json.loads(to_json(asdict(compare_runs(runs))))
    assert values["pairs"][0]["repeats"]["t"] is None  # infinite: every fold has the same difference
    assert values["runs"][0]["path"] == "runs/a"
