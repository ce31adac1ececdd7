"""Task -> Outcome of a blend that is chosen inside the folds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Arrays, Doubles, Floats
from frozenprobe.probe.fit.candidate import Candidate, candidate_of, trainer_of
from frozenprobe.probe.fit.halves import Halves
from frozenprobe.probe.fit.trainer import FittedProbe, Trainer
from frozenprobe.probe.folds.deal import assign_folds
from frozenprobe.probe.folds.subsets import learns_from_few
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import AUTO, DEFAULT_FOLDS
from frozenprobe.probe.result import CandidateScore, Halved, Outcome
from frozenprobe.probe.select.candidates import RATE, Allowance, Portfolio, budget_of, duplicates_cost, make_portfolio
from frozenprobe.probe.select.choose import (
    ChosenOn,
    Member,
    Trials,
    calibrated,
    choices_of,
    images_that_choose,
    predict_blend,
)
from frozenprobe.probe.select.nested import NestedFolds, logits_of, predict_all
from frozenprobe.probe.stream.outsized import COPIES, memory_limit
from frozenprobe.probe.task import Task, combined, fill_unusable, score_fold
from frozenprobe.system.progress import Progress
from frozenprobe.system.threads import in_threads

FINER = (
    "few images a class: the final blend was chosen on finer folds, each of which tells apart the classes alone that "
    "it took an image of; the candidates' scores are those, and better than among all classes"
)
COPIED = 1e8  # bytes of training features, up to which each thread may have a copy
BEATEN = 20.0  # how far the logits of classes that are no rivals lie below those of all others


def predict_choice(task: Task, progress: Progress) -> Outcome:
    """Let every fold's training part choose a blend, and all images the final one.

    Of what `auto` tries within its budget; of one named head on every source, and its temperature.
    """
    start = time.perf_counter()
    seen = images_that_choose(task)
    nested = NestedFolds.of(task.folds, task.labels, task.deal).among(seen)
    portfolio = portfolio_of(task, fits=len(nested.subsets) + 1, chosen_on=int(seen.sum()))
    candidates = portfolio.candidates
    trials = try_all(task, candidates, nested, choices_of(task, nested, seen), progress)
    *blends, final = in_threads(trials.choose, range(task.count + 1))
    halved, last, finer = halve_largest(task, candidates, final, trials), trials, None
    if task.default_folds and learns_from_few(task.labels, task.clusters, task.folds):
        last = try_finer(task, candidates, seen, progress)
        final = last.choose(0)
        finer = predict_blend(final, [last.kept[member.number].oof for member in final])
    oof = answer_folds(task, candidates, blends, trials)
    fits, logits = zip(*refit_all(task, [candidates[member.number] for member in final]), strict=True)
    seconds = (time.perf_counter() - start) / task.count
    return Outcome(
        oof=oof,
        test=fill_unusable(task, predict_blend(final, logits)),
        fold_scores=tuple(
            score_fold(
                task,
                fold,
                oof,
                seconds=seconds,
                convergence=combined([trials.kept[member.number].convergence[fold] for member in members]),
                description=describe_heads(members, candidates),
            )
            for fold, members in enumerate(blends)
        ),
        refit=combined([fitted.head.convergence for fitted in fits]),
        optimistic=None,
        model=blend_arrays(final, candidates, fits),
        chosen=describe_blend(final, candidates, task.sources),
        candidates=tuple(score_candidates(task, last, final)),
        skipped=tuple(portfolio.skipped),
        halved=halved,
        finer=finer,
        counted=portfolio.seconds,
        uncalibrated=np.exp(trials.kept[0].oof.astype(np.float64)) if len(candidates) == 1 else None,
        notes=note_unfit(portfolio.unfit)
        + (() if seen.all() else (describe_sample(seen),))
        + (() if finer is None else (FINER,)),
    )


def answer_folds(
    task: Task, candidates: Sequence[Candidate], blends: Sequence[Sequence[Member]], trials: Trials
) -> Doubles:
    """`(N, C)` probabilities of every fold's images by the blend that its training part chose."""
    oof = np.zeros((len(task.labels), task.classes))
    for fold, members in enumerate(blends):
        held = np.flatnonzero(task.folds == fold)
        if len(trials.choices[fold].labels):
            oof[held] = predict_blend(members, [trials.kept[member.number].oof[held] for member in members])
        else:  # no image tells a temperature either, but that which a head finds by itself
            oof[held] = fit_alone(task, candidates[members[0].number], fold)
    return oof


def note_unfit(unfit: dict[str, FrozenprobeError]) -> tuple[str, ...]:
    """The families that `auto` did without, a note a reason."""
    names: dict[str, list[str]] = {}
    for name, fault in unfit.items():
        names.setdefault(fault.found, []).append(name)
    return tuple(f"LEFT OUT, the features are {found}: {', '.join(them)}" for found, them in names.items())


def describe_sample(seen: npt.NDArray[np.bool_]) -> str:
    """For the notes of a run: choices were made on some of the images, `(N,)`."""
    sample = f"a sample of {int(seen.sum())} of {len(seen)} images"
    return f"the blend and its temperatures were chosen on {sample}; all are trained on, predicted and scored"


def try_all(
    task: Task,
    candidates: Sequence[Candidate],
    nested: NestedFolds,
    choices: Sequence[ChosenOn],
    progress: Progress,
    rivals: npt.NDArray[np.bool_] | None = None,
) -> Trials:
    """Fit every candidate where the choices need it, and see what it is worth to each.

    Args:
        rivals: `(N, C)` the classes among which an image is told by fits without its fold; None: all.
    """
    trials = Trials(choices)
    sizes = Counter(candidate.family for candidate in candidates)
    answers = predict_all(
        candidates,
        task.sources,
        task.labels,
        task.clusters,
        nested,
        options=task.options,
        total=task.classes,
        progress=lambda done, total: progress("trying heads", done, total),
    )
    for candidate, own in zip(candidates, answers, strict=True):
        if rivals is not None:
            own = replace(own, oof=np.where(rivals, own.oof, own.oof.min(axis=1, keepdims=True) - BEATEN))
        trials.enter(candidate, own, middle=sizes[candidate.family] // 2)
    return trials


def try_finer(task: Task, candidates: Sequence[Candidate], seen: npt.NDArray[np.bool_], progress: Progress) -> Trials:
    """Every candidate on finer folds, for the final choice alone.

    Without one of two images a class, a head knows nothing of how images of a class differ, and what is chosen for it,
    above all its temperature, does not suit one that does. A fold takes an image of some classes alone: they would be
    beaten by those that have both of theirs, so they are told apart among themselves.
    """
    folds = min(DEFAULT_FOLDS, int(task.clusters.max()) + 1)
    finer = replace(
        task, folds=assign_folds(task.labels, task.clusters, task.hashes, folds=folds, seed=task.options.seed)
    )
    fewer = np.zeros((folds, task.classes), dtype=bool)
    fewer[finer.folds, task.labels] = True
    fewer[fewer.sum(axis=1) < 2] = True
    outer = NestedFolds.outer(finer.folds)
    return try_all(finer, candidates, outer, choices_of(finer, outer, seen), progress, fewer[finer.folds])


def portfolio_of(task: Task, *, fits: int, chosen_on: int) -> Portfolio:
    """What there is to choose from, each fitted so often, on so many images.

    Raises:
        FrozenprobeError: features that no head can learn anything from.
    """
    options = task.options
    if options.head != AUTO:
        candidates = [candidate_of(options, number) for number in range(len(task.sources))]
        faults = [fault for candidate in candidates if (fault := candidate.fault(task.sources))]
        if faults:
            raise faults[0]
        return Portfolio(candidates, [])
    return make_portfolio(
        task.sources,
        classes=task.classes,
        fits=fits,
        allowance=allowance_of(task),
        chosen_on=chosen_on,
        weighted=options.class_weight is not None,
        scale=options.scale,
        aggregate=options.aggregate,
    )


def allowance_of(task: Task) -> Allowance:
    """What `auto` may spend: the budget less the search for near duplicates, and half of the memory beside features."""
    options, (first, *_) = task.options, task.sources
    images, _, dim = first.train.shape
    searched = 0.0 if options.near_duplicates == 0 else duplicates_cost(images, len(first.test), dim)
    limit = options.memory or memory_limit() or math.inf
    features = COPIES * sum(each.nbytes for source in task.sources for each in (source.train, source.val, source.test))
    seconds = budget_of(images) if options.budget is None else options.budget
    return Allowance(seconds, searched / RATE, max(limit - features, 0) / 2)


def fit_alone(task: Task, candidate: Candidate, fold: int) -> Doubles:
    """`(n, C)` probabilities of a fold's images by one head as it is, with the temperature that it finds by itself."""
    trainer, inputs = trainer_for(task, candidate.final())
    return trainer.fit(np.flatnonzero(task.folds != fold)).predict(inputs.val[task.folds == fold])


def trainer_for(task: Task, candidate: Candidate) -> tuple[Trainer, Inputs]:
    """What fits a candidate, and its features."""
    inputs = task.sources[candidate.source].aggregated(candidate.aggregate)
    options, total = task.options, task.classes
    return trainer_of(candidate, inputs, task.labels, task.clusters, options=options, total=total), inputs


def refit_all(task: Task, candidates: Sequence[Candidate]) -> list[tuple[FittedProbe, Floats]]:
    """All of a blend on all training images, side by side unless copies of the features would take much memory."""
    small = sum(source.train.nbytes for source in task.sources) <= COPIED
    return [*(in_threads if small else map)(lambda candidate: refit(task, candidate), candidates)]


def refit(task: Task, candidate: Candidate) -> tuple[FittedProbe, Floats]:
    """A candidate fitted on all training images, to its head's own tolerance, and its logits of the test images."""
    trainer, inputs = trainer_for(task, candidate.final())
    ((fitted,),) = trainer.fit_grid([trainer.head], [np.arange(len(task.labels))])  # as the fits that chose
    return fitted, logits_of(fitted.predict(inputs.test))


def halve_largest(task: Task, candidates: Sequence[Candidate], members: Sequence[Member], trials: Trials) -> Halved:
    """What half of the training images would do to the blend, by its largest member, at its best temperatures."""
    halves, largest = Halves.of(task), max(members, key=lambda member: member.share)
    trainer, inputs = trainer_for(task, candidates[largest.number])
    (fits,) = trainer.fit_grid([trainer.head], halves.subsets) if halves.subsets else ([],)
    told = halves.answered(fits, inputs.val, np.exp(trials.kept[largest.number].oof.astype(np.float64)))
    labels, weight = task.labels[told.images], task.weights(told.images)
    fewer, more = (calibrated(logits_of(each), labels, weight) for each in (told.fewer, told.more))
    return replace(told, fewer=fewer, more=more)


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
        own = fitted.arrays() | {name: np.array(getattr(candidate, name)) for name in ("head", "aggregate", "source")}
        arrays |= {f"member{number}_{name}": array for name, array in own.items()}
    return arrays


def score_candidates(task: Task, trials: Trials, final: Sequence[Member]) -> list[CandidateScore]:
    """What each candidate scored on the images of the final choice, lowest log-loss first; they weigh as they chose."""
    share = {member.number: member.share for member in final}
    scores = [
        CandidateScore(
            candidate.describe(task.sources),
            candidate.describe_family(task.sources),
            standings[-1].accuracy,
            standings[-1].loss,
            share.get(number, 0.0),
        )
        for number, (candidate, standings) in enumerate(zip(trials.candidates, trials.standings, strict=True))
    ]
    return sorted(scores, key=lambda score: score.log_loss)
