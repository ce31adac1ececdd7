"""The Hessian as a Kronecker product of one matrix over classes and one over features, inverted in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Doubles, Floats

ROWS = 1024  # of a block


@dataclass(frozen=True)
class Metric:
    """I + K x S, an approximation of  H = I + sum_i a_i (diag(p_i) - p_i p_i^T) x (x_i x_i^T).

    With q_i = 1 - |p_i|^2, the trace of an image's part:
        K = sum_i a_i (diag(p_i) - p_i p_i^T)        S = sum_i a_i q_i x_i x_i^T / sum_i a_i q_i
    Of two classes, which have one row, it is H itself; and it is H where all images have the same probabilities.

    Attributes:
        ridge: of the intercepts, whose column of x is 1 / sqrt(ridge): then their penalty is 1, too.
        classes: `(C, C)` eigenvectors of K.
        features: `(D + 1, D + 1)` those of S.
        values: `(C, D + 1)` of I + K x S.
    """

    ridge: float
    classes: Floats
    features: Floats
    values: Floats

    @staticmethod
    def of(
        features: Floats, centre: Floats, probabilities: Floats, weight: Floats, hessian: Doubles, ridge: float
    ) -> Metric:
        """Take apart what belongs to these features, `(n, D)`.

        Args:
            features: x, not centred.
            centre: `(D,)` of them.
            probabilities: `(C, n)` p.
            weight: `(n,)` a.
            hessian: K.
            ridge: of the intercepts.
        """
        share = probabilities.sum(axis=0) - np.square(probabilities).sum(axis=0)
        share = np.maximum(share, 0) * weight
        total = share.sum(dtype=np.float64)
        root = np.sqrt(share / (total or 1.0)).astype(np.float32)[:, None]
        moment = np.zeros((len(centre) + 1, len(centre) + 1), dtype=np.float32)
        block = np.empty((min(ROWS, len(features)), len(centre) + 1), dtype=np.float32)
        for start in range(0, len(features), ROWS):  # stays in the cache
            part = features[start : start + ROWS]
            scaled = block[: len(part)]
            np.subtract(part, centre, out=scaled[:, :-1])
            scaled[:, -1] = ridge**-0.5
            scaled *= root[start : start + ROWS]
            moment += scaled.T @ scaled
        spread, vectors = np.linalg.eigh(moment)
        mass, classes = np.linalg.eigh(hessian)
        values = 1 + np.outer(np.maximum(mass, 0), np.maximum(spread, 0))
        return Metric(ridge, classes.astype(np.float32), vectors, values.astype(np.float32))

    def invert(self, direction: Floats) -> Floats:
        """Its inverse times a direction, `(C, D + 1)`."""
        scaled = scale_intercepts(direction.astype(np.float32), self.ridge)
        turned = (self.classes.T @ scaled @ self.features) / self.values
        return scale_intercepts((self.classes @ turned @ self.features.T).astype(np.float32), self.ridge)


def scale_intercepts(at: Floats, ridge: float) -> Floats:
    """The last column over the root of the ridge: variables in which the intercepts' penalty is 1."""
    scaled = at.copy()
    scaled[:, -1] /= ridge**0.5
    return scaled
