"""The linear layer on features larger than memory: the layers of all folds learn from the same blocks of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from frozenprobe.cache.container.read import BLOCK_ROWS
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.fit.trainer import FittedProbe
from frozenprobe.probe.heads.linear import LinearHead, Schedule, Training, model_of, new_layer, one_thread
from frozenprobe.probe.heads.parts.scaling import Scaling
from frozenprobe.probe.heads.registry import name_of
from frozenprobe.probe.stream.moments import COPIES, FoldMoments, Stream, accumulate
from frozenprobe.system.progress import Progress


@one_thread()
def fit_linear(stream: Stream, head: LinearHead, *, seed: int, tell: Progress) -> list[FittedProbe]:
    """A layer without each fold and one of all training images, trained side by side: one pass an epoch for all.

    Moments, for the scaling of each layer, take one pass more. The number of epochs is that of all training images.

    Raises:
        FrozenprobeError: features, or a loss, that are not finite, or features that differ nowhere.
    """
    rng = np.random.default_rng([seed, 8])
    sums = accumulate(stream, np.zeros(0, dtype=np.int64), tell, head=name_of(head))
    schedule = head.schedule(len(stream.labels))
    layers = [Layer.without(fold, sums, schedule, rng) for fold in [*range(int(stream.folds.max()) + 1), None]]
    for epoch in range(1, schedule.epochs + 1):
        for images, rows in shuffled(stream, rng):
            for layer in layers:
                layer.learn(images, rows, head.batch)
        for layer in layers:
            layer.training.end_epoch()
        tell("epochs", epoch, schedule.epochs)
    return [layer.fitted(stream) for layer in layers]


def shuffled(stream: Stream, rng: np.random.Generator) -> Iterator[tuple[Ints, Floats]]:
    """All training images in a random order with one view each, `(n, D)`, a buffer at a time.

    A buffer is filled with blocks of the file from anywhere in it (images often lie there class by class), then
    shuffled. A block shows one view, drawn for it: the others need not be read.
    """
    views = np.array(stream.views.train[:1] if stream.aggregate == "clean" else stream.views.train)
    mean = stream.aggregate == "mean"
    count = len(stream.labels)
    starts = rng.permutation(np.arange(0, count, BLOCK_ROWS))
    size = max(1, stream.memory // (4 * COPIES * BLOCK_ROWS * stream.features.dim))
    for chosen in np.array_split(starts, math.ceil(len(starts) / size)):
        places = [slice(start, min(start + BLOCK_ROWS, count)) for start in chosen.tolist()]
        drawn_views = [views.tolist() if mean else [int(rng.choice(views))] for _ in places]
        rows = np.concatenate(
            [stream.read("train", drawn, place)[:, 0] for place, drawn in zip(places, drawn_views, strict=True)]
        )
        images = np.concatenate([np.arange(place.start, place.stop) for place in places])
        order = rng.permutation(len(images))
        yield images[order], rows[order]


@dataclass(frozen=True)
class Layer:
    """One of the layers.

    Attributes:
        layer: what is trained.
        training: how far it got.
        scaling: fitted to its training images.
        classes: those it has seen, in the order of its outputs.
        column: `(N,)` output of each image's class; -1 for images that it must not see.
        weight: `(N,)` of each image; mean 1 over its training images.
    """

    layer: nn.Linear
    training: Training
    scaling: Scaling
    classes: Ints
    column: Ints
    weight: Floats

    @classmethod
    def without(cls, fold: int | None, sums: FoldMoments, schedule: Schedule, rng: np.random.Generator) -> Layer:
        """An untrained layer for the images outside a fold, or for all; it starts at zero as `LinearHead`'s does."""
        stream = sums.stream
        _, classes, scaling = sums.without(fold)
        kept = np.ones(len(stream.folds), dtype=bool) if fold is None else stream.folds != fold
        column = np.where(kept, np.searchsorted(classes, stream.labels), -1)
        layer = new_layer(stream.features.dim, len(classes), rng, bound=0.0)
        weight = (stream.weight / stream.weight[kept].mean()).astype(np.float32)
        return cls(layer, Training(layer, schedule), scaling, classes, column, weight)

    def learn(self, images: Ints, rows: Floats, batch: int) -> None:
        """Steps on those of the `(n, D)` rows that it may see, in their order."""
        seen = np.flatnonzero(self.column[images] >= 0)
        for part in np.array_split(seen, math.ceil(len(seen) / batch) or 1):
            if len(part):
                own = images[part]
                columns, weight = torch.from_numpy(self.column[own]), torch.from_numpy(self.weight[own])
                self.training.step(torch.from_numpy(self.scaling.apply(rows[part])), columns, weight)

    def fitted(self, stream: Stream) -> FittedProbe:
        """The layer as it is, with what it needs to predict."""
        model = model_of(self.layer, self.training.convergence)
        return FittedProbe(model, self.scaling, self.classes, stream.classes, stream.aggregate == "logit")
