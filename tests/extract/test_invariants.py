"""Invariants 1 and 2, all at once: rows are a function of image, view and specification, however they came about.

Random histories: batch size, threads, one process or ranks in any order, kills in between, then other numbers of ranks,
views asked for at once or bit by bit.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.store import open_features
from frozenprobe.extract import run
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.run import extract_features
from tests.extract.test_run import Killed, choosing, kill_after, piece_bytes, request_, rows_of  # noqa: F401 - a fixture

VIEWS = 3
Rows = dict[tuple[str, str], np.ndarray]

steps = st.fixed_dictionaries(
    {
        "batch_size": st.sampled_from([None, 1, 3, 16]),
        "workers": st.sampled_from([0, 1, 3]),
        "views": st.integers(1, VIEWS),
        "ranks": st.sampled_from([(0,), (0, 1), (1, 0), (2, 0, 1), (1,)]),
        "world": st.sampled_from([1, 2, 3]),
        "pieces": st.sampled_from([1, 2, 10**6]),  # so many are written before a kill
        "piece_rows": st.sampled_from([1, 3, 16, 10**6]),  # in each
    }
)


def live_through(request: ExtractRequest, step: dict[str, Any]) -> None:
    """One step of a history: some ranks, or one process, each of which may be killed."""
    request = choosing(request, views=step["views"])
    request = replace(request, batch_size=step["batch_size"], workers=step["workers"])
    world = step["world"]
    for rank in {rank % world: None for rank in step["ranks"]}:
        environment = {"RANK": str(rank), "WORLD_SIZE": str(world)}
        with patch.dict(os.environ, environment), pytest.MonkeyPatch.context() as monkeypatch, suppress(Killed):
            monkeypatch.setattr(run, "PIECE_BYTES", piece_bytes(step["piece_rows"]))
            kill_after(monkeypatch, RowStore, "add", step["pieces"])
            extract_features(request)


@pytest.fixture
def expected(request_: ExtractRequest) -> Rows:  # noqa: F811
    """One process, a view at a time."""
    out = request_.out.with_name("expected.h5")
    extract_features(replace(choosing(request_, views=VIEWS), out=out, batch_size=1))
    return rows_of(open_features(out))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, max_size=3))
def test_rows_are_the_same_whatever_happened(
    request_: ExtractRequest,  # noqa: F811
    expected: Rows,
    history: list[dict[str, Any]],
) -> None:
    with TemporaryDirectory() as folder:
        request = replace(request_, out=Path(folder, "f.h5"))
        for step in history:
            live_through(request, step)
        extract_features(choosing(request, views=VIEWS))
        found = rows_of(open_features(request.out))
    assert found.keys() == expected.keys()
    assert max(np.abs(found[key] - row).max() for key, row in expected.items()) < 1e-5
