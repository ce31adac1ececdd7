"""The images among training rows, and inner folds of them: what a head may choose its own hyper-parameters on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints, count_parts
from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.parts.moments import Moments, moments_of
from frozenprobe.probe.heads.parts.temperature import scores_of

FOLDS = 5

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Images:
    """The images that training rows are views of.

    Attributes:
        first: `(N,)` row of the first view of each image, the clean one if it is trained on. Held-out scores are judged
            on it: measured on photos, the other views add cost and change neither choice nor temperature.
        index: `(n,)` image of each row, 0 to N - 1.
        labels: `(N,)`.
        weight: `(N,)` sum over the rows.
        clusters: `(N,)` cluster of each image, 0 to G - 1: its images are held out together.
    """

    first: Ints
    index: Ints
    labels: Ints
    weight: Doubles
    clusters: Ints

    @classmethod
    def of(cls, rows: TrainingRows) -> Images:
        """Those of some rows."""
        _, first, index = np.unique(rows.images, return_index=True, return_inverse=True)
        clusters = np.unique(rows.together[first], return_inverse=True)[1]
        return cls(
            first, index, rows.labels[first], np.bincount(index, weights=rows.weight).astype(np.float64), clusters
        )

    def alone(self) -> Bools:
        """`(N,)` whether all images of its class are in its cluster: nothing trained without it can be right."""
        return ~known_elsewhere(self.labels, self.clusters)

    def repeated(self, told: Bools) -> float:
        """How many of the `told` images, `(N,)`, are one piece of evidence: as many as a class has in a cluster."""
        if not told.any():
            return 1.0
        return int(told.sum()) / int(count_parts(self.clusters[told], self.labels[told]).sum())

    def of_one_scene(self, chosen: Bools) -> bool:
        """Whether some classes have several images among the chosen, `(N,)`, but all of them in one cluster.

        How much such images differ tells nothing of how much a new one differs from them.
        """
        labels, clusters = self.labels[chosen], self.clusters[chosen]
        return bool(np.bincount(labels).max() > 1 and count_parts(clusters, labels).max() == 1)

    def most_rows(self) -> int:
        """The most rows that are held out together, if images are; else 1."""
        several = np.bincount(self.clusters) > 1
        return int(np.bincount(self.clusters[self.index])[several].max(initial=1))


def known_elsewhere(labels: Ints, parts: Ints) -> Bools:
    """`(N,)` whether images of its class lie in other parts (clusters, folds) than an image's own, too."""
    several: Bools = (count_parts(parts, labels) > 1)[labels]
    return several


def deal_inner(rows: TrainingRows, images: Images, folds: int = FOLDS) -> Ints:
    """`(N,)` inner fold of each image: every class is cut into `folds` runs of clusters that are alike.

    Alike is the sum of the features of the first view: copies and near copies that no cluster keeps together mostly
    share a fold, and neither the order of the images nor the names of the classes decide anything.
    """
    alike = rows.features[images.first].sum(axis=1, dtype=np.float64)
    return deal_clusters(images.labels, images.clusters, alike, folds)


def deal_clusters(labels: Ints, clusters: Ints, keys: Doubles | Ints, folds: int) -> Ints:
    """`(N,)` fold, 0 to folds - 1, of each image: the clusters of a class, in the order of their mean keys, in runs.

    Clusters of several classes are dealt by themselves, as if they were of one class more.
    """
    _, first, cluster, size = np.unique(clusters, return_index=True, return_inverse=True, return_counts=True)
    group = np.where(count_parts(labels, cluster) > 1, labels.max() + 1, labels[first])
    return cut_into_runs(group, np.bincount(cluster, weights=keys) / size, folds)[cluster]


def cut_into_runs(groups: Ints, keys: Doubles, runs: int) -> Ints:
    """`(n,)` run, 0 to runs - 1, of each: groups, in the order of the keys, are cut into runs of equal length."""
    order = np.lexsort((keys, groups))
    counts = np.bincount(groups)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    run = np.empty(len(order), dtype=np.int64)
    run[order] = rank * runs // np.repeat(counts, counts)
    return run


def leave_folds_out(
    rows: TrainingRows,
    images: Images,
    fit: Callable[[Moments, Sequence[float]], list[LinearModel]],
    values: Sequence[float],
    *,
    needs_variance: bool = False,
) -> tuple[Moments, Floats, Bools]:
    """The scores of every image by fits from the moments of the other inner folds.

    Args:
        rows: what is trained on.
        images: theirs.
        fit: moments of classes that all have weight -> a model for each value.
        values: of a hyper-parameter.
        needs_variance: whether a fit that knows no variance within classes tells nothing of one that does; scores are
            then multiplied by the fit's variance over that of all rows.

    Returns:
        the moments of all rows; `(values, N, C)` scores; `(N,)` whether they tell something: a fit without the image
        that knows its class.
    """
    inner = deal_inner(rows, images)
    parts = [moments_of(rows, inner[images.index] == fold) for fold in range(FOLDS)]
    everything = reduce(Moments.__add__, parts)
    scores = np.zeros((len(values), len(images.first), rows.classes), dtype=np.float32)
    known, candidates = np.zeros(len(images.first), dtype=bool), ~images.alone()
    for fold, part in enumerate(parts):
        held = np.flatnonzero((inner == fold) & candidates)
        training = everything - part
        present = training.present()
        if not len(held) or not len(present):
            continue
        training = training.restricted(present)
        if needs_variance and (not training.within_variance or images.of_one_scene(inner != fold)):
            continue
        known[held] = np.isin(images.labels[held], present)
        larger = np.float32(training.within_variance / everything.within_variance if needs_variance else 1)
        for index, model in enumerate(fit(training, values)):
            own = larger * scores_of(model, rows.features[images.first[held]])
            scores[index, held] = own.min(axis=1, keepdims=True)  # of classes that are not in the training part
            scores[index, held[:, None], present] = own
    return everything, scores, known
