"""The memory of L-BFGS (Nocedal 1980): the last steps, and two loops around any initial inverse Hessian."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from frozenprobe.probe.arrays import Floats
from frozenprobe.probe.heads.logreg.problems import dot


@dataclass(frozen=True)
class Outer:
    """A vector after the first half of L-BFGS's recursion, and what the second half needs."""

    vector: Floats
    factors: list[float]


@dataclass(frozen=True)
class Pair:
    """A step, how the gradient changed along it, and their inner product."""

    step: Floats
    change: Floats
    product: float


@dataclass
class Memory:
    """The last pairs of L-BFGS."""

    most: int
    pairs: list[Pair] = field(default_factory=list)

    def add(self, step: Floats, change: Floats) -> None:
        """Remember a step, unless rounding has eaten the curvature along it."""
        product = dot(step, change)
        if product > 1e-12 * dot(change, change):
            self.pairs.append(Pair(step, change, product))
            del self.pairs[: -self.most]

    def scaled(self, vector: Floats) -> Floats:
        """The usual initial inverse Hessian: a multiple of the identity."""
        if not self.pairs:
            return vector / np.float32(max(1.0, dot(vector, vector) ** 0.5))
        last = self.pairs[-1]
        return vector * np.float32(last.product / dot(last.change, last.change))

    def outer(self, gradient: Floats) -> Outer:
        """First half of the recursion."""
        vector, factors = gradient.copy(), []
        for pair in reversed(self.pairs):
            factors.append(dot(pair.step, vector) / pair.product)
            vector -= np.float32(factors[-1]) * pair.change
        return Outer(vector, factors[::-1])

    def inner(self, outer: Outer, vector: Floats) -> Floats:
        """Second half, after the initial inverse Hessian."""
        for pair, factor in zip(self.pairs, outer.factors, strict=True):
            vector = vector + np.float32(factor - dot(pair.change, vector) / pair.product) * pair.step
        return vector
