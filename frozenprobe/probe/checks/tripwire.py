"""The tripwire: labels dealt out anew among the clusters of images must be predicted at chance, or something leaks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.folds.deal import split_by

# (labels of all images, images to train on, images held out) -> `(h,)` predicted classes of the latter. With a Trainer:
#     lambda labels, train, held: replace(trainer, labels=labels).fit(train).predict(shown[held]).argmax(axis=1)
FitPredict = Callable[[Ints, Ints, Ints], Ints]

ALPHA = 1e-3  # a sound protocol is accused once in a thousand runs


@dataclass(frozen=True)
class Tripwire:
    """How well labels were predicted that have nothing to do with the images.

    Attributes:
        accuracy: out of fold, over images.
        chance: expected of the very answers that were given, if labels are dealt out anew once more.
        by_shares: expected of guessing by the classes' shares.
        majority: of always answering the largest class.
        limit: the accuracy from which leakage is reported.
        p_value: probability of this accuracy or more by chance.
    """

    accuracy: float
    chance: float
    by_shares: float
    majority: float
    limit: float
    p_value: float

    @property
    def leaks(self) -> bool:
        """Whether the labels were predicted better than they can be."""
        return self.p_value < ALPHA


def shuffled_accuracy(fit_predict: FitPredict, labels: Ints, clusters: Ints, folds: Ints, *, seed: int) -> Tripwire:
    """Run the protocol on shuffled labels: the same fit, the same folds.

    Every cluster gets the label of a cluster drawn without replacement, all its images alike: images that are nearly
    the same agree on it, so whoever sees one of them in training knows the other, and only so.

    Args:
        fit_predict: the protocol on one fold; sees the shuffled labels of all images, and should use those of the
            images to train on.
        labels: `(N,)` true class of each image; which classes there are, and how large, is all that is used.
        clusters: `(N,)` images that truly belong together, however the folds were made.
        folds: `(N,)`.
        seed: of the shuffling.

    Raises:
        FrozenprobeError: fewer than two classes among the shuffled labels, so that every answer is right.
    """
    shuffled = shuffle_labels(labels, clusters, seed=seed)
    shares = np.bincount(shuffled, minlength=int(labels.max()) + 1) / len(labels)
    if shares.max() == 1:
        raise FrozenprobeError(
            "At least two classes in different clusters of images",
            found="one",
            where="the labels to shuffle",
            remedy="add images of another class",
        )
    answers = np.empty(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held = folds == fold
        answers[held] = fit_predict(shuffled, np.flatnonzero(~held), np.flatnonzero(held))
    # If answers and labels are independent, image i is right with the probability share(answer of i).
    chance = float(shares[answers].mean())
    accuracy = float((answers == shuffled).mean())
    # Images of a cluster are right or wrong together: sizes s count as (sum s)^2 / sum s^2 independent images.
    sizes = np.bincount(clusters).astype(np.float64)
    tail = binomial_tail(round(sizes.sum() ** 2 / np.square(sizes).sum()), chance)
    trials = len(tail) - 1
    return Tripwire(
        accuracy=accuracy,
        chance=chance,
        by_shares=float(np.square(shares).sum()),
        majority=float(shares.max()),
        limit=int(np.flatnonzero(tail < ALPHA)[0]) / trials if (tail < ALPHA).any() else math.inf,
        p_value=float(tail[math.floor(accuracy * trials + 1e-9)]),
    )


def shuffle_labels(labels: Ints, clusters: Ints, *, seed: int) -> Ints:
    """`(N,)` each cluster has the label of another cluster's first image, or its own."""
    members = split_by(clusters)
    first = np.array([labels[images[0]] for images in members])
    dealt = np.random.default_rng([seed, 0x7269]).permutation(first)
    shuffled = np.empty(len(labels), dtype=np.int64)
    for images, label in zip(members, dealt, strict=True):
        shuffled[images] = label
    return shuffled


def binomial_tail(trials: int, chance: float) -> Doubles:
    """`(trials + 1,)` probability of k or more successes, k = 0 ... trials."""
    if chance <= 0 or chance >= 1:
        return (np.arange(trials + 1) <= trials * chance).astype(np.float64)
    k = np.arange(trials + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])  # log k!
    log = factorial[-1] - factorial - factorial[::-1] + k * math.log(chance) + (trials - k) * math.log1p(-chance)
    tail: Doubles = np.minimum(np.cumsum(np.exp(log)[::-1])[::-1], 1)
    return tail
