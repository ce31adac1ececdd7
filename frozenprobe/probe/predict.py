"""Task -> Outcome: predictions out of fold and for the test images, and what else was asked for."""

from __future__ import annotations

from dataclasses import replace

from frozenprobe.probe.checks.transductive import transduce
from frozenprobe.probe.checks.tripwire import judge_shuffled, shuffle_labels
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.select.run import answer
from frozenprobe.probe.task import Predictor, Task
from frozenprobe.system.progress import Progress


def predict(task: Task, progress: Progress, predictor: Predictor = answer) -> Outcome:
    """Predict out of fold and the test images; then the transductive option and the tripwire, if asked for.

    Args:
        task: what is to be fitted.
        progress: called with (stage, done, total).
        predictor: how, if not from features in memory; then `task.sources` may be empty.
    """
    outcome = predictor(task, progress)
    if task.options.transductive:
        outcome = transduce(task, outcome)
    if task.options.tripwire:
        outcome = replace(outcome, notes=(*outcome.notes, run_tripwire(task, progress, predictor)))
    return outcome


def run_tripwire(task: Task, progress: Progress, predictor: Predictor) -> str:
    """Run everything on shuffled labels, and say whether they were predicted better than they can be."""
    shuffled = shuffle_labels(task.labels, task.clusters, seed=task.options.seed)
    again = replace(task, labels=shuffled, options=replace(task.options, tripwire=False))
    outcome = predict(again, lambda stage, done, total: progress(f"shuffled labels: {stage}", done, total), predictor)
    return judge_shuffled(outcome.oof.argmax(axis=1), shuffled, task.clusters).describe()
