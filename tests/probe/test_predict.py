"""From a task to its predictions: the tripwires of `auto` and `--calibrate`, blends, several sources, test images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.arrays import Doubles, Ints, softmax
from frozenprobe.probe.checks import transductive, tripwire
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.fit.halves import HALVED_FOLDS
from frozenprobe.probe.fit.trainer import LEAST, FittedProbe, Trainer
from frozenprobe.probe.folds import subsets
from frozenprobe.probe.heads.head import FittedHead, image_weights
from frozenprobe.probe.heads.parts.scaling import Scaling, fit_scaling
from frozenprobe.probe.heads.parts.temperature import apply_temperature, fit_temperature
from frozenprobe.probe.heads.registry import SHRINKAGES
from frozenprobe.probe.inputs import Inputs, side_by_side
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.predict import predict
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.select import run as choosing
from frozenprobe.probe.select.candidates import Portfolio
from frozenprobe.probe.select.choose import Member, Trials
from frozenprobe.probe.select.nested import HeldOut, NestedFolds
from frozenprobe.probe.stats.metrics import log_loss
from frozenprobe.probe.task import Task
from tests.conftest import MakeFeatures

CLASSES, DIM, TEST = 4, 8, 6
AUTO = ProbeOptions("auto", budget=math.inf)
CALIBRATED = ProbeOptions("lda", {"shrinkage": 0.1}, scale="global", aggregate="rows", calibrate=True)
PLAIN = replace(CALIBRATED, calibrate=False)


def make_source(
    labels: Ints, tested: Ints, *, noise: float = 1.0, seed: int = 0, dim: int = DIM, name: str = ""
) -> Inputs:
    """Overlapping classes in 2 fixed and 1 augmented view."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CLASSES, dim))

    def draw(truth: Ints, views: int) -> npt.NDArray[np.float32]:
        images = centres[truth] + noise * rng.normal(size=(len(truth), dim))
        return (3 + images[:, None] + 0.2 * rng.normal(size=(len(truth), views, dim))).astype(np.float32)

    train = draw(labels, 3)
    return Inputs(name, train, train[:, :2], draw(tested, 2))


def make_task(options: ProbeOptions, *, per_class: int = 10, folds: int = 5, noise: float = 1.0, seed: int = 0) -> Task:
    labels = np.repeat(np.arange(CLASSES), per_class)
    tested = np.arange(TEST) % CLASSES
    count = len(labels)
    return Task(
        options=replace(options, folds=folds),
        sources=[make_source(labels, tested, noise=noise, seed=seed)],
        labels=labels,
        folds=np.arange(count) % folds,
        scored=np.ones(count, dtype=bool),
        clusters=np.arange(count),
        hashes=tuple(f"{image:064x}" for image in range(count)),
        classes=CLASSES,
        usable=np.ones(TEST, dtype=bool),
    )


def run(task: Task) -> Outcome:
    return predict(task, lambda stage, done, total: None)


def accuracy(task: Task, outcome: Outcome) -> float:
    return float((outcome.oof.argmax(axis=1) == task.labels).mean())


# Invariant 5: what is held out decides neither the choice nor the answers. The check is a function, so that it can be
# shown to find a leak.


def run_and_watch(task: Task) -> tuple[Outcome, list[list[Member]]]:
    """The outcome, and what every fold, and then all images, chose."""
    chosen: dict[int, list[Member]] = {}
    choose = Trials.choose

    def watch(trials: Trials, choice: int) -> list[Member]:
        chosen[choice] = choose(trials, choice)
        return chosen[choice]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trials, "choose", watch)
        outcome = run(task)
    return outcome, [chosen[choice] for choice in sorted(chosen)]


def other_labels(task: Task, held: Ints) -> Task:
    labels = task.labels.copy()
    labels[held] = (labels[held] + 1) % CLASSES
    return replace(task, labels=labels)


def poisoned(task: Task, images: Ints) -> Task:
    """Their features are far away from all others, in all views."""
    sources = []
    for number, source in enumerate(task.sources):
        train = source.train.copy()
        train[images] = 1e3 * np.random.default_rng(number).normal(size=train[images].shape)
        sources.append(replace(source, train=train, val=train[:, : source.val.shape[1]]))
    return replace(task, sources=sources)


def find_leaks(task: Task, fold: int, *, atol: float = 1e-4) -> set[str]:
    """What the labels, or the features, of a held-out fold change that they must not."""
    held = np.flatnonzero(task.folds == fold)
    outcome, chosen = run_and_watch(task)
    found = set()
    # the answer to a poisoned image is another one of course: only the second half is asked about
    for kind, changed, kept in (
        ("labels", other_labels(task, held), held),
        ("features", poisoned(task, held[::2]), held[1::2]),
    ):
        other, chosen_then = run_and_watch(changed)
        if not np.allclose(other.oof[kept], outcome.oof[kept], rtol=0, atol=atol):
            found.add(f"{kind} change answers")
        if chosen and not same_choice(chosen[fold], chosen_then[fold], atol=atol):
            found.add(f"{kind} change the choice")
        beside = task.folds != fold
        assert not np.allclose(other.oof[beside], outcome.oof[beside], rtol=0, atol=atol)  # they were trained on
    return found


def same_choice(one: Sequence[Member], other: Sequence[Member], *, atol: float) -> bool:
    numbers = [[member.number for member in members] for members in (one, other)]
    return numbers[0] == numbers[1] and all(
        np.allclose([getattr(member, name) for member in one], [getattr(member, name) for member in other], atol=atol)
        for name in ("weight", "share")
    )


@pytest.mark.parametrize("folds", [3, 5])
@pytest.mark.parametrize("options", [AUTO, CALIBRATED, PLAIN], ids=["auto", "calibrate", "plain"])
def test_labels_and_features_of_a_held_out_fold_change_neither_its_choice_nor_its_answers(
    options: ProbeOptions, folds: int
) -> None:
    task = make_task(options, folds=folds)
    assert find_leaks(task, 1) == set()


@pytest.mark.parametrize("head", ["cosine", "knn", "ridge"])
def test_nothing_is_changed_to_the_last_bit_where_fits_share_no_product(head: str) -> None:
    options = replace(CALIBRATED, head=head, settings={"k": 12} if head == "knn" else {})
    assert find_leaks(make_task(options), 2, atol=0) == set()


@pytest.mark.parametrize("scale", ["standard", "none"])
def test_features_that_are_not_normalised_leak_no_more(scale: str) -> None:
    assert find_leaks(make_task(replace(CALIBRATED, scale=scale)), 0) == set()


@pytest.mark.parametrize("class_weight", ["balanced"])
def test_balanced_classes_leak_no_more(class_weight: str) -> None:
    task = make_task(replace(CALIBRATED, class_weight=class_weight))
    kept = np.setdiff1d(np.arange(40), [0, 1, 2, 10])
    task = replace(
        task,
        sources=[replace(each, train=each.train[kept], val=each.val[kept]) for each in task.sources],
        labels=task.labels[kept],
        folds=task.folds[kept],
        scored=task.scored[kept],
        clusters=np.arange(len(kept)),
        hashes=task.hashes[: len(kept)],
    )
    assert find_leaks(task, 1) == set()


# The same check finds what it is there to find


def scale_on_all(patch: pytest.MonkeyPatch) -> None:
    """The scaling is fitted on all images."""

    def scaling_of(self: Trainer, images: Ints) -> Scaling:
        rows = self.rows_of(np.arange(len(self.labels)))
        return fit_scaling(self.scale, rows.features, rows.weight)

    def fit(self: Trainer, images: Ints) -> FittedProbe:
        rows, scaling = self.rows_of(images), self.scaling_of(images)
        fitted = self.head.fit(replace(rows, features=scaling.apply(rows.features)), seed=self.seed)
        return self.fitted(fitted, scaling, np.unique(self.labels[images]))

    patch.setattr(Trainer, "scaling_of", scaling_of)
    patch.setattr(Trainer, "fit", fit)
    patch.setattr(Trainer, "moment_path", lambda self, heads: None)


def choose_on_all(patch: pytest.MonkeyPatch) -> None:
    """Every fold chooses (a temperature, a C, a blend) on the out-of-fold answers of all images, its own among them."""

    def of(folds: Ints, labels: Ints, deal: Callable[[Ints], Ints]) -> NestedFolds:
        count = int(folds.max()) + 1
        parts = [np.flatnonzero(folds == k) for k in range(count)]
        return NestedFolds(
            subsets=[np.flatnonzero(folds != k) for k in range(count)],
            held_out=[[HeldOut(part), *(HeldOut(part, k) for k in range(count))] for part in parts],
            chosen_on=[np.arange(len(folds))] * count,
        )

    patch.setattr(NestedFolds, "of", staticmethod(of))


def only_c(patch: pytest.MonkeyPatch) -> None:
    """Nothing but C is left to choose."""
    candidates = [Candidate("logreg", "global", "rows", {"c": c}) for c in (0.001, 0.03, 1.0)]
    patch.setattr(choosing, "make_portfolio", lambda *given, **more: Portfolio(candidates, []))


def test_a_scaling_fitted_on_all_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in (PLAIN, CALIBRATED):
        with monkeypatch.context() as patch:
            scale_on_all(patch)  # a shift and one factor for all features, as in `global`, change no answer of LDA
            assert "features change answers" in find_leaks(make_task(replace(options, scale="standard")), 1)
    with monkeypatch.context() as patch:
        only_c(patch)
        assert find_leaks(make_task(AUTO), 1) == set()
        scale_on_all(patch)
        assert "features change answers" in find_leaks(make_task(AUTO), 1)


def test_a_temperature_fitted_on_all_out_of_fold_answers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_on_all(monkeypatch)
    assert find_leaks(make_task(CALIBRATED), 1) >= {"labels change the choice", "labels change answers"}


def test_a_c_or_a_blend_chosen_on_all_images_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    choose_on_all(monkeypatch)
    assert find_leaks(make_task(AUTO), 1) >= {"labels change the choice", "labels change answers"}
    only_c(monkeypatch)
    assert find_leaks(make_task(AUTO), 1) >= {"labels change the choice", "labels change answers"}


# Labels that cannot be predicted


def test_auto_predicts_shuffled_labels_at_chance() -> None:
    task = make_task(AUTO, per_class=20, noise=0.5)
    assert accuracy(task, run(task)) > 0.9
    shuffled = replace(task, labels=np.random.default_rng(0).permutation(task.labels))
    found = accuracy(shuffled, run(shuffled))
    assert abs(found - 1 / CLASSES) < 3.5 * math.sqrt(0.25 * 0.75 / 80)


@pytest.mark.parametrize("options", [PLAIN, replace(PLAIN, transductive=True), CALIBRATED])
def test_the_tripwire_says_that_all_is_well(options: ProbeOptions) -> None:
    outcome = run(make_task(replace(options, tripwire=True)))
    (note,) = [note for note in outcome.notes if note.startswith("tripwire: ")]
    assert "as it must be" in note


def test_the_tripwire_names_leakage_when_folds_split_what_belongs_together() -> None:
    task = make_task(replace(PLAIN, tripwire=True), per_class=20)
    (source,) = task.sources
    pairs = np.arange(80) // 2 * 2  # every image twice, in two folds
    twice = replace(source, train=source.train[pairs], val=source.val[pairs])
    options = ProbeOptions("knn", {"k": 1}, scale="global", aggregate="rows", tripwire=True)
    outcome = run(replace(task, options=options, sources=[twice], clusters=pairs // 2))
    assert any("LEAKAGE" in note for note in outcome.notes)


def test_the_tripwire_runs_what_is_asked_for_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    task = make_task(replace(PLAIN, transductive=True, tripwire=True))
    plain = run(replace(task, options=replace(task.options, tripwire=False)))
    refine = transductive.refine_predictions

    def watch(*given: object) -> object:
        ran.append("refine")
        return refine(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(transductive, "refine_predictions", watch)
    outcome = predict(task, lambda stage, done, total: ran.append(stage))
    np.testing.assert_array_equal(outcome.oof, plain.oof)
    np.testing.assert_array_equal(outcome.test, plain.test)
    assert ran.count("refine") == 2 * 6  # with the labels as they are, and shuffled
    assert "shuffled labels: fitting" in ran


def test_the_tripwire_judges_images_that_were_held_out_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []
    judge = tripwire.judge_shuffled
    monkeypatch.setattr(tripwire, "judge_shuffled", lambda *given: (judged.append(len(given[0])), judge(*given))[1])
    task = make_task(replace(PLAIN, tripwire=True))
    never = np.arange(len(task.labels)) % 4 == 0
    run(replace(task, folds=np.where(never, -1, task.folds), scored=~never))
    assert judged == [30]


# Transductive


def test_transductive_answers_depend_on_no_held_out_label() -> None:
    task = make_task(replace(PLAIN, transductive=True), noise=1.5)
    held = np.flatnonzero(task.folds == 1)
    one, other = run(task), run(other_labels(task, held))
    np.testing.assert_array_equal(one.oof[held], other.oof[held])
    assert (one.oof[task.folds != 1] != other.oof[task.folds != 1]).any()


def test_transductive_answers_use_the_features_beside_them_and_say_so_loudly() -> None:
    task = make_task(replace(PLAIN, transductive=True), noise=1.5)
    outcome, plain = run(task), run(replace(task, options=PLAIN))
    assert np.abs(outcome.oof - plain.oof).max() > 0.01
    assert np.abs(outcome.test - plain.test).max() > 0.01
    (note,) = outcome.notes
    assert note.startswith("TRANSDUCTIVE: ")
    assert f"accuracy {accuracy(task, outcome):.1%} out of fold" in note
    assert f"{accuracy(task, plain):.1%} without it" in note
    assert f"of {TEST} unlabelled images" in note
    assert task.options.describe().endswith("; TRANSDUCTIVE")
    for score in outcome.fold_scores:
        own = task.folds == score.fold
        assert score.accuracy == (outcome.oof[own].argmax(axis=1) == task.labels[own]).mean()


def test_transductive_without_test_images_and_of_several_files() -> None:
    task = make_task(replace(PLAIN, transductive=True))
    more = make_source(task.labels, np.arange(TEST) % CLASSES, seed=3, dim=5, name="other")
    joined = [side_by_side([getattr(one, of) for one in (*task.sources, more)]) for of in ("train", "val", "test")]
    sources = [replace(task.sources[0], name="one"), more, Inputs("side by side", *joined)]
    outcome = run(replace(task, sources=sources))
    np.testing.assert_allclose(outcome.oof.sum(axis=1), 1, atol=1e-9)
    alone = replace(task.sources[0], test=task.sources[0].test[:0])
    nothing = run(replace(task, sources=[alone], usable=np.zeros(0, dtype=bool)))
    assert nothing.test.shape == (0, CLASSES)
    assert nothing.notes[0].endswith("test: no test images")
    assert "each fold as the unlabelled set, which says little about larger ones" in nothing.notes[0]
    assert "each fold beside the test images" in outcome.notes[0]


def test_the_transductive_effect_out_of_fold_is_about_the_one_on_test_images_like_these() -> None:
    options = ProbeOptions("ridge", scale="global", aggregate="rows", transductive=True)
    labels, truth = np.repeat(np.arange(20), 10), np.arange(400) % 20
    beside, alone, gained = [], [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        centres = 0.6 * rng.normal(size=(20, 30))
        train, test = (
            (centres[each] + rng.normal(size=(len(each), 30))).astype(np.float32)[:, None] for each in (labels, truth)
        )
        task = replace(
            make_task(options),
            sources=[Inputs("", train, train, test)],
            labels=labels,
            folds=np.arange(200) % 5,
            scored=np.ones(200, dtype=bool),
            clusters=np.arange(200),
            hashes=tuple(f"{image:064x}" for image in range(200)),
            classes=20,
            usable=np.ones(400, dtype=bool),
        )
        few = replace(task, sources=[Inputs("", train, train, test[:0])], usable=np.ones(0, dtype=bool))
        plain, found = run(replace(task, options=replace(task.options, transductive=False))), run(task)
        beside.append(accuracy(task, found) - accuracy(task, plain))
        alone.append(accuracy(task, run(few)) - accuracy(task, plain))
        gained.append(np.mean(found.test.argmax(axis=1) == truth) - np.mean(plain.test.argmax(axis=1) == truth))
    assert np.mean(gained) > 0.02
    assert abs(np.mean(beside) - np.mean(gained)) < 0.02
    assert abs(np.mean(alone) - np.mean(gained)) > 0.03


# Test images


@pytest.mark.parametrize("options", [PLAIN, CALIBRATED, AUTO, replace(PLAIN, transductive=True)])
def test_bad_test_images_get_the_shares_of_the_classes(options: ProbeOptions) -> None:
    usable = np.array([True, False, True, True, False, True])
    task = make_task(replace(options, budget=0.0))
    outcome = run(replace(task, usable=usable))
    np.testing.assert_allclose(outcome.test[~usable], 1 / CLASSES)
    assert (np.abs(outcome.test[usable] - 1 / CLASSES).max(axis=1) > 0.05).all()
    np.testing.assert_allclose(outcome.test.sum(axis=1), 1, atol=1e-9)


def answer_again(model: dict[str, npt.NDArray[np.generic]], sources: Sequence[Inputs]) -> Doubles:
    """The test answers of a blend of linear heads, from its arrays alone."""
    weights = np.asarray(model["weights"], dtype=np.float64)
    logs = []
    for number in range(len(weights)):
        own = {name: model[f"member{number}_{name}"] for name in ("coefficients", "intercepts")}
        scaling = Scaling(*(model[f"member{number}_scale_{name}"] for name in ("unit", "shift", "factor")))  # type: ignore[arg-type]
        inputs = sources[int(model[f"member{number}_source"])].aggregated(str(model[f"member{number}_aggregate"]))  # type: ignore[call-overload]
        rows = scaling.apply(inputs.test).astype(np.float64)
        answers = softmax(rows @ np.asarray(own["coefficients"], dtype=np.float64).T + own["intercepts"])
        logs.append(np.log(np.maximum(answers.mean(axis=1), LEAST)))
    return softmax(np.tensordot(weights, np.array(logs), axes=1))


def test_test_answers_of_a_blend_are_those_of_its_members_refitted_on_all_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidates = [
        Candidate("lda", "global", "rows", {"shrinkage": 0.3}),
        Candidate("lda", "standard", "clean", {"shrinkage": 0.8}),
        Candidate("ridge", "global", "mean", {"alpha": 0.1}),
        Candidate("logreg", "global", "mean", {"c": 1.0}, 0, {"tol": 1e-2}),
    ]
    members = [Member(number, 0.4, 0.25) for number in (2, 0, 3, 1)]
    monkeypatch.setattr(choosing, "make_portfolio", lambda *given, **more: Portfolio(candidates, []))
    monkeypatch.setattr(Trials, "best", lambda trials, choice: [0, 1, 2, 3])  # all are kept
    monkeypatch.setattr(Trials, "choose", lambda trials, choice: members)
    task = make_task(AUTO, noise=1.5)
    outcome = run(task)
    np.testing.assert_allclose(outcome.test, answer_again(outcome.model, task.sources), atol=1e-5)
    for number, member in enumerate(members):  # each as one fit on everything, to its own tolerance
        candidate = candidates[member.number]
        assert str(outcome.model[f"member{number}_head"]) == candidate.head
        inputs = task.sources[0].aggregated(candidate.aggregate)
        trainer = choosing.trainer_of(
            candidate.final(), inputs, task.labels, task.clusters, options=task.options, total=CLASSES
        )
        ((fitted,),) = trainer.fit_grid([trainer.head], [np.arange(len(task.labels))])
        found = fitted.head.arrays()["coefficients"]
        np.testing.assert_allclose(np.asarray(outcome.model[f"member{number}_coefficients"]), found, atol=1e-6)
    assert outcome.refit.gap is not None
    assert outcome.refit.gap <= 1e-5  # not the trial's 1e-2


# Several sources


def make_sources(task: Task, noise: float) -> list[Inputs]:
    tested = np.arange(TEST) % CLASSES
    one = replace(task.sources[0], name="one")
    other = make_source(task.labels, tested, noise=noise, seed=5, dim=6, name="other")
    joined = [side_by_side([getattr(each, of) for each in (one, other)]) for of in ("train", "val", "test")]
    return [one, other, Inputs("side by side", *joined)]


def test_one_head_on_several_files_is_blended_or_put_side_by_side_inside_the_folds() -> None:
    task = make_task(PLAIN, noise=1.5)
    both = replace(task, sources=make_sources(task, 1.5))
    outcome = run(both)
    assert [score.description.split(" (")[0] for score in outcome.candidates] == ["lda, shrinkage = 0.1"] * 3
    assert {score.family for score in outcome.candidates} == {
        f"lda (rows, {name})" for name in ("one", "other", "side by side")
    }
    assert sum(score.share for score in outcome.candidates) == pytest.approx(1)
    assert accuracy(both, outcome) > accuracy(task, run(task))
    np.testing.assert_allclose(outcome.test, answer_again(outcome.model, both.sources), atol=1e-5)


def test_a_file_of_noise_gets_almost_no_share() -> None:
    task = make_task(PLAIN, noise=0.8, per_class=20)
    both = replace(task, sources=make_sources(task, 100.0))
    outcome = run(both)
    shares = {score.family: score.share for score in outcome.candidates}
    assert shares["lda (rows, other)"] < 0.05
    assert accuracy(both, outcome) > accuracy(task, run(task)) - 0.03


def test_auto_tries_every_source() -> None:
    task = make_task(replace(AUTO, budget=math.inf))
    outcome = run(replace(task, sources=make_sources(task, 1.0)))
    for name in ("one", "other", "side by side"):
        assert any(name in score.family for score in outcome.candidates)


# Blends and what is said about them


def test_auto_is_no_worse_than_the_best_candidate_by_far_and_says_what_it_chose() -> None:
    task = make_task(AUTO, per_class=20, noise=1.3)
    outcome = run(task)
    losses = [score.log_loss for score in outcome.candidates]
    assert losses == sorted(losses)
    own = -np.log(outcome.oof[np.arange(80), task.labels]).mean()
    assert own < losses[0] + 0.1
    assert outcome.uncalibrated is None
    assert sum(score.share for score in outcome.candidates) == pytest.approx(1)
    for score in outcome.candidates:
        assert (f" {score.description}" in outcome.chosen) == (score.share > 0)
    assert all(fold.description for fold in outcome.fold_scores)


def test_a_temperature_from_inner_folds_makes_a_head_honest_and_changes_no_answer() -> None:
    sure = ProbeOptions("logreg", {"c": 100.0, "tol": 1e-8}, scale="global", aggregate="rows", calibrate=True)
    task = make_task(sure, per_class=15, noise=1.5)
    outcome, plain = run(task), run(replace(task, options=replace(sure, calibrate=False)))
    np.testing.assert_array_equal(outcome.oof.argmax(axis=1), plain.oof.argmax(axis=1))
    before, after = (-np.log(each[np.arange(60), task.labels]).mean() for each in (plain.oof, outcome.oof))
    assert after < before - 0.02
    assert outcome.uncalibrated is not None
    np.testing.assert_allclose(outcome.uncalibrated, plain.oof, atol=1e-4)


def test_balanced_classes_weigh_alike_in_every_choice_in_the_temperature_and_in_what_is_said_of_candidates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task(replace(CALIBRATED, class_weight="balanced"), per_class=15, noise=1.5)
    some = np.flatnonzero((task.labels < 2) | (np.arange(60) % 3 == 0))
    (source,) = task.sources
    source = replace(source, train=source.train[some], val=source.val[some])
    labels, hashes = task.labels[some], tuple(task.hashes[image] for image in some)
    rest = {"folds": task.folds[some], "scored": task.scored[some], "clusters": np.arange(len(some)), "hashes": hashes}
    task = replace(task, sources=[source], labels=labels, **rest)
    weights: list[tuple[Ints, Doubles]] = []
    choose = Trials.choose

    def watch(trials: Trials, choice: int) -> list[Member]:
        weights.append((trials.choices[choice].labels, trials.choices[choice].weight))
        return choose(trials, choice)

    monkeypatch.setattr(Trials, "choose", watch)
    outcome = run(task)
    assert len(weights) == 6
    for chosen_on, weight in weights:
        shares = np.bincount(chosen_on, weights=weight)
        np.testing.assert_allclose(shares[shares > 0], shares.max())
    assert outcome.uncalibrated is not None
    balanced = image_weights(labels, "balanced")
    logits = np.log(np.maximum(outcome.uncalibrated, LEAST))
    temperature = fit_temperature(logits, labels, balanced, unknown=1.0)
    assert float(outcome.model["weights"][0]) == pytest.approx(1 / temperature, rel=1e-4)
    assert temperature != pytest.approx(fit_temperature(logits, labels, unknown=1.0), rel=1e-2)
    (score,) = outcome.candidates
    right = outcome.uncalibrated.argmax(axis=1) == labels
    assert score.accuracy == pytest.approx(np.mean([right[labels == label].mean() for label in range(CLASSES)]))
    assert score.log_loss == pytest.approx(log_loss(apply_temperature(logits, temperature), labels, balanced))


@pytest.mark.parametrize("options", [PLAIN, CALIBRATED], ids=["plain", "calibrate"])
def test_seconds_are_equal_shares_of_all_fits_the_final_one_among_them(
    options: ProbeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, now = make_task(options), [0.0]
    fitted = Trainer.fitted

    def fit_slowly(self: Trainer, head: FittedHead, scaling: Scaling, classes: Ints) -> FittedProbe:
        now[0] += 7.0
        return fitted(self, head, scaling, classes)

    monkeypatch.setattr(Trainer, "fitted", fit_slowly)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    seconds = [score.seconds for score in run(task).fold_scores]
    folds = 5 if options is PLAIN else len(NestedFolds.of(task.folds, task.labels, task.deal).subsets)
    fits = folds + 1 + HALVED_FOLDS
    assert len(set(seconds)) == 1
    assert sum(seconds) == pytest.approx(7.0 * fits)


def test_progress_is_told_of_heads_that_are_tried() -> None:
    told: list[tuple[str, int, int]] = []
    predict(make_task(replace(AUTO, budget=0.0)), lambda *news: told.append(news))
    first = len(SHRINKAGES)  # of the first family
    assert told == [("trying heads", first, first)]


def test_the_final_choice_of_two_images_a_class_is_made_by_heads_that_know_how_images_of_a_class_differ(
    make_features: MakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[list[float]] = [[], [], []]
    for seed in range(4):
        made = {"classes": 10, "per_class": 2, "test": 300, "noise": 0.9, "views": 0, "seed": seed}
        features = make_features(**made, test_views=("clean",), name=f"{seed}.h5")  # type: ignore[arg-type]
        rng = np.random.default_rng(seed)
        rng.normal(size=(10, 12))
        truth = rng.integers(10, size=300)
        options = replace(AUTO, budget=0.0, near_duplicates=0.0)
        tries = (options, subsets.FEW), (options, 0), (replace(options, folds=2), subsets.FEW)
        for (each, few), own in zip(tries, losses, strict=True):
            monkeypatch.setattr(subsets, "FEW", few)
            result = cross_validate(features, each)
            assert result.options.folds == 2
            own.append(log_loss(result.test, truth))
        monkeypatch.undo()
    finer, plain, typed = map(np.mean, losses)
    assert typed == plain  # folds that somebody asked for are all there are
    assert finer < plain - 0.1
    assert finer < np.log(10)
