"""Invariants 1 and 2, all at once: rows are a function of image, view and specification, however they came about.

Random histories: batch size, threads, one process or ranks in any order, kills in between, then other numbers of ranks,
views asked for at once or bit by bit; for views cut by Pillow and on the device.
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
from frozenprobe.extract.options import ExtractRequest
from frozenprobe.extract.run import extract_features
from tests.extract.test_run import Killed, choosing, kill_after, request_, rows_of  # noqa: F401 - a fixture

VIEWS = 3
PLACES = ("cpu", "device")
Rows = dict[tuple[str, str], np.ndarray]

steps = st.fixed_dictionaries(
    {
        "batch_size": st.sampled_from([None, 1, 3, 16]),
        "workers": st.sampled_from([0, 1, 3]),
        "views": st.integers(1, VIEWS),
        "ranks": st.sampled_from([(0,), (0, 1), (1, 0), (2, 0, 1), (1,)]),
        "world": st.sampled_from([1, 2, 3]),
        "pieces": st.sampled_from([1, 2, 10**6]),  # so many are written before a kill
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
            kill_after(monkeypatch, RowStore, "add", step["pieces"])
            extract_features(request)


@pytest.fixture
def expected(request_: ExtractRequest) -> dict[str, Rows]:  # noqa: F811
    """One process, a view at a time."""
    rows = {}
    for place in PLACES:
        out = request_.out.with_name(f"{place}.h5")
        extract_features(replace(choosing(request_, views=VIEWS, augment_on=place), out=out, batch_size=1))
        rows[place] = rows_of(open_features(out))
    return rows


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, max_size=3), place=st.sampled_from(PLACES))
def test_rows_are_the_same_whatever_happened(
    request_: ExtractRequest,  # noqa: F811
    expected: dict[str, Rows],
    history: list[dict[str, Any]],
    place: str,
) -> None:
    with TemporaryDirectory() as folder:
        request = replace(choosing(request_, augment_on=place), out=Path(folder, "f.h5"))
        for step in history:
            live_through(request, step)
        extract_features(choosing(request, views=VIEWS))
        found = rows_of(open_features(request.out))
    assert found.keys() == expected[place].keys()
    assert max(np.abs(found[key] - row).max() for key, row in expected[place].items()) < 1e-5


def test_where_augmented_views_are_cut_changes_those_alone(expected: dict[str, Rows]) -> None:
    for key, row in expected["cpu"].items():
        assert (np.abs(row - expected["device"][key]).max() < 1e-5) == (not key[1].startswith("aug"))
