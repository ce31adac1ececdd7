"""The power law of learning curves: error(n) = a + b n^-c, fitted by weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles

# Measured exponents lie between 0.07 and 1 (Hestness et al. 2017, arXiv:1712.00409; Rosenfeld et al. 2020,
# arXiv:1909.12673), and 1 is the fast rate of learning theory. A larger one would let a few points promise a plateau.
EXPONENTS = np.linspace(0.01, 1, 100)


@dataclass(frozen=True)
class PowerLaw:
    """One law, or many of them fitted at once: arrays of one shape.

    Attributes:
        floor: a, at least 0: the error that no number of images takes away.
        scale: b, at least 0.
        exponent: c, one of `EXPONENTS`.
    """

    floor: Doubles
    scale: Doubles
    exponent: Doubles

    def error(self, size: float) -> Doubles:
        """a + b n^-c at n = `size`, above 0."""
        result: Doubles = self.floor + self.scale * size**-self.exponent
        return result


def fit_power_law(sizes: Doubles, errors: Doubles, weight: Doubles) -> PowerLaw:
    """The law nearest to the points, exactly over a and b, by a grid over c.

    For a given c, with z_p = n_p^-c, least squares over a and b is the line through the points (z_p, e_p):
        b = (W Sze - Sz Se) / (W Szz - Sz^2)     a = (Se - b Sz) / W     Szz = sum w z^2, W = sum w, and so on.
    The sum of squares is convex, so where a or b comes out below 0, the best point lies on that edge:
        a = 0: b = Sze / Szz                     b = 0: a = Se / W

    Args:
        sizes: `(P,)` numbers of images a class, above 0, at least two of them different.
        errors: `(..., P)` one curve or many.
        weight: `(P,)` above 0: 1 / variance of each point's error.
    """
    z = sizes ** -EXPONENTS[:, None]  # (c, P)
    share = weight / weight.sum()  # so W = 1
    sz, szz = z @ share, np.square(z) @ share
    se, sze = (errors @ share)[..., None], (errors * share) @ z.T  # (..., 1), (..., c)
    scale = (sze - sz * se) / (szz - np.square(sz))
    floor = se - scale * sz
    scale = np.where(floor < 0, sze / szz, scale)
    floor = np.where(scale < 0, se, np.maximum(floor, 0))
    scale = np.maximum(scale, 0)
    missed = np.square(errors[..., None, :] - floor[..., None] - scale[..., None] * z) @ share
    best = missed.argmin(axis=-1)[..., None]
    floor, scale = (np.take_along_axis(values, best, axis=-1)[..., 0] for values in (floor, scale))
    return PowerLaw(floor, scale, EXPONENTS[best[..., 0]])
