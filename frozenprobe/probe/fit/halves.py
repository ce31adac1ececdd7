"""The head on half of its training images, beside the head with all of them: how much more images give it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.trainer import FittedProbe
from frozenprobe.probe.folds.subsets import draw_order, half_of_each_class
from frozenprobe.probe.result import Halved
from frozenprobe.probe.stats.growth import LEAST_TIMES
from frozenprobe.probe.task import Task

HALVED_FOLDS = 2  # as many as it takes to tell a slope: two more fits, of half the size


@dataclass(frozen=True)
class Halves:
    """What is to be fitted on halves.

    Attributes:
        subsets: half of the training images of a fold, by clusters, each.
        held: the scored images of that fold, each.
        times: as many training images as in the halves, on average.
    """

    subsets: list[Ints]
    held: list[Ints]
    times: float

    @staticmethod
    def of(task: Task) -> Halves:
        """Halves of the first folds' training parts; all of a class of one cluster; no halves if that is nearly all."""
        order = draw_order(task.clusters, task.hashes, seed=task.options.seed, draw=0)
        folds = range(min(HALVED_FOLDS, task.count))
        training = [np.flatnonzero(task.folds != fold) for fold in folds]
        subsets = [half_of_each_class(images, task.labels, order) for images in training]
        held = [np.flatnonzero((task.folds == fold) & task.scored) for fold in folds]
        times = sum(map(len, training)) / sum(map(len, subsets))
        return Halves(subsets, held, times) if times >= LEAST_TIMES else Halves([], [], 1.0)

    def answered(self, fits: Sequence[FittedProbe], val: Floats, more: Doubles) -> Halved:
        """What the fits on the halves say of the images, beside what that head says with all training images.

        Args:
            fits: a fit a half.
            val: `(N, t, D)` vectors that are scored.
            more: `(N, C)` out-of-fold probabilities.
        """
        if not self.subsets:
            return Halved.nothing(more.shape[1])
        images = np.concatenate(self.held)
        answers = [fitted.predict(val[held]) for fitted, held in zip(fits, self.held, strict=True)]
        return Halved(images, np.concatenate(answers), more[images], self.times)
