"""Sums over rows on a device of torch: those that numpy makes, and the same solutions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg import head as logreg
from frozenprobe.probe.heads.logreg import torch_products
from frozenprobe.probe.heads.logreg.head import LogisticRegressionHead
from frozenprobe.probe.heads.logreg.numpy_products import LogisticProducts
from frozenprobe.probe.heads.logreg.problems import Operand
from frozenprobe.probe.heads.logreg.solver import solve_logistic
from frozenprobe.probe.heads.logreg.torch_products import TorchProducts
from tests.probe.heads.logreg.test_numpy_products import make_rows, make_weights, points
from tests.probe.heads.logreg.test_solver import objective

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"))
MPS = pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs a Mac's GPU"))
on_each_device = pytest.mark.parametrize("device", ["cpu", CUDA, MPS])


def both(rows: TrainingRows, device: str) -> tuple[LogisticProducts, TorchProducts]:
    """The same problems on either side."""
    weights = make_weights(rows)
    return LogisticProducts.of(rows, weights), TorchProducts.of(rows, weights, torch.device(device))


def assert_close(found: npt.NDArray[np.floating], expected: npt.NDArray[np.floating]) -> None:
    """To the rounding of a sum in float32."""
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@on_each_device
@pytest.mark.parametrize("scores", [1, 70, 2**27])
def test_objective_and_gradient_are_those_of_numpy_in_blocks_of_any_size(
    device: str, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_products, "SCORES", scores)
    ours, theirs = both(make_rows(), device)
    operands = points(ours)
    for one, other in ((ours.full, theirs.full), (ours.mean, theirs.mean), (ours.exact, theirs.exact)):
        answers = zip(theirs.evaluate(other, operands), ours.evaluate(one, operands), strict=True)
        for (value, gradient), (expected, slope) in answers:
            assert value == pytest.approx(expected, rel=1e-6)
            assert_close(gradient, slope)


@on_each_device
@pytest.mark.parametrize("scores", [70, 2**27])
def test_the_hessian_is_that_of_numpy(device: str, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_products, "SCORES", scores)
    ours, theirs = both(make_rows(), device)
    for each in points(ours):
        (found, ridge), (expected, reference) = theirs.bend(each), ours.bend(each)
        assert_close(found, expected)
        assert ridge == pytest.approx(reference, rel=1e-5)
    directions = points(ours, 2)
    for found, expected in zip(theirs.multiply(directions), ours.multiply(directions), strict=True):
        assert_close(found, expected)


def test_no_more_scores_are_in_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 rows of 11 scores at once for a limit of 90; never less than a row."""
    seen: list[int] = []

    def watched(table: object, block: slice, operand: Operand, scores: torch.Tensor) -> torch.Tensor:
        seen.append(len(scores))
        return torch.zeros(len(scores))

    monkeypatch.setattr(torch_products, "to_residuals", watched)
    _, products = both(make_rows(), "cpu")
    for limit, rows in ((90, 8), (5, 1), (10_000, 72)):
        seen.clear()
        monkeypatch.setattr(torch_products, "SCORES", limit)
        products.evaluate(products.full, points(products))  # type: ignore[arg-type]
        assert max(seen) == rows
        assert sum(seen) == 72 * 3


def test_what_it_is_given_stays_as_it_is() -> None:
    """On the CPU tensors share the memory of arrays."""
    rows = make_rows()
    _, products = both(rows, "cpu")
    operands = points(products)  # type: ignore[arg-type]
    tables = [products.full, products.mean]
    before = [tensor.clone() for table in tables for tensor in (table.features, *table.labels, *table.weights)]
    at = [each.at.copy() for each in operands]
    products.evaluate(products.full, operands)
    for each in operands:
        products.bend(each)
    products.multiply(operands)
    after = [tensor for table in tables for tensor in (table.features, *table.labels, *table.weights)]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(np.array_equal(each.at, one) for each, one in zip(operands, at, strict=True))


@on_each_device
@pytest.mark.parametrize("dim", [7, 50])
def test_the_solver_reaches_the_same_objective(device: str, dim: int) -> None:
    """Of 50 features, the CPU's way is that in the span of the mean views."""
    rows = make_rows(classes=5, images=12, views=4, dim=dim)
    path = [0.01, 1.0, 100.0]
    ours, theirs = (solve_logistic(products, [path] * 3, tol=1e-7) for products in both(rows, device))
    for problem, reference, weight in zip(theirs, ours, make_weights(rows), strict=True):
        for found, expected, c in zip(problem, reference, path, strict=True):
            assert found.converged
            reached, best = (
                objective(rows, weight, each.coefficients, each.intercepts, c) for each in (found, expected)
            )
            assert reached == pytest.approx(best, rel=1e-6)
            assert found.objective == pytest.approx(reached, rel=1e-5)
            np.testing.assert_allclose(found.coefficients, expected.coefficients, atol=3e-3)


# The head


def training_rows() -> TrainingRows:
    rows = make_rows()
    return TrainingRows(rows.features, rows.labels, np.full(len(rows.labels), 1 / 3), rows.images)


@on_each_device
def test_the_head_answers_the_same_on_each_device(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head takes numpy where there is only a CPU: here torch's takes its place."""
    made: list[torch.device] = []

    def watched(rows: TrainingRows, weights: list[npt.NDArray[np.float64]], name: str) -> TorchProducts:
        made.append(torch.device(name))
        return TorchProducts.of(rows, weights, made[-1])

    rows = training_rows()
    expected = LogisticRegressionHead().fit(rows, seed=0)
    if device == "cpu":
        monkeypatch.setattr(logreg, "make_products", watched)
    found = LogisticRegressionHead(device=device).fit(rows, seed=0)
    np.testing.assert_allclose(found.probabilities(rows.features), expected.probabilities(rows.features), atol=5e-3)
    assert found.convergence.converged
    assert found.convergence.objective == pytest.approx(expected.convergence.objective, rel=2e-5)


def test_a_device_that_is_not_there_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(FrozenprobeError, match=r"The device cuda:1\n.*sees cpu\n") as caught:
        LogisticRegressionHead(device="cuda:1").fit(training_rows(), seed=0)
    assert caught.value.where == "--device"
    auto = LogisticRegressionHead(device="auto").fit(training_rows(), seed=0)
    np.testing.assert_array_equal(auto.coefficients, LogisticRegressionHead().fit(training_rows(), seed=0).coefficients)


def test_scikit_learn_on_a_gpu_is_refused() -> None:
    with pytest.raises(FrozenprobeError, match="--solver sklearn --device cuda"):
        LogisticRegressionHead(solver="sklearn", device="cuda")


def test_on_the_cpu_torch_is_not_loaded() -> None:
    code = (
        "import sys\nfrom tests.probe.heads.logreg.test_numpy_products import make_rows, make_weights\n"
        "from frozenprobe.probe.heads.logreg.head import make_products\n"
        "rows = make_rows()\nmake_products(rows, make_weights(rows), 'cpu')\nassert 'torch' not in sys.modules\n"
        "make_products(rows, make_weights(rows), 'auto')\nassert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
