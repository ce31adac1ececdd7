"""Task -> Outcome of a head on features larger than memory: fitted and predicting block by block of the file."""

from __future__ import annotations

import time

from frozenprobe.cache.store import Features
from frozenprobe.probe.heads.head import FittedHead, image_weights
from frozenprobe.probe.heads.registry import HEADS, find_head, load, make_head, moment_heads
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import AUTO
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.stream.moments import MEMORY, Stream, StreamedFits, predict_stream, stream_probe
from frozenprobe.probe.task import Task, fill_unusable, score_fold
from frozenprobe.system.progress import Progress


def predict_streamed(features: Features, views: Views, task: Task, progress: Progress, *, memory: int) -> Outcome:
    """Fit the head that the options name, or the best of those on moments, without each fold and with all images.

    Args:
        features: an opened feature file.
        views: which of its views are for what.
        task: what is to be fitted; without sources.
        progress: called with (stage, done, total).
        memory: bytes that blocks of rows may take.
    """
    options, start = task.options, time.perf_counter()
    stream = Stream(
        features,
        views,
        task.labels,
        task.folds,
        image_weights(task.labels, options.class_weight),
        task.clusters,
        scale=options.scale or "global",
        aggregate=options.aggregate or "rows",
        memory=min(MEMORY, memory),
    )
    names = moment_heads() if options.head == AUTO else [str(options.head)]
    heads = [make_head(name, options.settings) for name in names]
    entry = find_head(names[0])
    if entry.moments is None:
        fitted = load(entry.stream)(stream, *heads, seed=options.seed, tell=progress)
        streamed = predict_stream(stream, fitted, progress)
    else:
        streamed = stream_probe(stream, *heads, seed=options.seed, progress=progress)
    return outcome_of(task, streamed, seconds=time.perf_counter() - start)


def outcome_of(task: Task, streamed: StreamedFits, *, seconds: float) -> Outcome:
    """Streamed predictions, scored; the folds share the seconds."""
    final = streamed.final.head
    chosen = task.options.head == AUTO
    rows = [
        score_fold(
            task,
            fold,
            streamed.oof,
            seconds=seconds / task.count,
            convergence=fitted.head.convergence,
            description=describe_head(fitted.head) if chosen else "",
        )
        for fold, fitted in enumerate(streamed.fold_models)
    ]
    return Outcome(
        oof=streamed.oof,
        test=fill_unusable(task, streamed.test),
        fold_scores=tuple(rows),
        refit=final.convergence,
        optimistic=None,
        model=streamed.final.arrays(),
        chosen=describe_head(final) if chosen else "",
    )


def describe_head(head: FittedHead) -> str:
    """Which of the heads on moments it is, and its hyper-parameter."""
    chosen: dict[str, float] = getattr(head, "chosen", {})
    paths = {name: entry.moments.parameter for name, entry in HEADS.items() if entry.moments}
    return ", ".join(f"{name}, {of} = {chosen[of]:.3g}" for name, of in paths.items() if of in chosen)
