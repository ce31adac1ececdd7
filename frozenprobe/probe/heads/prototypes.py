"""Nearest class mean in cosine similarity, with calibrated probabilities in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints, softmax
from frozenprobe.probe.heads.head import Convergence, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.scaling import normalise

COLDEST, WARMEST = 1e-3, 1e2  # cosines differ by 2 at most: beyond these all probabilities are 0, 1 or 1 / C
UNKNOWN = 0.1  # the temperature where no class has two images to fit it on


@dataclass(frozen=True)
class PrototypeHead:
    """One direction a class, the mean of its normalised rows (SimpleShot, Wang et al. 2019, arXiv:1911.04623).

    With p_c the classes' shares of the weight it is Bayes' rule for von Mises-Fisher classes of one concentration
    1 / T, of which `--class-weight balanced` leaves the plain nearest mean:
        m_c = sum_i w_i x_i / |sum_i w_i x_i|  over the rows of class c        P(c | x) ~ p_c exp(cos(x, m_c) / T)

    Attributes:
        temperature: T > 0; None: the one with the least log-loss of the training images, each scored by means
            without its own rows.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        require_positive(self.temperature, "--temperature", remedy="such as 0.1")

    def fit(self, rows: TrainingRows, *, seed: int) -> Prototypes:
        """Average; nothing is random."""
        unit = normalise(rows.features)
        _, first, image = np.unique(rows.images, return_index=True, return_inverse=True)
        image_sums = np.add.reduceat(unit * rows.weight[:, None], first, axis=0)
        order = np.argsort(rows.labels[first], kind="stable")
        starts = np.searchsorted(rows.labels[first][order], np.arange(rows.classes))
        sums = np.add.reduceat(image_sums[order], starts, axis=0)
        prototypes = unit_rows(sums)
        share = np.bincount(rows.labels, weights=rows.weight) / rows.weight.sum()
        temperature = self.temperature
        if temperature is None:
            without = unit_rows(sums[rows.labels[first]] - image_sums)[image]
            left = np.bincount(rows.labels[first])[rows.labels] > 1  # the rest are their class's only image
            cosines = unit @ prototypes.T.astype(np.float32)
            cosines[np.arange(len(unit)), rows.labels] = (unit * without).sum(axis=1)
            temperature = fit_vmf_temperature(cosines[left], np.log(share), rows.labels[left], rows.weight[left])
        return Prototypes(prototypes, np.log(share), temperature)


@dataclass(frozen=True)
class Prototypes:
    """softmax(cos(x, m_c) / T + log p_c).

    Attributes:
        prototypes: m, `(C, D)`, of length 1.
        log_shares: log p, `(C,)`.
        temperature: T.
    """

    prototypes: Doubles
    log_shares: Doubles
    temperature: float
    convergence: Convergence = Convergence()

    def probabilities(self, rows: Floats) -> Doubles:
        """Class probabilities, `(n, C)`."""
        cosines = normalise(rows) @ self.prototypes.T.astype(np.float32)
        return softmax(cosines.astype(np.float64) / self.temperature + self.log_shares)

    def arrays(self) -> Arrays:
        """m, log p and T."""
        return {
            "prototypes": self.prototypes,
            "log_shares": self.log_shares,
            "temperature": np.array(self.temperature),
        }


def fit_vmf_temperature(cosines: Floats, log_shares: Doubles, labels: Ints, weight: Doubles) -> float:
    """The temperature with the least log-loss, within `COLDEST` and `WARMEST`.

    With k = 1 / T and P = softmax(k s + log p) the mean loss is convex in k, and its slope rises with k:
        loss = -sum_i w_i log P[i, y_i]        dloss / dk = sum_i w_i (sum_c P[i, c] s[i, c] - s[i, y_i])
    so bisection of log k finds the root, or the end of the range on its side.
    """
    if not len(labels):
        return UNKNOWN
    scores = cosines.astype(np.float64)
    own = scores[np.arange(len(labels)), labels]
    low, high = -np.log(WARMEST), -np.log(COLDEST)
    for _ in range(18):  # to 4e-5 of T
        middle = (low + high) / 2
        expected = (softmax(np.exp(middle) * scores + log_shares) * scores).sum(axis=1)
        low, high = (middle, high) if weight @ (expected - own) < 0 else (low, middle)
    return float(np.exp(-(low + high) / 2))


def unit_rows(sums: Doubles) -> Doubles:
    """Rows divided by their length, in float64; a row of zeros stays."""
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    result: Doubles = sums / np.where(length > 0, length, 1)
    return result
