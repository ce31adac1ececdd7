"""Nearest class mean in cosine similarity, with calibrated probabilities in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.arrays import Arrays, Doubles, Floats, Ints, softmax
from frozenprobe.probe.heads.head import Convergence, TrainingRows, require_positive
from frozenprobe.probe.heads.parts.inner_folds import Images
from frozenprobe.probe.heads.parts.scaling import normalise

COLDEST, WARMEST = 1e-3, 1e2  # cosines differ by 2 at most: beyond these all probabilities are 0, 1 or 1 / C
PAIRS = 2048  # of a cluster and a class, in a block
UNKNOWN = 0.1  # the temperature where no class has two images to fit it on


@dataclass(frozen=True)
class PrototypeHead:
    """One direction a class, the mean of its normalised rows (SimpleShot, Wang et al. 2019, arXiv:1911.04623).

    With p_c the classes' shares of the weight it is Bayes' rule for von Mises-Fisher classes of one concentration
    1 / T, of which `--class-weight balanced` leaves the plain nearest mean:
        m_c = sum_i w_i x_i / |sum_i w_i x_i|  over the rows of class c        P(c | x) ~ p_c exp(cos(x, m_c) / T)

    Attributes:
        temperature: T > 0; None: the one with the least log-loss of the training images, each scored by means
            without the rows of its cluster.
    """

    temperature: float | None = None

    def __post_init__(self) -> None:
        require_positive(self.temperature, "--temperature", remedy="such as 0.1")

    def fit(self, rows: TrainingRows, *, seed: int) -> Prototypes:
        """Average; nothing is random."""
        unit = normalise(rows.features)
        images = Images.of(rows)
        sums = sum_by(images.labels[images.index], unit, rows.weight)
        prototypes = unit_rows(sums)
        share = np.bincount(rows.labels, weights=rows.weight) / rows.weight.sum()
        temperature = self.temperature
        if temperature is None:
            left = ~images.alone()[images.index]
            cosines = left_out(unit, rows.weight, images, sums)
            temperature = fit_vmf_temperature(cosines[left], np.log(share), rows.labels[left], rows.weight[left])
        return Prototypes(prototypes, np.log(share), temperature)


def left_out(unit: Floats, weight: Doubles, images: Images, sums: Doubles) -> Floats:
    """`(n, C)` cosines of every row with the means without the rows of its cluster; of a class without others 0.

    Args:
        unit: `(n, D)` rows of length 1.
        weight: `(n,)`.
        images: that they are views of.
        sums: `(C, D)` weighted sums of the rows of each class.
    """
    classes = len(sums)
    pair, pair_of = np.unique((images.clusters * classes + images.labels)[images.index], return_inverse=True)
    cluster, label = np.divmod(pair, classes)
    cosines: Floats = unit @ unit_rows(sums).T.astype(np.float32)
    order, bounds = np.argsort(pair_of, kind="stable"), np.append(0, np.cumsum(np.bincount(pair_of)))
    for start in range(0, len(pair), PAIRS):  # so many means in float64 are but a few megabytes
        stop = min(start + PAIRS, len(pair))
        rows = order[bounds[start] : bounds[stop]]
        without = unit_rows(sums[label[start:stop]] - sum_by(pair_of[rows] - start, unit[rows], weight[rows]))
        cosines[rows, label[pair_of[rows]]] = (unit[rows] * without[pair_of[rows] - start]).sum(axis=1)
    for each in np.flatnonzero(np.bincount(cluster) > 1):  # the means of its other classes are without it, too
        start, stop = np.searchsorted(cluster, (each, each + 1))
        rows, own = order[bounds[start] : bounds[stop]], label[start:stop]
        without = unit_rows(sums[own] - sum_by(pair_of[rows] - start, unit[rows], weight[rows]))
        cosines[rows[:, None], own] = unit[rows] @ without.T
    return cosines


def sum_by(groups: Ints, rows: Floats, weight: Doubles) -> Doubles:
    """`(groups, D)` weighted sums of the rows of each group, all of which have some."""
    order = np.argsort(groups, kind="stable")
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sums = np.empty((len(first), rows.shape[1]))
    for start in range(0, len(first), PAIRS // 32):
        stop = min(start + PAIRS // 32, len(first))
        own = order[first[start] : first[stop] if stop < len(first) else len(order)]
        sums[start:stop] = np.add.reduceat(rows[own] * weight[own][:, None], first[start:stop] - first[start], axis=0)
    return sums


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
