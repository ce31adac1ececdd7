"""Penalised least squares: every image predicted as if its cluster had not been trained on, for many penalties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints, count_parts
from frozenprobe.probe.heads.parts.inner_folds import Images

Matrix = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Smoother:
    """The map from targets to fitted values of ridge or kernel ridge, with an intercept that is not penalised.

    With w the rows' weights, s = sqrt(w), and X = Q diag(sqrt l) U^T the rows around their weighted mean, times s, the
    hat matrix takes the targets times s to the fitted values times s; for the penalty t it is
        H = X (X^T X + t I)^-1 X^T + s s^T / sum w = B diag(1 / (l + t)) B^T + s s^T / sum w    B = X U = Q diag(sqrt l)
    so one decomposition serves every t. A kernel's matrix in the place of X X^T gives B = Q diag(sqrt l), too.

    Attributes:
        basis: B, `(n, k)`.
        values: l, `(k,)`, not negative.
        weight: w, `(n,)`, above 0.
    """

    basis: Matrix
    values: Doubles
    weight: Doubles

    def project(self, labels: Ints, classes: int) -> tuple[Doubles, Doubles]:
        """The classes' shares p of the weight, `(C,)`, and B^T (s (Y - p)), `(k, C)`, with Y the one-hot labels."""
        shares = np.bincount(labels, weights=self.weight, minlength=classes) / self.weight.sum()
        target = np.zeros((len(labels), classes))
        target[np.arange(len(labels)), labels] = 1
        target = (target - shares) * np.sqrt(self.weight)[:, None]
        return shares, (self.basis.T @ target.astype(self.basis.dtype)).astype(np.float64)

    def leave_out(self, images: Images, classes: int, penalties: Sequence[float]) -> Iterator[Doubles]:
        """For each penalty `(N, C)`: the first row of every image, predicted by a fit without any row of its cluster.

        A fit without the rows i of a cluster is one with all rows in which the targets of i are its own predictions.
        From r_i = (I - H) s Y, the residuals with all rows, and H_ii, the cluster's block of H, follow those without:
            e_i = r_i + H_ii e_i      e_i = (I - H_ii)^-1 r_i
        Only the first row of each image is wanted: g^T r_i with (I - H_ii) g its unit vector. Since B^T s = 0,
            r_i = s_i (y - p) - B_i M       M = diag(1 / (l + t)) B^T (s (Y - p))
            prediction = y - g^T r_i / s_1 = y - (g^T s_i (y - p) - (g^T B_i) M) / s_1
        A cluster that is all there is is predicted as 0: nothing is left to fit.

        Args:
            images: whose rows these are.
            classes: C.
            penalties: t, each above 0.
        """
        labels = images.labels[images.index]
        shares, projected = self.project(labels, classes)
        blocks = [block for block in blocks_of(images) if block.rows.shape[1] < len(labels)]
        for penalty in penalties:
            shrink = 1 / (self.values + penalty)
            slopes = (shrink[:, None] * projected).astype(self.basis.dtype)
            predictions = np.zeros((len(images.first), classes))
            for block in blocks:
                shown, root = images.first[block.images], np.sqrt(self.weight)[block.rows]
                combine, fitted = self.combine(block, root, shrink.astype(self.basis.dtype), slopes)
                target = np.eye(classes)[images.labels[block.images]]
                if block.mixed:
                    pull = combine @ (np.eye(classes)[labels[block.rows]] - shares)
                else:  # the targets of all rows are those of the first
                    pull = combine.sum(axis=2)[:, :, None] * (target - shares)
                predictions[block.images] = target - (pull - fitted) / np.sqrt(self.weight)[shown][:, :, None]
            yield predictions

    def combine(self, block: Block, root: Doubles, shrink: Matrix, slopes: Matrix) -> tuple[Doubles, Matrix]:
        """`(m, J, R)` g^T s_i and `(m, J, C)` (g^T B_i) M of every image of a block."""
        basis, size = self.basis[block.rows], block.rows.shape[1]
        hat = (basis * shrink) @ basis.transpose(0, 2, 1)
        hat = hat + root[:, :, None] * root[:, None, :] / self.weight.sum()
        unit = np.eye(size)[block.places].transpose(0, 2, 1)
        turned = np.linalg.solve(np.eye(size) - hat, unit).transpose(0, 2, 1)
        along = (turned.astype(basis.dtype) @ basis).reshape(block.images.size, basis.shape[2])
        return turned * root[:, None, :], (along @ slopes).reshape(*block.images.shape, -1)


@dataclass(frozen=True)
class Block:
    """The m clusters that have as many rows R and images J each.

    Attributes:
        rows: `(m, R)`.
        images: `(m, J)`.
        places: `(m, J)` of the first row of each image among those of its cluster.
        mixed: whether the images of a cluster have several labels.
    """

    rows: Ints
    images: Ints
    places: Ints
    mixed: bool


def blocks_of(images: Images) -> Iterator[Block]:
    """The clusters of some images, those of a shape together."""
    cluster = images.clusters[images.index]
    order = np.argsort(cluster, kind="stable")
    counts, numbers = np.bincount(cluster), np.bincount(images.clusters)
    start = np.cumsum(counts) - counts
    begins = np.zeros(len(order), dtype=bool)
    begins[images.first] = True
    shapes = np.stack([counts, numbers, count_parts(images.labels, images.clusters) > 1], axis=1)
    for shape in np.unique(shapes, axis=0):
        size, number, mixed = shape.tolist()
        rows = order[start[(shapes == shape).all(axis=1)][:, None] + np.arange(size)]
        places = np.nonzero(begins[rows])[1].reshape(-1, number)
        shown = np.take_along_axis(rows, places, axis=1)
        yield Block(rows, images.index[shown], places, bool(mixed))
