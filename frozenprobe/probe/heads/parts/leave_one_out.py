"""Penalised least squares: every image predicted as if it had not been trained on, for many penalties at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Ints

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

    def leave_out(self, labels: Ints, images: Ints, classes: int, penalties: Sequence[float]) -> Iterator[Doubles]:
        """For each penalty `(N, C)`: the first row of every image, predicted by a fit without any row of that image.

        A fit without the rows i of an image is one with all rows in which the targets of i are its own predictions.
        From r_i = (I - H) s Y, the residuals with all rows, and H_ii, the image's block of H, follow those without:
            e_i = r_i + H_ii e_i      e_i = (I - H_ii)^-1 r_i
        Only the first is wanted: g^T r_i with (I - H_ii) g = (1, 0 ... 0). Since B^T s = 0, and an image has one label,
            r_i = s_i (y - p) - B_i M       M = diag(1 / (l + t)) B^T (s (Y - p))
            prediction = y - g^T r_i / s_1 = y - ((g^T s_i) (y - p) - (g^T B_i) M) / s_1

        Args:
            labels: `(n,)` of the rows.
            images: `(n,)` image of each row, 0 to N - 1.
            classes: C.
            penalties: t, each above 0.
        """
        shares, projected = self.project(labels, classes)
        groups = [self.block(rows) for rows in rows_by_image(images)]
        for penalty in penalties:
            shrink = 1 / (self.values + penalty)
            slopes = (shrink[:, None] * projected).astype(self.basis.dtype)
            predictions = np.empty((int(images.max()) + 1, classes))
            for rows, basis, root in groups:
                hat = (basis * shrink.astype(basis.dtype)) @ basis.transpose(0, 2, 1)
                hat = hat + root[:, :, None] * root[:, None, :] / self.weight.sum()
                unit = np.eye(rows.shape[1])[:, :1]
                combine = np.linalg.solve(np.eye(rows.shape[1]) - hat, np.broadcast_to(unit, (len(rows), *unit.shape)))
                fitted = (combine.transpose(0, 2, 1).astype(basis.dtype) @ basis)[:, 0] @ slopes
                own = (combine[:, :, 0] * root).sum(axis=1, keepdims=True)
                target = np.eye(classes)[labels[rows[:, 0]]]
                predictions[images[rows[:, 0]]] = target - (own * (target - shares) - fitted) / root[:, :1]
            yield predictions

    def block(self, rows: Ints) -> tuple[Ints, Matrix, Doubles]:
        """Rows of images `(m, V)`, their basis `(m, V, k)` and the roots of their weights."""
        return rows, self.basis[rows], np.sqrt(self.weight)[rows]


def rows_by_image(images: Ints) -> Iterator[Ints]:
    """The rows of the images, `(m, V)`, for every number V of rows that an image has."""
    order = np.argsort(images, kind="stable")
    counts = np.bincount(images)
    start = np.cumsum(counts) - counts
    for views in np.unique(counts).tolist():
        yield order[start[counts == views][:, None] + np.arange(views)]
