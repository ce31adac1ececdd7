"""Features that do not fit into memory: when that is so, and which heads can do without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frozenprobe.cache.store import Features
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.parts.cosines import COSINES_AT_ONCE
from frozenprobe.probe.heads.registry import HEADS, moment_heads
from frozenprobe.probe.inputs import Views
from frozenprobe.probe.options import AUTO, ProbeOptions
from frozenprobe.probe.result import Outcome
from frozenprobe.probe.task import Task
from frozenprobe.system.memory import total_memory
from frozenprobe.system.progress import Progress

COPIES = 3  # of all vectors that are alive at once: as they are stored, on their way to being scaled, scaled
CLEAN_COPIES = 5  # of one view, while near duplicates are looked for
COSINE = 2 * 4 + 3  # bytes a cosine: two blocks of them and three of yes or no
BLOCKS = 1 / 4  # of the limit may be blocks of the file: moments, models and predictions take the rest


@dataclass(frozen=True)
class Outsized:
    """A feature file whose vectors need more memory than there is.

    Attributes:
        features: the file.
        views: which stored views are for what.
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
        return 4 * CLEAN_COPIES * images * self.features.dim + COSINE * min(images**2, COSINES_AT_ONCE) <= self.limit

    def notes(self, options: ProbeOptions) -> list[str]:
        """What the user should know, options as they were settled."""
        sizes = f"{gigabytes(self.needed)} of memory are needed, {gigabytes(self.limit)} allowed (--memory)"
        notes = [f"STREAMED: the features were read from the file block by block; {sizes}"]
        if options.head == AUTO:
            notes.append(
                f"AUTO TRIED LESS: only {' and '.join(moment_heads())}, whichever had the lower log-loss on inner "
                "folds; all other heads need the features in memory"
            )
        if not self.searchable() and options.near_duplicates != 0:
            notes.append(
                "NEAR DUPLICATES WERE NOT LOOKED FOR, not even the clean views fit into memory: if there are any, "
                "they may lie in two folds, and the scores are too high"
            )
        return notes

    def predict(self, task: Task, progress: Progress) -> Outcome:
        """What `predict` does with features in memory."""
        from frozenprobe.probe.stream.run import predict_streamed

        return predict_streamed(self.features, self.views, task, progress, memory=int(self.limit * BLOCKS))


def find_outsized(files: Sequence[Features], views: Sequence[Views], options: ProbeOptions) -> Outsized | None:
    """The file that has to be streamed; None if everything fits into memory.

    Args:
        files: opened feature files.
        views: of each.
        options: settled.

    Raises:
        FrozenprobeError: too little memory, and something was asked for that cannot be streamed.
    """
    limit = options.memory or memory_limit()
    needed = sum(bytes_needed(features, chosen) for features, chosen in zip(files, views, strict=True))
    needed *= 1 if len(files) == 1 else 2  # they are also put side by side
    if limit is None or needed <= limit:
        return None
    able = [name for name, entry in HEADS.items() if entry.streams]
    refused = {
        "several feature files": len(files) > 1,
        f"--head {options.head}": options.head not in (AUTO, *able),
        "--transductive": options.transductive,
        f"--calibrate with {options.head}": options.calibrate and options.head in set(able) - set(moment_heads()),
    }
    if any(refused.values()):
        raise FrozenprobeError(
            f"Memory for all features at once, {gigabytes(needed)}: {', '.join(k for k, v in refused.items() if v)} "
            "cannot stream them from the file",
            found=f"{gigabytes(limit)} allowed" + ("" if options.memory else ", half of what this process may use"),
            where=", ".join(str(features.path) for features in files),
            remedy=f"one file and --head {' or '.join(able)}, which stream; or fewer --views; or allow more with "
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
