"""Inputs + labels + folds -> out-of-fold and test answers, of one head or of a blend chosen inside the folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from frozenprobe.probe import metrics
from frozenprobe.probe.fitting import balance
from frozenprobe.probe.folds import assign_folds
from frozenprobe.probe.heads import Arrays, Convergence, Ints, make_head
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.nested import (
    Answers,
    Candidate,
    Member,
    Plan,
    answer_all,
    answer_blend,
    calibrated,
    choose,
    logits_of,
    trainer_of,
)
from frozenprobe.probe.options import AUTO, ProbeOptions
from frozenprobe.probe.portfolio import make_portfolio
from frozenprobe.probe.scaling import Doubles, Floats
from frozenprobe.probe.training import FittedProbe, Trainer
from frozenprobe.probe.transductive import TransductiveAnswer, refine
from frozenprobe.probe.tripwire import shuffled_accuracy

INNER_FOLDS = 3  # of a training part that is dealt again

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


@dataclass(frozen=True)
class FoldScore:
    """One fold's numbers on its scored images.

    Attributes:
        seconds: an equal share of what all folds took: they are fitted together.
        says: what answered, where it was chosen inside the training folds.
        repeat: of the whole cross-validation.
    """

    fold: int
    images: int
    accuracy: float
    log_loss: float
    macro_f1: float
    seconds: float
    convergence: Convergence
    says: str = ""
    repeat: int = 0


@dataclass(frozen=True)
class CandidateScore:
    """What a candidate scored out of fold, at the temperature that suits it there, and its share of the final blend."""

    says: str
    family: str
    accuracy: float
    log_loss: float
    share: float


@dataclass(frozen=True)
class Task:
    """What is to be fitted, scored and answered.

    Attributes:
        options: with every question answered.
        sources: of features.
        labels: `(N,)`.
        folds: `(N,)`.
        scored: `(N,)` bool.
        clusters: `(N,)` images that belong together.
        hashes: content hash of each image.
        classes: C.
        usable: `(M,)` bool, which test images could be decoded.
    """

    options: ProbeOptions
    sources: list[Inputs]
    labels: Ints
    folds: Ints
    scored: npt.NDArray[np.bool_]
    clusters: Ints
    hashes: tuple[str, ...]
    classes: int
    usable: npt.NDArray[np.bool_]

    @property
    def count(self) -> int:
        """K."""
        return int(self.folds.max()) + 1

    def plan(self) -> Plan:
        """The fits that a choice takes."""
        return Plan.of(self.folds, self.labels, self.deal)

    def deal(self, images: Ints) -> Ints:
        """Inner folds of some of the images, clusters kept whole."""
        clusters = np.unique(self.clusters[images], return_inverse=True)[1]
        _, labels = np.unique(self.labels[images], return_inverse=True)
        hashes = [self.hashes[image] for image in images]
        folds = min(INNER_FOLDS, int(clusters.max()) + 1)
        if folds < 2:
            return np.zeros(len(images), dtype=np.int64)
        return assign_folds(labels, clusters, hashes, folds=folds, seed=self.options.seed)


@dataclass(frozen=True)
class Outcome:
    """The part of a `ProbeResult` that heads decide; see there."""

    oof: Doubles
    test: Doubles
    fold_scores: tuple[FoldScore, ...]
    refit: Convergence
    optimistic: float | None
    model: Arrays
    chosen: str = ""
    candidates: tuple[CandidateScore, ...] = ()
    skipped: tuple[str, ...] = ()
    uncalibrated: Doubles | None = None
    notes: tuple[str, ...] = ()


Answerer = Callable[[Task, Progress], Outcome]


def run_task(task: Task, progress: Progress, answerer: Answerer | None = None) -> Outcome:
    """Answer, out of fold and the test images; then what else was asked for.

    Args:
        task: what is to be fitted.
        progress: called with (stage, done, total).
        answerer: how it is answered if not from features in memory; then `task.sources` may be empty.
    """
    answerer = answerer or answer
    outcome = answerer(task, progress)
    if task.options.transductive:
        outcome = transduce(task, outcome)
    if task.options.tripwire:
        outcome = replace(outcome, notes=(*outcome.notes, spring(task, answerer, progress)))
    return outcome


def spring(task: Task, answerer: Answerer, progress: Progress) -> str:
    """Run everything on shuffled labels, and say whether they were predicted better than they can be."""
    known: dict[bytes, Ints] = {}

    def predict(labels: Ints, training: Ints, held: Ints) -> Ints:
        if labels.tobytes() not in known:
            again = replace(task, labels=labels, options=replace(task.options, tripwire=False))
            told = lambda stage, done, total: progress(f"shuffled labels: {stage}", done, total)  # noqa: E731
            known[labels.tobytes()] = run_task(again, told, answerer).oof.argmax(axis=1)
        return known[labels.tobytes()][held]

    found = shuffled_accuracy(predict, task.labels, task.clusters, task.folds, seed=task.options.seed)
    verdict = "LEAKAGE: they cannot be predicted" if found.leaks else "as it must be"
    return (
        f"tripwire: shuffled labels score {found.accuracy:.1%}, chance is {found.chance:.1%} "
        f"(leakage is reported from {found.limit:.1%} on): {verdict}"
    )


def transduce(task: Task, outcome: Outcome) -> Outcome:
    """The answers refined together with the unlabelled features of the other images that are answered with them.

    For every fold its held-out images are the unlabelled set, for the test images they themselves are.
    """
    inputs = task.sources[-1]  # of several, all side by side
    oof, test = outcome.oof.copy(), outcome.test.copy()
    unfinished = 0
    for fold in range(task.count):
        held, training = np.flatnonzero(task.folds == fold), np.flatnonzero(task.folds != fold)
        refined = refine_answers(task, training, inputs.shown[held], outcome.oof[held])
        oof[held] = refined.probabilities
        unfinished += not refined.converged
    says = "no test images"
    if task.usable.any():
        everything, asked = np.arange(len(task.labels)), inputs.asked[task.usable]
        refined = refine_answers(task, everything, asked, outcome.test[task.usable])
        test[task.usable], says = refined.probabilities, refined.says
    labels = task.labels[task.scored]
    without, with_it = (metrics.accuracy(each[task.scored], labels) for each in (outcome.oof, oof))
    rows = [
        score_fold(task, row.fold, oof, seconds=row.seconds, convergence=row.convergence, says=row.says)
        for row in outcome.fold_scores
    ]
    note = (
        "TRANSDUCTIVE: images were answered with the help of the unlabelled features of the others answered with them; "
        f"accuracy {with_it:.1%} out of fold, each fold taken as the unlabelled set, and {without:.1%} without it"
        + (f" (NOT converged in {unfinished} folds)" if unfinished else "")
        + f"; test: {says}"
    )
    return replace(outcome, oof=oof, test=test, fold_scores=tuple(rows), notes=(*outcome.notes, note))


def refine_answers(task: Task, training: Ints, vectors: Floats, probabilities: Doubles) -> TransductiveAnswer:
    """Refine the `(n, C)` answers to images with `(n, t, D)` features."""
    trainer = Trainer(make_head("lda", {}), task.sources[-1].train, task.labels, seed=task.options.seed)
    rows, scaling = trainer.rows_of(training), trainer.scaling_of(training)
    classes = np.unique(task.labels[training])
    scaled = replace(rows, features=scaling.apply(rows.features))
    refined = refine(probabilities[:, classes], scaling.apply(vectors).mean(axis=1), scaled)
    result = np.zeros_like(probabilities)
    result[:, classes] = refined.probabilities
    return replace(refined, probabilities=result)


def answer(task: Task, progress: Progress) -> Outcome:
    """One head as it is, if nothing is left to choose; else the choice."""
    options = task.options
    if options.head == AUTO:
        plan = task.plan()
        portfolio = make_portfolio(
            task.sources,
            classes=task.classes,
            fits=len(plan.subsets) + 1,
            seconds=options.budget,
            scale=options.scale,
            aggregate=options.aggregate,
        )
        return run_choice(task, portfolio.candidates, plan, portfolio.skipped, progress)
    candidates = [candidate_of(options, number) for number in range(len(task.sources))]
    if len(candidates) == 1 and not options.calibrate:
        return run_head(task, candidates[0], progress)
    return run_choice(task, candidates, task.plan(), [], progress)


def candidate_of(options: ProbeOptions, source: int = 0) -> Candidate:
    """The one head that answered options name."""
    return Candidate(str(options.head), str(options.scale), str(options.aggregate), options.settings, source)


def run_head(task: Task, candidate: Candidate, progress: Progress) -> Outcome:
    """Fit one head on all folds but one, K times, and on everything."""
    inputs = task.sources[0].aggregated(candidate.aggregate)
    trainer = trainer_of(candidate, inputs, task.labels, options=task.options, total=task.classes)
    subsets = [np.flatnonzero(task.folds != fold) for fold in range(task.count)] + [np.arange(len(task.labels))]
    start = time.perf_counter()
    fits = trainer.fit_all(subsets, lambda done: progress("fitting", done, len(subsets)))
    seconds = (time.perf_counter() - start) / len(subsets)
    oof = np.zeros((len(task.labels), task.classes))
    best_right = 0
    rows: list[FoldScore] = []
    for fold, fitted in enumerate(fits[:-1]):
        held = task.folds == fold
        oof[held] = fitted.predict(inputs.shown[held])
        seen = held & task.scored
        best_right += best_epoch(fitted, inputs.shown[seen], task.labels[seen])
        rows.append(score_fold(task, fold, oof, seconds=seconds, convergence=fitted.head.convergence))
    final = fits[-1]
    return Outcome(
        oof=oof,
        test=answer_test(task, final.predict(inputs.asked)),
        fold_scores=tuple(rows),
        refit=final.head.convergence,
        optimistic=best_right / int(task.scored.sum()) if getattr(final.head, "snapshots", ()) else None,
        model=final.head.arrays() | final.scaling.arrays(),
    )


def run_choice(
    task: Task, candidates: Sequence[Candidate], plan: Plan, skipped: Sequence[str], progress: Progress
) -> Outcome:
    """Let every fold's training part choose a blend of the candidates, and all images the final one."""
    start = time.perf_counter()
    answers = answer_all(
        candidates,
        task.sources,
        task.labels,
        plan,
        options=task.options,
        total=task.classes,
        progress=lambda done, total: progress("trying heads", done, total),
    )
    oof = np.zeros((len(task.labels), task.classes))
    blends = []
    for fold in range(task.count):
        held = np.flatnonzero(task.folds == fold)
        inner = [answer.inner[fold] for answer in answers]
        members = choose(candidates, inner, task.labels[plan.chosen_on[fold]])
        oof[held] = answer_blend(members, [answers[member.number].oof[held] for member in members])
        blends.append(members)
    final = choose(candidates, [answer.oof[task.scored] for answer in answers], task.labels[task.scored])
    seconds = (time.perf_counter() - start) / task.count
    fits, logits = zip(*(refit(task, candidates[member.number]) for member in final), strict=True)
    return Outcome(
        oof=oof,
        test=answer_test(task, answer_blend(final, logits)),
        fold_scores=tuple(
            score_fold(
                task,
                fold,
                oof,
                seconds=seconds,
                convergence=combined([answers[member.number].convergence[fold] for member in members]),
                says=say_heads(members, candidates),
            )
            for fold, members in enumerate(blends)
        ),
        refit=combined([fitted.head.convergence for fitted in fits]),
        optimistic=None,
        model=blend_arrays(final, candidates, fits),
        chosen=say_blend(final, candidates, task.sources),
        candidates=tuple(score_candidates(task, candidates, answers, final)),
        skipped=tuple(skipped),
        uncalibrated=np.exp(answers[0].oof.astype(np.float64)) if len(candidates) == 1 else None,
    )


def refit(task: Task, candidate: Candidate) -> tuple[FittedProbe, Floats]:
    """A candidate fitted on all training images, to its head's own tolerance, and its answers to the test images."""
    inputs = task.sources[candidate.source].aggregated(candidate.aggregate)
    trainer = trainer_of(candidate.final(), inputs, task.labels, options=task.options, total=task.classes)
    ((fitted,),) = trainer.fit_grid([trainer.head], [np.arange(len(task.labels))])  # as the fits that chose
    return fitted, logits_of(fitted.predict(inputs.asked))


def answer_test(task: Task, probabilities: Doubles) -> Doubles:
    """`(M, C)` answers in which images that could not be decoded get the shares of the classes."""
    if not task.usable.all():
        weight = np.ones(len(task.labels))
        weight = weight if task.options.class_weight is None else balance(task.labels, weight)
        probabilities[~task.usable] = np.bincount(task.labels, weights=weight, minlength=task.classes) / weight.sum()
    return probabilities


def score_fold(
    task: Task, fold: int, oof: Doubles, *, seconds: float, convergence: Convergence, says: str = ""
) -> FoldScore:
    """The numbers of one fold's scored images; NaN where there are none."""
    seen = (task.folds == fold) & task.scored
    answers, labels = oof[seen], task.labels[seen]
    if not len(labels):
        return FoldScore(fold, 0, float("nan"), float("nan"), float("nan"), seconds, convergence, says)
    counts = metrics.confusion(answers.argmax(axis=1), labels, task.classes)
    return FoldScore(
        fold,
        len(labels),
        metrics.accuracy(answers, labels),
        metrics.log_loss(answers, labels),
        metrics.macro_f1(counts),
        seconds,
        convergence,
        says,
    )


def best_epoch(fitted: FittedProbe, vectors: Floats, labels: Ints) -> int:
    """Images right with the epoch that is best on these very images: the report's protocol, selected on itself."""
    snapshots = getattr(fitted.head, "snapshots", ())
    right = [int((fitted.predict(vectors, epoch).argmax(axis=1) == labels).sum()) for epoch in snapshots]
    return max(right, default=0)


def combined(states: Sequence[Convergence]) -> Convergence:
    """One word for several fits: converged if all are that say so, and the loosest of their certificates."""
    if len(states) == 1:
        return states[0]
    told = [state.converged for state in states if state.converged is not None]
    gaps, distances = (
        [value for state in states if (value := getattr(state, name)) is not None] for name in ("gap", "distance")
    )
    return Convergence(
        converged=all(told) if told else None, gap=max(gaps, default=None), distance=max(distances, default=None)
    )


def say_blend(members: Sequence[Member], candidates: Sequence[Candidate], sources: Sequence[Inputs]) -> str:
    """The members with their shares, largest first."""
    ranked = sorted(members, key=lambda member: -member.share)
    return " + ".join(f"{member.share:.0%} {candidates[member.number].says(sources)}" for member in ranked)


def say_heads(members: Sequence[Member], candidates: Sequence[Candidate]) -> str:
    """The heads with their shares, largest first, however their views are treated."""
    shares: dict[str, float] = {}
    for member in members:
        name = candidates[member.number].head
        shares[name] = shares.get(name, 0.0) + member.share
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return " + ".join(f"{share:.0%} {name}" for name, share in ranked)


def blend_arrays(members: Sequence[Member], candidates: Sequence[Candidate], fits: Sequence[FittedProbe]) -> Arrays:
    """The final blend as plain arrays: `weights`, and under `member0_...` what each member is and its own arrays."""
    arrays: Arrays = {"weights": np.array([member.weight for member in members])}
    for number, (member, fitted) in enumerate(zip(members, fits, strict=True)):
        candidate = candidates[member.number]
        own = fitted.head.arrays() | fitted.scaling.arrays()
        own |= {name: np.array(getattr(candidate, name)) for name in ("head", "aggregate", "source")}
        arrays |= {f"member{number}_{name}": array for name, array in own.items()}
    return arrays


def score_candidates(
    task: Task, candidates: Sequence[Candidate], answers: Sequence[Answers], final: Sequence[Member]
) -> list[CandidateScore]:
    """What each candidate scored, lowest log-loss first."""
    share = {member.number: member.share for member in final}
    labels, scores = task.labels[task.scored], []
    for number, (candidate, answer) in enumerate(zip(candidates, answers, strict=True)):
        probabilities = calibrated(answer.oof[task.scored], labels)
        scores.append(
            CandidateScore(
                candidate.says(task.sources),
                candidate.family_says(task.sources),
                metrics.accuracy(probabilities, labels),
                metrics.log_loss(probabilities, labels),
                share.get(number, 0.0),
            )
        )
    return sorted(scores, key=lambda score: score.log_loss)
