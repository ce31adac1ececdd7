"""What a head is, and the linear model that most of them end as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints, softmax


@dataclass(frozen=True)
class TrainingRows:
    """What a head is fitted on: a row a view.

    Attributes:
        features: `(n, D)` float32, scaled.
        labels: `(n,)` class of each row, 0 to C - 1; every class occurs.
        weight: `(n,)` float64: the rows of an image share its weight (1, or its class's).
        images: `(n,)` which image a row is a view of; rows of an image are adjacent, in the order of the views.
        clusters: `(n,)` which images belong together: where one of them is held out all are; None: each by itself.
    """

    features: Floats
    labels: Ints
    weight: Doubles
    images: Ints
    clusters: Ints | None = None

    @property
    def classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1

    @property
    def together(self) -> Ints:
        """`(n,)` what must not be split between what is fitted on and what is held out."""
        return self.images if self.clusters is None else self.clusters

    def take(self, which: Ints | npt.NDArray[np.bool_]) -> TrainingRows:
        """Some of the rows."""
        clusters = None if self.clusters is None else self.clusters[which]
        return TrainingRows(self.features[which], self.labels[which], self.weight[which], self.images[which], clusters)


@dataclass(frozen=True)
class Convergence:
    """How far a solver got.

    Attributes:
        converged: whether it reached its tolerance; None where there is none (closed form, fixed number of epochs).
        iterations: of the solver, or epochs.
        objective: mean training loss with its penalty, at the end.
        gradient_norm: Euclidean norm of the objective's gradient, at the end.
        gap: certified upper bound of (objective - optimum) / objective; None: no certificate.
        distance: certified upper bound of |W - W*| / |W|.
        stuck: whether it gave up before its iterations were used: more of them would not help.
    """

    converged: bool | None = None
    iterations: int | None = None
    objective: float | None = None
    gradient_norm: float | None = None
    gap: float | None = None
    distance: float | None = None
    stuck: bool = False


class FittedHead(Protocol):
    """A head that has seen its training rows."""

    @property
    def convergence(self) -> Convergence:
        """How far the solver got."""

    def probabilities(self, rows: Floats) -> Doubles:
        """`(n, D)` scaled rows -> `(n, C)`, each row summing to 1."""

    def arrays(self) -> Arrays:
        """The head as plain arrays."""


class Head(Protocol):
    """An unfitted head: its hyper-parameters."""

    def fit(self, rows: TrainingRows, *, seed: int) -> FittedHead:
        """Fit to training rows; `seed` decides whatever is random."""


@runtime_checkable
class PathHead(Head, Protocol):
    """A head of which many fits can be solved at once, on the same rows and along a path of one hyper-parameter."""

    @property
    def on_path(self) -> float | None:
        """Its own value of that hyper-parameter; None: as it is set, every fit has to be made by itself."""

    def fit_many(
        self, rows: TrainingRows, weights: Sequence[Doubles], factors: Sequence[float], values: Sequence[float]
    ) -> list[list[LinearModel]]:
        """A fit for each vector of row weights and each value: see `LogisticRegressionHead`."""


@dataclass(frozen=True)
class LinearModel:
    """softmax(x W^T + b).

    Attributes:
        coefficients: W, `(C, D)`.
        intercepts: b, `(C,)`.
        convergence: of the solver.
        snapshots: the model after each epoch, for heads that train in epochs.
        chosen: hyper-parameters that the head chose by itself, by name.
    """

    coefficients: Doubles
    intercepts: Doubles
    convergence: Convergence = Convergence()
    snapshots: tuple[LinearModel, ...] = ()
    chosen: dict[str, float] = field(default_factory=dict)

    def probabilities(self, rows: Floats) -> Doubles:
        """Class probabilities, `(n, C)`."""
        return softmax(rows @ self.coefficients.T.astype(np.float32) + self.intercepts)

    def arrays(self) -> Arrays:
        """W and b."""
        return {"coefficients": self.coefficients, "intercepts": self.intercepts}


def balance(labels: Ints, weight: Doubles) -> Doubles:
    """The weights times one factor a class, so that every class has the same total and the total stays."""
    totals = np.bincount(labels, weights=weight)
    balanced: Doubles = weight * (weight.sum() / (len(totals) * totals))[labels]
    return balanced


def image_weights(labels: Ints, class_weight: str | None) -> Doubles:
    """`(n,)` weights that sum to n: 1 each, or the same total for every class."""
    weight = np.ones(len(labels))
    return weight if class_weight is None else balance(labels, weight)


def weights_among(labels: Ints, class_weight: str | None) -> Doubles:
    """`(n,)` likewise of some of the images, among which classes may be missing."""
    return image_weights(np.unique(labels, return_inverse=True)[1].astype(np.int64), class_weight)


def require_positive(value: float | None, where: str, *, remedy: str = "give one, such as 1.0") -> None:
    """Refuse a hyper-parameter that is given and not above 0.

    Raises:
        FrozenprobeError: says so.
    """
    if value is not None and not 0 < value < float("inf"):
        raise FrozenprobeError("A number above 0", found=str(value), where=where, remedy=remedy)
