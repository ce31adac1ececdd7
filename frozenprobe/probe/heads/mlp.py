"""One hidden layer with dropout: the head of the project report's ConvNeXt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Arrays, Doubles, Floats, softmax
from frozenprobe.probe.heads.head import Convergence, TrainingRows, require_positive
from frozenprobe.probe.heads.linear import Paced, new_layer, train


@dataclass(frozen=True)
class MlpHead(Paced):
    """Dropout, Linear(hidden), ReLU, Dropout, Linear(C), on one random view of every image in every epoch.

    The last layer starts at zero, so neither names nor order of the classes decide anything.

    Attributes:
        epochs: passes over the images; 0: 60, or as many as make 1500 steps.
        lr: learning rate of AdamW at the start, falling to 0 along a cosine.
        weight_decay: of AdamW.
        batch: images in a step.
        hidden: width of the hidden layer; 512 in the report.
        dropout: share of features and of hidden values dropped in training, from 0 to below 1; 0.5 in the report.
    """

    hidden: int = 512
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self.hidden, "--hidden", remedy="such as 512")
        if not 0 <= self.dropout < 1:
            found = str(self.dropout)
            raise FrozenprobeError("A share from 0 to below 1", found=found, where="--dropout", remedy="such as 0.5")

    def fit(self, rows: TrainingRows, *, seed: int) -> MlpModel:
        """Train; initial weights, order, views and what is dropped are drawn from the seed."""
        rng, dim = np.random.default_rng([seed, 3]), rows.features.shape[1]
        inner = new_layer(dim, self.hidden, rng, bound=1 / math.sqrt(dim))
        outer = new_layer(self.hidden, rows.classes, rng, bound=0.0)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        dropout = Dropout(self.dropout, generator)
        schedule = self.schedule(len(np.unique(rows.images)))
        convergence = train(rows, nn.Sequential(dropout, inner, nn.ReLU(), dropout, outer), schedule, rng)
        first, second = (
            (layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in (inner, outer)
        )
        return MlpModel(*first, *second, convergence)


class Dropout(nn.Module):
    """torch's nn.Dropout, drawing from a generator of its own: that one draws from the global one."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.share, self.generator = share, generator

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Drop a share of the values, and scale the rest up to the same mean."""
        kept = torch.empty_like(values).bernoulli_(1 - self.share, generator=self.generator)
        return values * kept / (1 - self.share)


@dataclass(frozen=True)
class MlpModel:
    """softmax(relu(x W1^T + b1) W2^T + b2): nothing is dropped in predicting.

    Attributes:
        inner: W1, `(hidden, D)`.
        inner_intercepts: b1.
        outer: W2, `(C, hidden)`.
        outer_intercepts: b2.
        convergence: epochs and training loss.
    """

    inner: Floats
    inner_intercepts: Floats
    outer: Floats
    outer_intercepts: Floats
    convergence: Convergence

    def probabilities(self, rows: Floats) -> Doubles:
        """Class probabilities, `(n, C)`."""
        hidden = np.maximum(rows @ self.inner.T + self.inner_intercepts, 0)
        return softmax(hidden @ self.outer.T + self.outer_intercepts)

    def arrays(self) -> Arrays:
        """Both layers."""
        return {
            "inner": self.inner,
            "inner_intercepts": self.inner_intercepts,
            "outer": self.outer,
            "outer_intercepts": self.outer_intercepts,
        }
