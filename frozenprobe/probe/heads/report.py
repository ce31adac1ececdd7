"""The project report's head: a linear layer, its schedule, and the model after every epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from frozenprobe.probe.heads.head import LinearModel, TrainingRows
from frozenprobe.probe.heads.linear import Schedule, model_of, new_layer, train


@dataclass(frozen=True)
class ReportHead:
    """The project report's head, exactly.

    AdamW with learning rate 5e-4 and weight decay 1e-4, CosineAnnealingLR(T_max=6), batch 32, 9 epochs. Epoch e trains
    on augmented view e (modulo V), so 9 views give the report's 9 distinct epochs. Its random initial weights fall to
    the classes in the order of their names: the one head whose predictions another naming of the classes can change.
    """

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Train; initial weights and order are drawn from the seed."""
        schedule = Schedule(epochs=9, lr=5e-4, weight_decay=1e-4, batch=32, t_max=6)
        rng, dim = np.random.default_rng([seed, 2]), rows.features.shape[1]
        layer = new_layer(dim, rows.classes, rng, bound=1 / math.sqrt(dim))
        snapshots: list[LinearModel] = []
        convergence = train(
            rows,
            layer,
            schedule,
            rng,
            view_of_epoch=lambda epoch, views: epoch % views,
            after_epoch=lambda: snapshots.append(model_of(layer)),
        )
        return model_of(layer, convergence, tuple(snapshots))
