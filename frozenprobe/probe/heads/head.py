"""What a head is, the heads by name, and the linear model that most of them end as."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints, softmax
from frozenprobe.probe.options import AUTO, HEADS, Setting, find_head


@dataclass(frozen=True)
class TrainingRows:
    """What a head is fitted on: a row a view.

    Attributes:
        features: `(n, D)` float32, scaled.
        labels: `(n,)` class of each row, 0 to C - 1; every class occurs.
        weight: `(n,)` float64: the rows of an image share its weight (1, or its class's).
        images: `(n,)` which image a row is a view of; rows of an image are adjacent, in the order of the views.
    """

    features: Floats
    labels: Ints
    weight: Doubles
    images: Ints

    @property
    def classes(self) -> int:
        """C."""
        return int(self.labels.max()) + 1


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
    """

    converged: bool | None = None
    iterations: int | None = None
    objective: float | None = None
    gradient_norm: float | None = None
    gap: float | None = None
    distance: float | None = None


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


def head_for(settings: dict[str, Setting]) -> str:
    """The first head that has all these hyper-parameters; `auto` if there are none.

    Raises:
        FrozenprobeError: hyper-parameters of several heads.
    """
    if not settings:
        return AUTO
    for name in HEADS:
        if set(settings) <= {field.name for field in fields(head_class(name))}:
            return name
    raise FrozenprobeError(
        "Hyper-parameters of one head",
        found=", ".join(f"--{name.replace('_', '-')}" for name in settings),
        where="the options",
        remedy="choose the head with --head, and give it its own options only",
    )


def make_head(name: str, settings: dict[str, Setting]) -> Head:
    """The head called `name`, with these of its hyper-parameters set.

    Raises:
        FrozenprobeError: no such head, or a hyper-parameter that it does not have.
    """
    kind = head_class(name)
    known = {field.name for field in fields(kind)}
    for setting in settings:
        if setting not in known:
            raise FrozenprobeError(
                f"Hyper-parameters of the head {name}: {', '.join(sorted(known)) or 'none'}",
                found=f"--{setting.replace('_', '-')}",
                where=f"--head {name}",
                remedy="leave it out, or choose the --head it belongs to",
            )
    head: Head = kind(**settings)
    return head


def head_class(name: str) -> Any:
    """The dataclass of the hyper-parameters of the head called `name`.

    Raises:
        FrozenprobeError: no such head.
    """
    module, factory = find_head(name).factory.split(":")
    return getattr(import_module(module), factory)
