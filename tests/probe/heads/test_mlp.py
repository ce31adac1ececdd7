"""The hidden layer: the report's network in torch, dropout of its own generator, answers in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.mlp import Dropout, MlpHead, MlpModel

LEARNS = {"epochs": 40, "lr": 1e-2, "hidden": 16}


def make_rows(classes: int = 3, images: int = 25, views: int = 2, *, seed: int = 0) -> TrainingRows:
    """Classes on rings: no linear layer tells them apart."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), images))
    angle = np.repeat(rng.uniform(0, 2 * np.pi, len(labels)), views)
    radius = 1 + np.repeat(labels, views) + 0.1 * rng.normal(size=len(angle))
    features = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    image = np.repeat(np.arange(len(labels)), views)
    labels = np.repeat(labels, views).astype(np.int64)
    return TrainingRows(features.astype(np.float32), labels, np.full(len(image), 1 / views), image)


def test_without_dropout_it_is_a_plain_training_loop() -> None:
    rows, images = make_rows(views=1), 75
    head = MlpHead(epochs=3, hidden=8, dropout=0.0, lr=1e-2)
    rng = np.random.default_rng([5, 3])  # the same weights and order as the head draws
    network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        network[0].weight.copy_(torch.from_numpy(rng.uniform(-(2**-0.5), 2**-0.5, (8, 2))))
        network[0].bias.copy_(torch.from_numpy(rng.uniform(-(2**-0.5), 2**-0.5, 8)))
        network[2].weight.zero_()
        network[2].bias.zero_()
    rng.uniform(size=(3, 8))
    rng.uniform(size=3)
    rng.integers(2**63)  # the seed of the dropout
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=3)
    features, labels = torch.from_numpy(rows.features), torch.from_numpy(rows.labels)
    for _ in range(3):
        rng.integers(np.ones(images, dtype=np.int64))  # the views
        for batch in torch.split(torch.from_numpy(rng.permutation(images)), 32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(features[batch]), labels[batch]).backward()
            optimiser.step()
        scheduler.step()
    expected = network(features).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(head.fit(rows, seed=5).probabilities(rows.features), expected, atol=1e-5)


def test_it_learns_what_no_linear_layer_can() -> None:
    unseen = make_rows(seed=1)
    model = MlpHead(epochs=300, lr=1e-2, hidden=64, dropout=0.0).fit(make_rows(), seed=0)
    assert (model.probabilities(unseen.features).argmax(axis=1) == unseen.labels).mean() > 0.9


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropped = Dropout(0.3, torch.Generator().manual_seed(0))(torch.ones(100, 100))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    assert dropped.max().item() == pytest.approx(1 / 0.7)


def test_a_seed_decides_everything_and_torchs_generator_is_left_alone() -> None:
    rows = make_rows()
    before = torch.get_rng_state()
    first = MlpHead(**LEARNS).fit(rows, seed=0)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(12)
    again, other = (MlpHead(**LEARNS).fit(rows, seed=seed) for seed in (0, 1))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first.inner, again.inner)
    assert (first.inner != other.inner).any()
    undropped = MlpHead(**LEARNS, dropout=0.0).fit(rows, seed=0)  # type: ignore[arg-type]
    assert (first.inner != undropped.inner).any()


def test_the_order_of_the_classes_decides_nothing() -> None:
    rows = make_rows()
    renamed = TrainingRows(rows.features, 2 - rows.labels, rows.weight, rows.images)
    one, other = (MlpHead(**LEARNS).fit(each, seed=0).probabilities(rows.features) for each in (rows, renamed))  # type: ignore[arg-type]
    np.testing.assert_allclose(one, other[:, ::-1], atol=1e-3)


def test_arrays_answer_without_the_head() -> None:
    rows = make_rows()
    model = MlpHead(**LEARNS).fit(rows, seed=0)  # type: ignore[arg-type]
    again = MlpModel(*model.arrays().values(), convergence=model.convergence)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.probabilities(rows.features), model.probabilities(rows.features))
    assert model.convergence.iterations == 40


@pytest.mark.parametrize(
    ("name", "value"), [("hidden", 0), ("dropout", 1.0), ("dropout", -0.1), ("lr", 0), ("epochs", -1), ("batch", 0)]
)
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError) as caught:
        MlpHead(**{name: value})  # type: ignore[arg-type]
    assert caught.value.where == f"--{name}"
