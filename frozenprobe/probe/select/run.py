"""Task -> out-of-fold and test answers, of one head or of a blend that is chosen inside the folds."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from frozenprobe.probe.arrays import Arrays, Floats, Ints
from frozenprobe.probe.fit.trainer import FittedProbe
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import AUTO, ProbeOptions
from frozenprobe.probe.result import CandidateScore, FoldScore, Outcome
from frozenprobe.probe.select.candidates import make_portfolio
from frozenprobe.probe.select.nested import (
    Candidate,
    Member,
    NestedFolds,
    Predictions,
    calibrated,
    choose,
    logits_of,
    predict_all,
    predict_blend,
    trainer_of,
)
from frozenprobe.probe.stats import metrics
from frozenprobe.probe.task import Task, combined, fill_unusable, score_fold
from frozenprobe.system.progress import Progress


def answer(task: Task, progress: Progress) -> Outcome:
    """One head as it is, if nothing is left to choose; else the choice."""
    options = task.options
    if options.head == AUTO:
        nested = task.nested()
        portfolio = make_portfolio(
            task.sources,
            classes=task.classes,
            fits=len(nested.subsets) + 1,
            seconds=options.budget,
            scale=options.scale,
            aggregate=options.aggregate,
        )
        return run_choice(task, portfolio.candidates, nested, portfolio.skipped, progress)
    candidates = [candidate_of(options, number) for number in range(len(task.sources))]
    if len(candidates) == 1 and not options.calibrate:
        return run_head(task, candidates[0], progress)
    return run_choice(task, candidates, task.nested(), [], progress)


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
        oof[held] = fitted.predict(inputs.val[held])
        if getattr(fitted.head, "snapshots", ()):
            seen = held & task.scored
            best_right += best_epoch(fitted, inputs.val[seen], task.labels[seen])
        rows.append(score_fold(task, fold, oof, seconds=seconds, convergence=fitted.head.convergence))
    final = fits[-1]
    return Outcome(
        oof=oof,
        test=fill_unusable(task, final.predict(inputs.test)),
        fold_scores=tuple(rows),
        refit=final.head.convergence,
        optimistic=best_right / int(task.scored.sum()) if getattr(final.head, "snapshots", ()) else None,
        model=final.head.arrays() | final.scaling.arrays(),
    )


def run_choice(
    task: Task, candidates: Sequence[Candidate], nested: NestedFolds, skipped: Sequence[str], progress: Progress
) -> Outcome:
    """Let every fold's training part choose a blend of the candidates, and all images the final one."""
    start = time.perf_counter()
    answers = predict_all(
        candidates,
        task.sources,
        task.labels,
        nested,
        options=task.options,
        total=task.classes,
        progress=lambda done, total: progress("trying heads", done, total),
    )
    oof = np.zeros((len(task.labels), task.classes))
    blends = []
    for fold in range(task.count):
        held = np.flatnonzero(task.folds == fold)
        inner = [answer.inner[fold] for answer in answers]
        members = choose(candidates, inner, task.labels[nested.chosen_on[fold]])
        oof[held] = predict_blend(members, [answers[member.number].oof[held] for member in members])
        blends.append(members)
    final = choose(candidates, [answer.oof[task.scored] for answer in answers], task.labels[task.scored])
    seconds = (time.perf_counter() - start) / task.count
    fits, logits = zip(*(refit(task, candidates[member.number]) for member in final), strict=True)
    return Outcome(
        oof=oof,
        test=fill_unusable(task, predict_blend(final, logits)),
        fold_scores=tuple(
            score_fold(
                task,
                fold,
                oof,
                seconds=seconds,
                convergence=combined([answers[member.number].convergence[fold] for member in members]),
                description=describe_heads(members, candidates),
            )
            for fold, members in enumerate(blends)
        ),
        refit=combined([fitted.head.convergence for fitted in fits]),
        optimistic=None,
        model=blend_arrays(final, candidates, fits),
        chosen=describe_blend(final, candidates, task.sources),
        candidates=tuple(score_candidates(task, candidates, answers, final)),
        skipped=tuple(skipped),
        uncalibrated=np.exp(answers[0].oof.astype(np.float64)) if len(candidates) == 1 else None,
    )


def refit(task: Task, candidate: Candidate) -> tuple[FittedProbe, Floats]:
    """A candidate fitted on all training images, to its head's own tolerance, and its answers to the test images."""
    inputs = task.sources[candidate.source].aggregated(candidate.aggregate)
    trainer = trainer_of(candidate.final(), inputs, task.labels, options=task.options, total=task.classes)
    ((fitted,),) = trainer.fit_grid([trainer.head], [np.arange(len(task.labels))])  # as the fits that chose
    return fitted, logits_of(fitted.predict(inputs.test))


def best_epoch(fitted: FittedProbe, vectors: Floats, labels: Ints) -> int:
    """Images right with the epoch that is best on these very images: the report's protocol, selected on itself."""
    snapshots = getattr(fitted.head, "snapshots", ())
    right = [int((fitted.predict(vectors, epoch).argmax(axis=1) == labels).sum()) for epoch in snapshots]
    return max(right, default=0)


def describe_blend(members: Sequence[Member], candidates: Sequence[Candidate], sources: Sequence[Inputs]) -> str:
    """The members with their shares, largest first."""
    ranked = sorted(members, key=lambda member: -member.share)
    return " + ".join(f"{member.share:.0%} {candidates[member.number].describe(sources)}" for member in ranked)


def describe_heads(members: Sequence[Member], candidates: Sequence[Candidate]) -> str:
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
    task: Task, candidates: Sequence[Candidate], answers: Sequence[Predictions], final: Sequence[Member]
) -> list[CandidateScore]:
    """What each candidate scored, lowest log-loss first."""
    share = {member.number: member.share for member in final}
    labels, scores = task.labels[task.scored], []
    for number, (candidate, answer) in enumerate(zip(candidates, answers, strict=True)):
        probabilities = calibrated(answer.oof[task.scored], labels)
        scores.append(
            CandidateScore(
                candidate.describe(task.sources),
                candidate.describe_family(task.sources),
                metrics.accuracy(probabilities, labels),
                metrics.log_loss(probabilities, labels),
                share.get(number, 0.0),
            )
        )
    return sorted(scores, key=lambda score: score.log_loss)
