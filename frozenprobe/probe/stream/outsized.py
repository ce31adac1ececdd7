"""Features that do not fit into memory: when that is so, which heads can do without, and their answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.fit.fitting import balance
from frozenprobe.probe.folds.duplicates import BLOCK
from frozenprobe.probe.heads.head import FittedHead, make_head
from frozenprobe.probe.heads.lda import ShrinkageLdaHead
from frozenprobe.probe.heads.ridge import RidgeHead
from frozenprobe.probe.options import AUTO, ProbeOptions
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.stream.moments import MEMORY, Stream, Streamed, predict_stream, stream_probe
from frozenprobe.probe.task import Task, fill_unusable, score_fold
from frozenprobe.probe.views import Views
from frozenprobe.system.memory import total_memory
from frozenprobe.system.progress import Progress

HEADS_ON_MOMENTS = ("lda", "ridge")
STREAMED = (*HEADS_ON_MOMENTS, "linear")
COPIES = 3  # of all vectors that are alive at once: as they are stored, on their way to being scaled, scaled
CLEAN_COPIES = 5  # of one view, while near duplicates are looked for
COSINE = 2 * 4 + 3  # bytes a cosine: two blocks of them and three of yes or no
BLOCKS = 1 / 4  # of the limit may be blocks of the file: moments, models and answers take the rest


@dataclass(frozen=True)
class Outsized:
    """A feature file whose vectors need more memory than there is.

    Attributes:
        features: the file.
        views: which stored views train, score and answer.
        needed: bytes.
        limit: bytes that there are for them.
    """

    features: Features
    views: Views
    needed: int
    limit: float

    def searchable(self) -> bool:
        """Whether near duplicates can be looked for: the clean views fit, and a block of cosines."""
        images = max(len(self.features.train), len(self.features.test or ()))
        return 4 * CLEAN_COPIES * images * self.features.dim + COSINE * min(images**2, BLOCK) <= self.limit

    def notes(self, options: ProbeOptions) -> list[str]:
        """What the user should know, options as they were answered."""
        sizes = f"{gigabytes(self.needed)} of memory are needed, {gigabytes(self.limit)} allowed (--memory)"
        notes = [f"STREAMED: the features were read from the file block by block; {sizes}"]
        if options.head == AUTO:
            notes.append(
                "AUTO TRIED LESS: only lda and ridge, whichever had the lower log-loss on inner folds; all other heads "
                "need the features in memory"
            )
        if not self.searchable() and options.near_duplicates != 0:
            notes.append(
                "NEAR DUPLICATES WERE NOT LOOKED FOR, not even the clean views fit into memory: if there are any, "
                "they may lie in two folds, and the scores are too high"
            )
        return notes

    def answer(self, task: Task, progress: Progress) -> Outcome:
        """What `task.answer` does with features in memory."""
        options, start = task.options, time.perf_counter()
        stream = self.stream(task)
        if options.head == "linear":
            from frozenprobe.probe.heads.linear import LinearHead  # torch is loaded where it is needed
            from frozenprobe.probe.stream.linear import fit_linear

            fitted = fit_linear(stream, LinearHead(**options.settings), seed=options.seed, tell=progress)  # type: ignore[arg-type]
            streamed = predict_stream(stream, fitted, progress)
        else:
            heads = moment_heads(options)
            streamed = stream_probe(stream, *heads, seed=options.seed, calibrate=options.calibrate, progress=progress)
        return outcome_of(task, streamed, seconds=time.perf_counter() - start)

    def stream(self, task: Task) -> Stream:
        """The file with what the task says of it."""
        weight = np.ones(len(task.labels))
        return Stream(
            self.features,
            self.views,
            task.labels,
            task.folds,
            weight if task.options.class_weight is None else balance(task.labels, weight),
            scale=task.options.scale or "global",
            aggregate=task.options.aggregate or "rows",
            memory=min(MEMORY, int(self.limit * BLOCKS)),
        )


def find_outsized(files: Sequence[Features], views: Sequence[Views], options: ProbeOptions) -> Outsized | None:
    """The file that has to be streamed; None if everything fits into memory.

    Args:
        files: opened feature files.
        views: of each.
        options: with every question answered.

    Raises:
        FrozenprobeError: too little memory, and something was asked for that cannot be streamed.
    """
    limit = options.memory or memory_limit()
    needed = sum(bytes_needed(features, chosen) for features, chosen in zip(files, views, strict=True))
    needed *= 1 if len(files) == 1 else 2  # they are also put side by side
    if limit is None or needed <= limit:
        return None
    refused = {
        "several feature files": len(files) > 1,
        f"--head {options.head}": options.head not in (AUTO, *STREAMED),
        "--transductive": options.transductive,
        "--calibrate with linear": options.calibrate and options.head == "linear",
    }
    if any(refused.values()):
        raise FrozenprobeError(
            f"Memory for all features at once, {gigabytes(needed)}: {', '.join(k for k, v in refused.items() if v)} "
            "cannot stream them from the file",
            found=f"{gigabytes(limit)} allowed" + ("" if options.memory else ", half of what this process may use"),
            where=", ".join(str(features.path) for features in files),
            remedy=f"one file and --head {' or '.join(STREAMED)}, which stream; or fewer --views; or allow more with "
            "--memory GB",
        )
    return Outsized(files[0], views[0], needed, limit)


def bytes_needed(features: Features, views: Views) -> int:
    """What features take at the most while a head is trained on all of them in memory."""
    test = len(features.test) if features.test else 0
    rows = len(features.train) * (len(views.train) + len(views.val)) + test * len(views.test)
    return 4 * COPIES * rows * features.dim


def memory_limit() -> float | None:
    """Half of the memory that this process may use, in bytes; None where the system does not tell."""
    total = total_memory()
    return None if total is None else total / 2


def gigabytes(count: float) -> str:
    """For people."""
    return f"{count / 1e9:.3g} GB"


def moment_heads(options: ProbeOptions) -> list[ShrinkageLdaHead | RidgeHead]:
    """The head that was asked for, or those that `auto` has left."""
    names = HEADS_ON_MOMENTS if options.head == AUTO else (str(options.head),)
    heads = [make_head(name, {} if options.head == AUTO else options.settings) for name in names]
    return [head for head in heads if isinstance(head, ShrinkageLdaHead | RidgeHead)]


def outcome_of(task: Task, streamed: Streamed, *, seconds: float) -> Outcome:
    """Streamed answers, scored; `seconds` is shared by the fits."""
    final = streamed.final.head
    chosen = task.options.head == AUTO
    rows = [
        score_fold(
            task,
            fold,
            streamed.oof,
            seconds=seconds / (task.count + 1),
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
        model=final.arrays() | streamed.final.scaling.arrays(),
        chosen=describe_head(final) if chosen else "",
    )


def describe_head(head: FittedHead) -> str:
    """Which of lda and ridge it is, and its hyper-parameter."""
    chosen: dict[str, float] = getattr(head, "chosen", {})
    name, setting = ("lda", "shrinkage") if "shrinkage" in chosen else ("ridge", "alpha")
    return f"{name}, {setting} = {chosen[setting]:.3g}"
