"""Weighted nearest neighbours in cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints
from frozenprobe.probe.heads.head import Convergence, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.cosines import most_similar
from frozenprobe.probe.heads.parts.scaling import normalise

COMPARED_ROWS = 1024  # rows answered at once: bounds the memory
COUNTS = (1, 4, 15, 60)  # k to choose from
TEMPERATURES = (0.01, 0.02, 0.04, 0.07, 0.15, 0.4)
TRIED = 2048  # rows that are enough to choose by


@dataclass(frozen=True)
class NearestNeighboursHead:
    """Votes of the k nearest training rows, weighted by exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978).

    What is not given is chosen: the pair with the least log-loss of the training images, each predicted without its own
    cluster. DINOv2's kNN is k = 10 (or 20), temperature = 0.07 (Oquab et al. 2023, arXiv:2304.07193).

    Attributes:
        k: number of neighbours in units of weight. The views of an image share its weight of 1, so k means the same at
            any V, and a row of weight 2 counts as two; the last row counts as far as k goes.
        temperature: 0.07 in the papers of the instance-discrimination family and DINO.
    """

    k: int | None = None
    temperature: float | None = None

    def __post_init__(self) -> None:
        require_positive(self.k, "--k", remedy="give one")
        require_positive(self.temperature, "--temperature", remedy="give one")

    def fit(self, rows: TrainingRows, *, seed: int) -> NearestNeighbours:
        """Keep the rows, and choose; of many rows, `TRIED` drawn ones are predicted to choose by."""
        pairs = list(product(given(self.k, COUNTS), given(self.temperature, TEMPERATURES)))
        kept = NearestNeighbours(normalise(rows.features), rows.labels, rows.weight, *pairs[0])
        if len(pairs) == 1:
            return kept
        losses = leave_one_out(kept, rows.together, pairs, seed=seed)
        k, temperature = pairs[int(losses.argmin())]
        return replace(kept, k=k, temperature=temperature)


@dataclass(frozen=True)
class NearestNeighbours:
    """The training rows, L2-normalised, with labels and weights."""

    features: Floats
    labels: Ints
    weight: Doubles
    k: float
    temperature: float
    convergence: Convergence = Convergence()

    def probabilities(self, rows: Floats) -> Doubles:
        """Shares of the votes, `(n, C)`; one vote in k + 1 is everybody's, so no class is ever impossible."""
        classes = int(self.labels.max()) + 1
        shares = np.zeros((len(rows), classes))
        for start in range(0, len(rows), COMPARED_ROWS):
            near, closeness, weight = self.nearest(rows[start : start + COMPARED_ROWS], self.k)
            votes = vote(closeness, self.temperature) * clip(weight, self.k)
            image = np.arange(len(votes))[:, None] + start
            np.add.at(shares, (image, self.labels[near]), votes / votes.sum(axis=1, keepdims=True))
        return smooth(shares, self.k, classes)

    def nearest(
        self, rows: Floats, k: float, together: tuple[Ints, Ints] | None = None
    ) -> tuple[Ints, Floats, Doubles]:
        """Training rows by falling cosine, at least as many as weigh k: their numbers, cosines and weights, `(n, m)`.

        Args:
            rows: `(n, D)`.
            k: weight wanted.
            together: cluster of each row and of each training row: those of its own have no weight; None: all have.
        """
        # so many rows weigh k together, whichever they are; all if that is too few
        count = min(int(np.searchsorted(np.sort(self.weight).cumsum(), k * (1 - 1e-9))) + 1, len(self.weight))
        near, closeness = most_similar(normalise(rows), self.features, count, together=together)
        return near, closeness, np.where(np.isfinite(closeness), self.weight[near], 0)

    def arrays(self) -> Arrays:
        """The rows and the two hyper-parameters."""
        return {
            "neighbours": self.features,
            "neighbour_labels": self.labels,
            "neighbour_weight": self.weight,
            "k": np.array(self.k),
            "temperature": np.array(self.temperature),
        }


def leave_one_out(kept: NearestNeighbours, together: Ints, pairs: list[tuple[float, float]], *, seed: int) -> Doubles:
    """Mean log-loss of each (k, temperature) over training rows that are predicted without those of their cluster."""
    count = len(kept.labels)
    tried = np.arange(count) if count <= TRIED else np.sort(np.random.default_rng([seed, 4]).permutation(count)[:TRIED])
    classes, most = int(kept.labels.max()) + 1, max(k for k, _ in pairs)
    losses = np.zeros(len(pairs))
    for start in range(0, len(tried), COMPARED_ROWS):
        block = tried[start : start + COMPARED_ROWS]
        near, closeness, weight = kept.nearest(kept.features[block], most, (together[block], together))
        right = kept.labels[near] == kept.labels[block][:, None]
        counted = {k: clip(weight, k).astype(closeness.dtype) for k, _ in pairs}
        votes = {temperature: vote(closeness, temperature) for _, temperature in pairs}
        own = {temperature: each * right for temperature, each in votes.items()}
        for number, (k, temperature) in enumerate(pairs):
            total = np.einsum("nm,nm->n", votes[temperature], counted[k])
            share = np.einsum("nm,nm->n", own[temperature], counted[k]) / np.where(total > 0, total, 1)
            losses[number] -= kept.weight[block] @ np.log(smooth(share.astype(np.float64), k, classes))
    losses /= kept.weight[tried].sum()
    return losses


def vote(closeness: npt.NDArray[np.floating], temperature: float) -> npt.NDArray[np.floating]:
    """exp((cosine - highest) / temperature) of rows by falling cosine; 0 for hidden ones."""
    with np.errstate(invalid="ignore"):  # -inf - -inf where every row is hidden
        votes: npt.NDArray[np.floating] = np.nan_to_num(np.exp((closeness - closeness[:, :1]) / temperature))
    return votes


def clip(weight: Doubles, k: float) -> Doubles:
    """The weights as far as they sum up to k from the left."""
    before = weight.cumsum(axis=1) - weight
    counted: Doubles = np.clip(k - before, 0, weight)
    return counted


def smooth(shares: Doubles, k: float, classes: int) -> Doubles:
    """Shares of k votes and of one more, which all classes share (Laplace): the order of the classes stays."""
    return (k * shares + 1 / classes) / (k + 1)


def given(value: float | None, choices: tuple[float, ...]) -> tuple[float, ...]:
    """The value, if there is one, else what to choose from."""
    return choices if value is None else (value,)
