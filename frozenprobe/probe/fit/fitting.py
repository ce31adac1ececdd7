"""Training rows -> scaling and head, both fitted on these rows alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import FittedHead, Head, TrainingRows
from frozenprobe.probe.heads.parts.scaling import Scaling, fit_scaling


@dataclass(frozen=True)
class ScaledHead:
    """A fitted head with the scaling it was trained on."""

    head: FittedHead
    scaling: Scaling

    def probabilities(self, rows: Floats) -> Doubles:
        """`(n, D)` rows as they are stored -> `(n, C)`."""
        return self.head.probabilities(self.scaling.apply(rows))


def fit_scaled(head: Head, rows: TrainingRows, *, scale: str, seed: int) -> ScaledHead:
    """Fit the scaling called `scale`, then the head on what it makes of the rows.

    Raises:
        FrozenprobeError: no such scaling, or what the head refuses.
    """
    scaling = fit_scaling(scale, rows.features, rows.weight)
    return ScaledHead(head.fit(replace(rows, features=scaling.apply(rows.features)), seed=seed), scaling)


def balance(labels: Ints, weight: Doubles) -> Doubles:
    """The weights times one factor a class, so that every class has the same total and the total stays."""
    totals = np.bincount(labels, weights=weight)
    balanced: Doubles = weight * (weight.sum() / (len(totals) * totals))[labels]
    return balanced
