"""The images among training rows, and inner folds of them: what a head may choose its own hyper-parameters on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.heads.head import TrainingRows

FOLDS = 5


@dataclass(frozen=True)
class Images:
    """The images that training rows are views of.

    Attributes:
        first: `(N,)` row of the first view of each image, the clean one if it is trained on. Held-out scores are judged
            on it: measured on photos, the other views add cost and change neither choice nor temperature.
        index: `(n,)` image of each row, 0 to N - 1.
        labels: `(N,)`.
        weight: `(N,)` sum over the rows.
    """

    first: Ints
    index: Ints
    labels: Ints
    weight: Doubles

    @classmethod
    def of(cls, rows: TrainingRows) -> Images:
        """Those of some rows."""
        _, first, index = np.unique(rows.images, return_index=True, return_inverse=True)
        return cls(first, index, rows.labels[first], np.bincount(index, weights=rows.weight).astype(np.float64))

    def alone(self) -> npt.NDArray[np.bool_]:
        """`(N,)` whether it is the only image of its class: nothing trained without it can be right about it."""
        lonely: npt.NDArray[np.bool_] = (np.bincount(self.labels) == 1)[self.labels]
        return lonely


def deal_inner(rows: TrainingRows, images: Images, folds: int = FOLDS) -> Ints:
    """`(N,)` inner fold of each image: every class is cut into `folds` runs of images that are alike.

    Alike is the sum of the features of the first view: copies and near copies mostly share a fold, and neither the
    order of the images nor the names of the classes decide anything.
    """
    alike = rows.features[images.first].sum(axis=1, dtype=np.float64)
    return cut_into_runs(images.labels, alike, folds)


def cut_into_runs(groups: Ints, keys: Doubles | Ints, runs: int) -> Ints:
    """`(N,)` run, 0 to runs - 1, of each image: groups, in the order of the keys, are cut into runs of equal length."""
    order = np.lexsort((keys, groups))
    counts = np.bincount(groups)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    run = np.empty(len(order), dtype=np.int64)
    run[order] = rank * runs // np.repeat(counts, counts)
    return run
