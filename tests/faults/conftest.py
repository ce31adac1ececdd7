"""How many faults: a few in every test run, thousands with `--long`; what came of them is printed at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FIGURES: list[str] = []


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`faults(few, many)`: how many to inject."""
    return lambda few, many: many if request.config.getoption("--long") else few


@pytest.fixture
def tell() -> Callable[[str], None]:
    """Keep a line for the end of the test run."""
    return FIGURES.append


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures."""
    if FIGURES:
        terminalreporter.section("faults")
        for line in FIGURES:
            terminalreporter.write_line(line)
