"""Task -> Outcome of one head as it is: fitted without each fold and on everything."""

from __future__ import annotations

import time

import numpy as np

from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.fit.candidate import candidate_of, trainer_of
from frozenprobe.probe.fit.halves import Halves
from frozenprobe.probe.fit.trainer import FittedProbe
from frozenprobe.probe.result import FoldScore, Outcome
from frozenprobe.probe.task import Task, fill_unusable, score_fold
from frozenprobe.system.progress import Progress
from frozenprobe.system.threads import in_threads


def predict_one_head(task: Task, progress: Progress) -> Outcome:
    """Fit the head that the options name on all folds but one, K times, and on everything.

    Raises:
        FrozenprobeError: features that it can learn nothing from.
    """
    candidate = candidate_of(task.options)
    fault = candidate.fault(task.sources)
    if fault:
        raise fault
    inputs = task.sources[0].aggregated(candidate.aggregate)
    trainer = trainer_of(candidate, inputs, task.labels, task.clusters, options=task.options, total=task.classes)
    subsets = [np.flatnonzero(task.folds != fold) for fold in range(task.count)] + [np.arange(len(task.labels))]
    halves = Halves.of(task)
    every = subsets + halves.subsets
    start = time.perf_counter()
    every_fit = trainer.fit_all(every, lambda done: progress("fitting", done, len(every)))
    fits, of_halves = every_fit[: len(subsets)], every_fit[len(subsets) :]
    seconds = (time.perf_counter() - start) / task.count
    oof = np.zeros((len(task.labels), task.classes))
    final = fits[-1]
    *answers, test = in_threads(
        lambda fold: fits[fold].predict(inputs.test if fold == task.count else inputs.val[task.folds == fold]),
        range(task.count + 1),
    )
    best_right = 0
    rows: list[FoldScore] = []
    for fold, (fitted, answer) in enumerate(zip(fits[:-1], answers, strict=True)):
        held = task.folds == fold
        oof[held] = answer
        seen = held & task.scored
        best_right += best_epoch(fitted, inputs.val[seen], task.labels[seen])
        rows.append(score_fold(task, fold, oof, seconds=seconds, convergence=fitted.head.convergence))
    return Outcome(
        oof=oof,
        test=fill_unusable(task, test),
        fold_scores=tuple(rows),
        refit=final.head.convergence,
        optimistic=best_right / int(task.scored.sum()) if getattr(final.head, "snapshots", ()) else None,
        model=final.arrays(),
        halved=halves.answered(of_halves, inputs.val, oof),
    )


def best_epoch(fitted: FittedProbe, vectors: Floats, labels: Ints) -> int:
    """Images right with the epoch that is best on these very images: the report's protocol, selected on itself."""
    snapshots = getattr(fitted.head, "snapshots", ())
    right = [int((fitted.predict(vectors, epoch).argmax(axis=1) == labels).sum()) for epoch in snapshots]
    return max(right, default=0)
