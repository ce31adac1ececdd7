"""Networks trained by AdamW on one view an image and epoch: a linear layer, and the project report's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Ints
from frozenprobe.probe.heads.head import Convergence, LinearModel, TrainingRows, require_positive


@dataclass(frozen=True)
class Schedule:
    """AdamW with a cosine learning rate, stepped once an epoch.

    Attributes:
        epochs: passes over the images.
        lr: learning rate at the start.
        weight_decay: of AdamW.
        batch: images in a step.
        t_max: epochs from the highest to the lowest learning rate (torch's CosineAnnealingLR rises again after).
    """

    epochs: int
    lr: float
    weight_decay: float
    batch: int
    t_max: int


LEAST_EPOCHS = 60
LEAST_STEPS = 1500  # a few dozen images are a step an epoch: 60 of them would train nothing


@dataclass(frozen=True)
class Paced:
    """The hyper-parameters of training; see `LinearHead`."""

    epochs: int = 0
    lr: float = 1e-3
    weight_decay: float = 1e-2
    batch: int = 32

    def __post_init__(self) -> None:
        require_positive(self.lr, "--lr", remedy="give one")
        require_positive(self.batch, "--batch", remedy="give one")
        for name, value in (("--epochs", self.epochs), ("--weight-decay", self.weight_decay)):
            if not 0 <= value < float("inf"):
                raise FrozenprobeError("A number from 0 on", found=str(value), where=name, remedy="give one")

    def schedule(self, images: int) -> Schedule:
        """A learning rate that falls to 0 over the epochs; 0 epochs: 60, or as many as make 1500 steps."""
        epochs = self.epochs or max(LEAST_EPOCHS, math.ceil(LEAST_STEPS / math.ceil(images / self.batch)))
        return Schedule(epochs, self.lr, self.weight_decay, self.batch, epochs)


@dataclass(frozen=True)
class LinearHead(Paced):
    """Cross-entropy on one random view of every image in every epoch.

    The weights start at zero, so neither names nor order of the classes decide anything.

    Attributes:
        epochs: passes over the images; 0: 60, or as many as make 1500 steps.
        lr: learning rate at the start, falling to 0 along a cosine.
        weight_decay: of AdamW.
        batch: images in a step.
    """

    def fit(self, rows: TrainingRows, *, seed: int) -> LinearModel:
        """Train; order and views are drawn from the seed."""
        schedule = self.schedule(len(np.unique(rows.images)))
        rng = np.random.default_rng([seed, 2])
        layer = new_layer(rows.features.shape[1], rows.classes, rng, bound=0.0)
        return model_of(layer, train(rows, layer, schedule, rng))


ViewOfEpoch = Callable[[int, int], int]  # (epoch, views of an image) -> view


@contextmanager
def one_thread() -> Iterator[None]:
    """A step on 32 images is too small to share: torch's threads would wait for each other 100 times longer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(
    rows: TrainingRows,
    network: nn.Module,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    view_of_epoch: ViewOfEpoch | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> Convergence:
    """Train a network in place.

    Args:
        rows: an image's rows are adjacent.
        network: `(B, D)` rows -> `(B, C)` scores.
        schedule: see there.
        rng: order and drawn views come from it.
        view_of_epoch: which view every image shows in an epoch; None: one drawn for each image.
        after_epoch: called when an epoch is done.

    Raises:
        FrozenprobeError: the loss is not finite any more.
    """
    first, views, labels, weight = image_starts(rows)
    features = torch.from_numpy(rows.features)
    training = Training(network, schedule)
    for epoch in range(schedule.epochs):
        drawn = rng.integers(views) if view_of_epoch is None else np.array([view_of_epoch(epoch, n) for n in views])
        chosen = torch.from_numpy(first + drawn)
        for batch in torch.split(torch.from_numpy(rng.permutation(len(first))), schedule.batch):
            training.step(features[chosen[batch]], labels[batch], weight[batch])
        training.end_epoch()
        if after_epoch is not None:
            after_epoch()
    return training.convergence


class Training:
    """A network, its optimiser, and how far they got."""

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        self.network = network
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, T_max=schedule.t_max)
        self.losses: list[torch.Tensor] = []
        self.convergence = Convergence(iterations=0, objective=0.0)

    def step(self, rows: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor) -> None:
        """One step on `(B, D)` rows with `(B,)` labels and weights."""
        losses = nn.functional.cross_entropy(self.network(rows), labels, reduction="none")
        loss = (losses * weight).mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.losses.append(loss.detach())

    def end_epoch(self) -> None:
        """Lower the learning rate, and remember the mean loss of the steps.

        Raises:
            FrozenprobeError: it is not finite any more.
        """
        self.scheduler.step()
        mean_loss, epochs = float(torch.stack(self.losses).mean()), (self.convergence.iterations or 0) + 1
        if not math.isfinite(mean_loss):
            raise FrozenprobeError(
                "A finite training loss",
                found=f"{mean_loss} in epoch {epochs}",
                where="the training of the head",
                remedy="lower --lr, or scale the features (--scale global)",
            )
        self.losses.clear()
        self.convergence = Convergence(iterations=epochs, objective=mean_loss)


def image_starts(rows: TrainingRows) -> tuple[Ints, Ints, torch.Tensor, torch.Tensor]:
    """For every image its first row, its number of rows, its label and its weight (mean 1 over images)."""
    _, first, views = np.unique(rows.images, return_index=True, return_counts=True)
    weight = np.add.reduceat(rows.weight, first)
    labels = torch.from_numpy(rows.labels[first])
    return first, views, labels, torch.from_numpy((weight / weight.mean()).astype(np.float32))


def new_layer(inputs: int, outputs: int, rng: np.random.Generator, *, bound: float) -> nn.Linear:
    """All values uniform in +-bound, drawn from `rng`; torch's default for nn.Linear is 1 / sqrt(inputs)."""
    with torch.device("meta"):  # torch's own initialisation would draw from its global generator
        layer = nn.Linear(inputs, outputs)
    layer.to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)))
        layer.bias.copy_(torch.from_numpy(rng.uniform(-bound, bound, outputs).astype(np.float32)))
    return layer


def model_of(
    layer: nn.Linear, convergence: Convergence = Convergence(), snapshots: tuple[LinearModel, ...] = ()
) -> LinearModel:
    """A copy of the layer's present weights."""
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return LinearModel(weight.copy(), bias.copy(), convergence, snapshots)
