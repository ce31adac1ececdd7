"""The tripwire: labels dealt out anew among the clusters of images must be predicted at chance, or something leaks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.folds.deal import split_by

ALPHA = 1e-3  # a sound protocol is accused once in a thousand runs


@dataclass(frozen=True)
class Tripwire:
    """How well labels were predicted that have nothing to do with the images.

    Attributes:
        accuracy: out of fold, over images.
        chance: expected of the very predictions that were made, if labels are dealt out anew once more.
        limit: the accuracy from which leakage is reported.
        p_value: probability of this accuracy or more by chance.
    """

    accuracy: float
    chance: float
    limit: float
    p_value: float

    @property
    def leaks(self) -> bool:
        """Whether the labels were predicted better than they can be."""
        return self.p_value < ALPHA

    def describe(self) -> str:
        """In a sentence, for the notes of a run."""
        verdict = "LEAKAGE: they cannot be predicted" if self.leaks else "as it must be"
        return (
            f"tripwire: shuffled labels score {self.accuracy:.1%}, chance is {self.chance:.1%} "
            f"(leakage is reported from {self.limit:.1%} on): {verdict}"
        )


def shuffle_labels(labels: Ints, clusters: Ints, *, seed: int) -> Ints:
    """`(N,)` labels dealt out anew: each cluster has the label of another cluster's first image, or its own.

    Images that are nearly the same agree on their label, so whoever sees one of them in training
    knows the other, and only so.

    Args:
        labels: `(N,)` true class of each image; which classes there are, and how large, is all that is used.
        clusters: `(N,)` images that truly belong together, however the folds were made.
        seed: of the shuffling.

    Raises:
        FrozenprobeError: fewer than two classes among the shuffled labels, so that every prediction is right.
    """
    members = split_by(clusters)
    first = np.array([labels[images[0]] for images in members])
    if len(np.unique(first)) < 2:
        raise FrozenprobeError(
            "At least two classes in different clusters of images",
            found="one",
            where="the labels to shuffle",
            remedy="add images of another class",
        )
    dealt = np.random.default_rng([seed, 0x7269]).permutation(first)
    shuffled = np.empty(len(labels), dtype=np.int64)
    for images, label in zip(members, dealt, strict=True):
        shuffled[images] = label
    return shuffled


def judge_shuffled(predicted: Ints, shuffled: Ints, clusters: Ints) -> Tripwire:
    """How `(N,)` out-of-fold predictions of shuffled labels compare with chance, where the protocol is sound."""
    from scipy.special import bdtrc

    # If predictions and labels are independent, image i is right with the probability share(prediction of i).
    shares = np.bincount(shuffled, minlength=int(predicted.max()) + 1) / len(shuffled)
    chance = float(shares[predicted].mean())
    accuracy = float((predicted == shuffled).mean())
    # Images of a cluster are right or wrong together: sizes s count as (sum s)^2 / sum s^2 independent images.
    sizes = np.bincount(clusters).astype(np.float64)
    trials = round(sizes.sum() ** 2 / np.square(sizes).sum())
    tail = bdtrc(np.arange(-1, trials), trials, chance)  # of k or more right, k = 0 ... trials
    return Tripwire(
        accuracy=accuracy,
        chance=chance,
        limit=int(np.flatnonzero(tail < ALPHA)[0]) / trials if (tail < ALPHA).any() else math.inf,
        p_value=float(tail[math.floor(accuracy * trials + 1e-9)]),
    )
