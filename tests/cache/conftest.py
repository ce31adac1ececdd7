"""A synthetic feature file, what it holds, and how to damage it."""

from __future__ import annotations

from pathlib import Path

import pytest

from frozenprobe.cache.store import open_features
from tests.faults.synthetic import extract, world

A = world(7)
ROWS = 7 * 4 + 4 * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    extract(tmp_path / "f.h5", A, batch=100)
    return tmp_path / "f.h5"


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def place(path: Path, split: str, view: int) -> int:
    """Where the first row of a view lies in the file."""
    return open_features(path).arrays(split)[0].span(view, 0)[0]
