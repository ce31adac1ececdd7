"""Sums over rows: each problem's own rows and no others, whatever the blocks and the threads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from frozenprobe.probe.heads.head import TrainingRows
from frozenprobe.probe.heads.logreg import sums
from frozenprobe.probe.heads.logreg.sums import Operand, Table, sweep
from frozenprobe.system import threads as pool
from tests.probe.heads.logreg.test_problems import make_rows, make_weights

Floats = npt.NDArray[np.float32]


def make_table(rows: TrainingRows) -> Table:
    weights = make_weights(rows)
    return Table.of(rows.features, rows.labels, weights, [np.unique(rows.labels[weight > 0]) for weight in weights])


def test_rows_without_weight_are_never_multiplied() -> None:
    rows = make_rows()
    table = make_table(rows)
    seen = np.zeros((3, len(rows.labels)), dtype=bool)
    for segment in table.segments:
        for problem in segment.problems:
            seen[problem, table.order[segment.rows]] = True
    np.testing.assert_array_equal(seen, np.array(make_weights(rows)) > 0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 5, 512])
def test_a_sweep_takes_every_row_of_a_problem_once(threads: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "thread_count", lambda: threads)
    monkeypatch.setattr(sums, "THREAD_ROWS", size)
    monkeypatch.setattr(sums, "BLOCK", 0)
    monkeypatch.setattr(sums, "ALONE", 0)
    rows, rng = make_rows(), np.random.default_rng(1)
    operands = [Operand(number, 1.0, rng.normal(size=(4, 6)).astype(np.float32)) for number in (2, 0, 1)]

    def double(table: Table, block: slice, operand: Operand, scores: Floats) -> float:
        """Counts the rows; those of a problem by its number."""
        scores *= 2
        return (1 + operand.problem) * scores.shape[1]

    stacked = np.concatenate([each.at for each in operands])
    counts, found = sweep(make_table(rows), stacked, operands, double)
    features = np.column_stack([rows.features, np.ones(len(rows.labels))])
    for number, each in enumerate(operands):
        own = features[make_weights(rows)[each.problem] > 0]
        assert counts[number] == (1 + each.problem) * len(own)
        expected = 2 * (own @ each.at.T).T @ own
        np.testing.assert_allclose(found[4 * number : 4 * number + 4], expected, rtol=1e-4, atol=1e-3)
