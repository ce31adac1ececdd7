"""Weighted nearest neighbours in cosine similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads import Arrays, Convergence, Ints, TrainingRows
from frozenprobe.probe.scaling import Doubles, Floats, normalise

BLOCK = 1024  # rows answered at once: bounds the matrix of similarities


@dataclass(frozen=True)
class NearestNeighboursHead:
    """Votes of the k nearest training rows, weighted by exp(cosine / temperature) (Wu et al. 2018, arXiv:1805.01978).

    Attributes:
        k: number of neighbours in images: k times as many rows as an image has views, so k means the same at any V.
        temperature: 0.07 in the papers of the instance-discrimination family and DINO.
    """

    k: int = 10
    temperature: float = 0.07

    def __post_init__(self) -> None:
        for name, value in (("--k", self.k), ("--temperature", self.temperature)):
            if not 0 < value < float("inf"):
                raise FrozenprobeError("A number above 0", found=str(value), where=name, remedy="give one")

    def fit(self, rows: TrainingRows, *, seed: int) -> NearestNeighbours:
        """Keep the rows; nothing is random."""
        views = len(rows.images) / len(np.unique(rows.images))
        k = min(round(self.k * views), len(rows.labels))
        return NearestNeighbours(normalise(rows.features), rows.labels, rows.weight, k, self.temperature)


@dataclass(frozen=True)
class NearestNeighbours:
    """The training rows, L2-normalised, with labels and weights."""

    features: Floats
    labels: Ints
    weight: Doubles
    k: int
    temperature: float
    convergence: Convergence = Convergence()

    def probabilities(self, rows: Floats) -> Doubles:
        """Shares of the votes, `(n, C)`."""
        votes = np.zeros((len(rows), int(self.labels.max()) + 1))
        for start in range(0, len(rows), BLOCK):
            similarity = normalise(rows[start : start + BLOCK]) @ self.features.T
            nearest = np.argpartition(-similarity, self.k - 1, axis=1)[:, : self.k]
            closeness = np.take_along_axis(similarity, nearest, axis=1)
            closeness = np.exp((closeness - closeness.max(axis=1, keepdims=True)) / self.temperature)
            image = np.arange(len(similarity))[:, None] + start
            np.add.at(votes, (image, self.labels[nearest]), closeness * self.weight[nearest])
        result: Doubles = votes / votes.sum(axis=1, keepdims=True)
        return result

    def arrays(self) -> Arrays:
        """The rows and the two hyper-parameters."""
        return {
            "neighbours": self.features,
            "neighbour_labels": self.labels,
            "neighbour_weight": self.weight,
            "k": np.array(self.k),
            "temperature": np.array(self.temperature),
        }
