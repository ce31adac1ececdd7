"""The products of logistic regression on a GPU: rows and scores stay there, weights and gradients come and go."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg.numpy_products import LogisticProducts, Table, slices
from frozenprobe.probe.heads.logreg.problems import Operand, Products
from frozenprobe.system.devices import full_precision

SCORES = 2**27  # that are in memory at once, if a row's are not more: 512 MB

Change = Callable[[slice, int, torch.Tensor], None]  # (rows, number of a problem, its scores of these rows)


@dataclass(frozen=True)
class TorchTable:
    """A `Table` on a device."""

    features: torch.Tensor
    labels: list[torch.Tensor]
    weights: list[torch.Tensor]

    def exact(self) -> TorchTable:
        """The same rows in float64."""
        features, weights = exactly(self.features), [exactly(each) for each in self.weights]
        return TorchTable(features, [each.to(features.device) for each in self.labels], weights)

    @staticmethod
    def of(table: Table, device: torch.device) -> TorchTable:
        """Copy a table to a device."""
        labels, weights = [put(each, device) for each in table.labels], [put(each, device) for each in table.weights]
        return TorchTable(put(table.features, device), labels, weights)


@dataclass
class TorchProducts(Products[TorchTable]):
    """Sums over rows in float32 on a device; losses are summed in float64, on the CPU.

    Products are cheap there, so rows without weight are multiplied, too, and `dual` stays False: what counts is
    how many numbers come and go, and these are fewer in `multiply`.

    Attributes:
        curvature: for each problem the probabilities on mean views at the point last given to `bend`, and the weights.
    """

    curvature: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    @staticmethod
    def of(rows: TrainingRows, weights: Sequence[Doubles], device: torch.device) -> TorchProducts:
        """Lay out the rows for problems of these row weights, and copy them to the device."""
        here = LogisticProducts.of(rows, weights)
        full, mean = TorchTable.of(here.full, device), TorchTable.of(here.mean, device)
        return TorchProducts(here.classes, here.centres, full, mean)

    @functools.cached_property
    def exact(self) -> TorchTable:
        """See `Products`."""
        return self.full.exact()

    def sum_residuals(self, table: TorchTable, stacked: Floats, operands: Sequence[Operand]) -> tuple[Doubles, Floats]:
        """See `Products`."""
        losses = table.features.new_zeros((len(operands), len(table.features)))

        def subtract(block: slice, number: int, scores: torch.Tensor) -> None:
            losses[number, block] = to_residuals(table, block, operands[number], scores)

        sums = self.sweep(table.features, stacked, operands, subtract)
        totals: Doubles = fetch(losses).sum(axis=1, dtype=np.float64)
        return totals, sums

    def sum_probabilities(self, stacked: Floats, operand: Operand) -> tuple[Doubles, Doubles]:
        """See `Products`."""
        with full_precision(self.mean.features.device):
            probabilities = torch.softmax(self.mean.features @ put(stacked, self.mean.features).T, dim=1)
            weight = operand.c * self.mean.weights[operand.problem][:, None]
            self.curvature[operand.problem] = (probabilities, weight)
        exact = exactly(probabilities)
        exact /= exact.sum(dim=1, keepdim=True)
        weighted = exact * exactly(weight)
        return fetch(weighted.sum(dim=0)), fetch(weighted.T @ exact)

    def sum_bent(self, stacked: Floats, operands: Sequence[Operand]) -> Floats:
        """See `Products`."""

        def bend(block: slice, number: int, scores: torch.Tensor) -> None:
            probabilities, weight = (tensor[block] for tensor in self.curvature[operands[number].problem])
            scores *= probabilities
            scores -= probabilities * scores.sum(dim=1, keepdim=True)
            scores *= weight

        return self.sweep(self.mean.features, stacked, operands, bend)

    def sweep(self, features: torch.Tensor, stacked: Floats, operands: Sequence[Operand], change: Change) -> Floats:
        """S = X W^T in blocks of rows, each problem's columns changed in place -> S^T X, `(C of all, D + 1)`."""
        columns = [len(each.at) for each in operands]
        with full_precision(features.device):
            weights = put(stacked, features)
            sums = torch.zeros_like(weights)
            for block in slices(slice(0, len(features)), max(1, SCORES // sum(columns))):
                scores = features[block] @ weights.T
                for number, part in enumerate(torch.split(scores, columns, dim=1)):
                    change(block, number, part)
                sums += scores.T @ features[block]
            return fetch(sums)


def to_residuals(table: TorchTable, block: slice, operand: Operand, scores: torch.Tensor) -> torch.Tensor:
    """Scores of a block of rows -> a * (P - Y), in place; returns the rows' losses."""
    labels = table.labels[operand.problem][block][:, None]
    weight = operand.c * table.weights[operand.problem][block][:, None]
    scores -= scores.amax(dim=1, keepdim=True)
    own = scores.gather(1, labels)
    total = scores.exp_().sum(dim=1, keepdim=True)
    scores *= weight / total
    scores.scatter_add_(1, labels, -weight)
    return (weight * (total.log() - own))[:, 0]


def put(array: Floats | Ints, like: torch.Tensor | torch.device) -> torch.Tensor:
    """An array as a tensor on a device, or on that of another tensor and in its precision."""
    return torch.from_numpy(array).to(like)


def exactly(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in float64; on the CPU if the device is MPS, which has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def fetch(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """A tensor as an array here."""
    array: npt.NDArray[Any] = tensor.cpu().numpy()
    return array
