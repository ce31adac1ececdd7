"""The project report's head: its plain training loop step for step, and its views epoch by epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.report import ReportHead
from tests.probe.heads.test_linear import make_rows


def test_the_reports_head_is_its_plain_training_loop() -> None:
    views, seed = 4, 3
    rows = make_rows(views=views)
    images = len(rows.labels) // views
    by_view = torch.from_numpy(rows.features).reshape(images, views, -1)
    labels = torch.from_numpy(rows.labels[::views])

    rng = np.random.default_rng([seed, 2])  # the same weights and order as the head draws
    bound = 1 / np.sqrt(6)
    layer = torch.nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.uniform(-bound, bound, (3, 6))))
        layer.bias.copy_(torch.from_numpy(rng.uniform(-bound, bound, 3)))
    optimiser = torch.optim.AdamW(layer.parameters(), lr=5e-4, weight_decay=1e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=6)
    criterion = torch.nn.CrossEntropyLoss()
    weights = []
    for epoch in range(9):
        order = torch.from_numpy(rng.permutation(images))
        for start in range(0, images, 32):
            batch = order[start : start + 32]
            optimiser.zero_grad()
            criterion(layer(by_view[batch, epoch % views]), labels[batch]).backward()
            optimiser.step()
        scheduler.step()
        weights.append((layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()))

    model = ReportHead().fit(rows, seed=seed)
    np.testing.assert_allclose(model.coefficients, weights[-1][0], atol=1e-6)
    np.testing.assert_allclose(model.intercepts, weights[-1][1], atol=1e-6)
    assert len(model.snapshots) == 9
    for snapshot, (weight, bias) in zip(model.snapshots, weights, strict=True):
        np.testing.assert_allclose(snapshot.coefficients, weight, atol=1e-6)
        np.testing.assert_allclose(snapshot.intercepts, bias, atol=1e-6)


@pytest.mark.parametrize(("views", "changed", "first_epoch"), [(4, 2, 2), (4, 3, 3), (2, 1, 1), (9, 8, 8)])
def test_epoch_e_of_the_report_shows_view_e_modulo_v(views: int, changed: int, first_epoch: int) -> None:
    rows = make_rows(views=views)
    other = rows.features.copy()
    other[changed::views] += 1
    models = [
        ReportHead().fit(TrainingRows(x, rows.labels, rows.weight, rows.images), seed=0) for x in (rows.features, other)
    ]
    same = [
        bool((one.coefficients == two.coefficients).all())
        for one, two in zip(models[0].snapshots, models[1].snapshots, strict=True)
    ]
    assert same == [epoch < first_epoch for epoch in range(9)]


def test_more_than_nine_views_leave_the_rest_unseen_by_the_report() -> None:
    rows = make_rows(views=11)
    other = rows.features.copy()
    other[9::11] += 1
    other[10::11] -= 1
    models = [
        ReportHead().fit(TrainingRows(x, rows.labels, rows.weight, rows.images), seed=0) for x in (rows.features, other)
    ]
    np.testing.assert_array_equal(models[0].coefficients, models[1].coefficients)
