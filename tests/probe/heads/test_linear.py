"""The linear layer in torch: views by epoch, weights of images, and no global randomness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.linear import LinearHead, image_starts, new_layer
from frozenprobe.probe.heads.report import ReportHead


def make_rows(classes: int = 3, images: int = 25, views: int = 4, dim: int = 6, *, seed: int = 0) -> TrainingRows:
    """Classes well apart; the views of an image differ."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), images))
    centres = 2 * np.random.default_rng(7).normal(size=(classes, dim))
    features = np.repeat(centres[labels], views, axis=0) + 0.5 * rng.normal(size=(len(labels) * views, dim))
    return TrainingRows(
        features.astype(np.float32),
        np.repeat(labels, views).astype(np.int64),
        np.full(len(features), 1 / views),
        np.repeat(np.arange(len(labels)), views),
    )


def test_the_linear_head_learns_separable_classes() -> None:
    rows, unseen = make_rows(), make_rows(seed=1)
    model = LinearHead(lr=0.05).fit(rows, seed=0)
    assert (model.probabilities(unseen.features).argmax(axis=1) == unseen.labels).mean() > 0.95
    assert model.convergence.objective is not None
    assert model.convergence.objective < 0.1
    assert model.convergence.iterations == 1500 / np.ceil(len(np.unique(rows.images)) / 32)
    assert LinearHead(epochs=7).fit(rows, seed=0).convergence.iterations == 7
    assert model.convergence.converged is None  # a fixed number of epochs has no tolerance to reach


def test_the_linear_head_shows_every_view_in_time_and_one_an_epoch() -> None:
    rows = make_rows(views=3)
    for view in range(3):
        other = rows.features.copy()
        other[view::3] += 1
        trained = [
            LinearHead(epochs=8).fit(TrainingRows(x, rows.labels, rows.weight, rows.images), seed=0).coefficients
            for x in (rows.features, other)
        ]
        assert (trained[0] != trained[1]).any()
    steps = []
    optimiser_step = torch.optim.AdamW.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", lambda self: steps.append(1) or optimiser_step(self))
        LinearHead(epochs=2, batch=10).fit(rows, seed=0)
    assert len(steps) == 2 * 8  # 75 images in batches of 10, not their 225 views


def test_only_the_reports_head_keeps_its_epochs() -> None:
    assert LinearHead(epochs=2).fit(make_rows(), seed=0).snapshots == ()


@pytest.mark.parametrize("head", [LinearHead(epochs=3), ReportHead()])
def test_a_seed_decides_everything_and_torchs_generator_is_left_alone(head: LinearHead | ReportHead) -> None:
    rows = make_rows()
    torch.manual_seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = head.fit(rows, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
    torch.manual_seed(12)
    np.testing.assert_array_equal(head.fit(rows, seed=0).coefficients, first.coefficients)
    assert (head.fit(rows, seed=1).coefficients != first.coefficients).any()


def test_a_class_weight_pulls_the_answers_towards_its_class() -> None:
    rows = make_rows()
    heavy = TrainingRows(rows.features, rows.labels, np.where(rows.labels == 1, 20.0, 1.0) / 4, rows.images)
    vague = np.zeros((1, 6), dtype=np.float32)
    plain, pulled = (LinearHead(lr=0.05).fit(each, seed=0).probabilities(vague)[0] for each in (rows, heavy))
    assert pulled[1] > plain[1]


def test_only_ratios_of_weights_matter_so_views_change_no_step() -> None:
    rows = make_rows()
    light = TrainingRows(rows.features, rows.labels, rows.weight / 8, rows.images)
    one, other = (LinearHead(epochs=3).fit(each, seed=0) for each in (rows, light))
    np.testing.assert_allclose(one.coefficients, other.coefficients, atol=1e-7)


def test_image_starts_finds_the_rows_of_images_with_different_numbers_of_views() -> None:
    rows = TrainingRows(
        np.zeros((6, 1), dtype=np.float32),
        np.array([1, 1, 1, 0, 2, 2]),
        np.array([1 / 3, 1 / 3, 1 / 3, 2.0, 0.5, 0.5]),
        np.array([0, 0, 0, 1, 2, 2]),
    )
    first, views, labels, weight = image_starts(rows)
    assert first.tolist() == [0, 3, 4]
    assert views.tolist() == [3, 1, 2]
    assert labels.tolist() == [1, 0, 2]
    np.testing.assert_allclose(weight.numpy(), [0.75, 1.5, 0.75])


def test_the_initial_layer_is_as_wide_as_torchs() -> None:
    layer = new_layer(400, 30, np.random.default_rng(0), bound=1 / 20)
    reference = torch.nn.Linear(400, 30)
    for ours, theirs in ((layer.weight, reference.weight), (layer.bias, reference.bias)):
        assert ours.shape == theirs.shape
        assert ours.abs().max() <= 1 / 20
        assert float(ours.detach().std()) == pytest.approx(1 / 20 / np.sqrt(3), rel=0.25)


def test_a_diverging_training_is_an_error_that_says_what_to_do() -> None:
    rows = make_rows()
    huge = TrainingRows(rows.features * np.float32(1e20), rows.labels, rows.weight, rows.images)
    with pytest.raises(FrozenprobeError, match="lower --lr"):
        LinearHead(lr=1e20).fit(huge, seed=0)


def test_training_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    LinearHead(epochs=1).fit(make_rows(), seed=0)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name", ["epochs", "lr", "batch", "weight_decay"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_values_out_of_range_name_the_option(name: str, value: float) -> None:
    with pytest.raises(FrozenprobeError, match="A number") as caught:
        LinearHead(**{name: value})
    assert caught.value.where == "--" + name.replace("_", "-")


def test_no_weight_decay_is_allowed() -> None:
    assert np.isfinite(LinearHead(epochs=1, weight_decay=0).fit(make_rows(), seed=0).coefficients).all()
