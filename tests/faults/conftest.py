"""How many faults: a few in every test run, thousands with `--long`; what came of them is printed at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FIGURE = "faults"


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`faults(few, many)`: how many to inject."""
    return lambda few, many: many if request.config.getoption("--long") else few


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Keep a line for the end of the test run; it travels with the test's report, out of worker processes too."""
    return lambda line: record_property(FIGURE, line)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the figures."""
    ended = [each for kept in terminalreporter.stats.values() for each in kept if isinstance(each, pytest.TestReport)]
    lines = [value for each in ended if each.when == "call" for name, value in each.user_properties if name == FIGURE]
    if lines:
        terminalreporter.section("faults")
    for line in lines:
        terminalreporter.write_line(line)
