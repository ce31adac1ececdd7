"""Task -> Outcome: predictions out of fold and for the test images, and what else was asked for."""

from __future__ import annotations

from dataclasses import replace

from frozenprobe.probe.fit.one_head import predict_one_head
from frozenprobe.probe.folds.deal import NEVER
from frozenprobe.probe.options import AUTO
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.task import Predictor, Task
from frozenprobe.system.progress import Progress


def predict(task: Task, progress: Progress, predictor: Predictor | None = None) -> Outcome:
    """Predict out of fold and the test images; then the transductive option and the tripwire, if asked for.

    Args:
        task: what is to be fitted.
        progress: called with (stage, done, total).
        predictor: how, if not from features in memory; then `task.sources` may be empty.
    """
    outcome = (predictor or predictor_of(task))(task, progress)
    if task.options.transductive:
        from frozenprobe.probe.checks.transductive import transduce

        outcome = transduce(task, outcome)
    if task.options.tripwire:
        outcome = replace(outcome, notes=(*outcome.notes, run_tripwire(task, progress, predictor)))
    return outcome


def predictor_of(task: Task) -> Predictor:
    """One head as it is, if nothing is left to choose; else the choice."""
    if task.options.head != AUTO and len(task.sources) == 1 and not task.options.calibrate:
        return predict_one_head
    from frozenprobe.probe.select.run import predict_choice

    return predict_choice


def run_tripwire(task: Task, progress: Progress, predictor: Predictor | None) -> str:
    """Run everything on shuffled labels, and say whether they were predicted better than they can be."""
    from frozenprobe.probe.checks.tripwire import judge_shuffled, shuffle_labels

    shuffled = shuffle_labels(task.labels, task.clusters, seed=task.options.seed)
    again = replace(task, labels=shuffled, options=replace(task.options, tripwire=False))
    outcome = predict(again, lambda stage, done, total: progress(f"shuffled labels: {stage}", done, total), predictor)
    held = task.folds != NEVER
    return judge_shuffled(outcome.oof[held].argmax(axis=1), shuffled[held], task.clusters[held]).describe()
