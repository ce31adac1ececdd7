"""Task -> Outcome: the answers, and what else was asked for: the transductive option, the tripwire."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.checks.transductive import TransductiveAnswer, refine
from frozenprobe.probe.checks.tripwire import shuffled_accuracy
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.head import make_head
from frozenprobe.probe.heads.parts.scaling import fit_scaling
from frozenprobe.probe.select.run import answer
from frozenprobe.probe.stats import metrics
from frozenprobe.probe.task import Answerer, Outcome, Task, score_fold
from frozenprobe.system.progress import Progress


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
    rows = trainer.rows_of(training)
    scaling = fit_scaling(trainer.scale, rows.features, rows.weight)
    classes = np.unique(task.labels[training])
    scaled = replace(rows, features=scaling.apply(rows.features))
    refined = refine(probabilities[:, classes], scaling.apply(vectors).mean(axis=1), scaled)
    result = np.zeros_like(probabilities)
    result[:, classes] = refined.probabilities
    return replace(refined, probabilities=result)
