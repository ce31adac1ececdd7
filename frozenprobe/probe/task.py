"""What is to be fitted, scored and predicted, and the numbers of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.folds.deal import assign_folds
from frozenprobe.probe.heads.head import Convergence, image_weights, weights_among
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.result import FoldScore, Outcome
from frozenprobe.probe.stats import metrics
from frozenprobe.system.progress import Progress

INNER_FOLDS = 3  # of a training part that is dealt again


@dataclass(frozen=True)
class Task:
    """What is to be fitted, scored and predicted.

    Attributes:
        options: settled, see `settle_options`.
        sources: of features.
        labels: `(N,)`.
        folds: `(N,)`; -1: never held out.
        scored: `(N,)` bool.
        clusters: `(N,)` images that belong together.
        hashes: content hash of each image.
        classes: C.
        usable: `(M,)` bool, which test images could be decoded.
        default_folds: whether neither an option nor a column of the user's says what the folds are.
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
    default_folds: bool = False

    @property
    def count(self) -> int:
        """K."""
        return int(self.folds.max()) + 1

    def weights(self, images: Ints) -> Doubles:
        """`(n,)` of some of the images, to choose on: by their classes among them, see `image_weights`."""
        return weights_among(self.labels[images], self.options.class_weight)

    def deal(self, images: Ints) -> Ints:
        """Inner folds of some of the images, clusters kept whole."""
        clusters = np.unique(self.clusters[images], return_inverse=True)[1]
        _, labels = np.unique(self.labels[images], return_inverse=True)
        hashes = [self.hashes[image] for image in images]
        folds = min(INNER_FOLDS, int(clusters.max()) + 1)
        if folds < 2:
            return np.zeros(len(images), dtype=np.int64)
        return assign_folds(labels, clusters, hashes, folds=folds, seed=self.options.seed)


Predictor = Callable[[Task, Progress], Outcome]


def fill_unusable(task: Task, probabilities: Doubles) -> Doubles:
    """`(M, C)` predictions in which images that could not be decoded get the shares of the classes."""
    if not task.usable.all():
        weight = image_weights(task.labels, task.options.class_weight)
        probabilities[~task.usable] = np.bincount(task.labels, weights=weight, minlength=task.classes) / weight.sum()
    return probabilities


def score_fold(
    task: Task, fold: int, oof: Doubles, *, seconds: float, convergence: Convergence, description: str = ""
) -> FoldScore:
    """The numbers of one fold's scored images; NaN where there are none."""
    seen = (task.folds == fold) & task.scored
    predicted, labels = oof[seen], task.labels[seen]
    scores = (float("nan"),) * 3
    if len(labels):
        f1 = metrics.macro_f1(metrics.confusion(predicted.argmax(axis=1), labels, task.classes))
        scores = (metrics.accuracy(predicted, labels), metrics.log_loss(predicted, labels), f1)
    return FoldScore(fold, len(labels), *scores, seconds, convergence, description)


def combined(states: Sequence[Convergence]) -> Convergence:
    """One word for several fits: converged if all are that say so, and the loosest of their certificates."""
    if len(states) == 1:
        return states[0]
    told = [state.converged for state in states if state.converged is not None]
    gaps, distances = (
        [value for state in states if (value := getattr(state, name)) is not None] for name in ("gap", "distance")
    )
    return Convergence(
        converged=all(told) if told else None,
        gap=max(gaps, default=None),
        distance=max(distances, default=None),
        stuck=any(state.stuck for state in states),
    )
