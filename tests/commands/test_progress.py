"""Progress on stderr: a bar or plain lines, each stage with a rate of its own, also when it comes again."""

from __future__ import annotations

import sys
import time

import pytest

from frozenprobe.commands.progress import ProgressPrinter


def test_progress_is_plain_lines_where_stderr_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frozenprobe.commands.progress.plain_seconds", 0.0)
    printer = ProgressPrinter()
    for done in range(0, 41, 10):
        printer("embedding views", done, 40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("embedding views 40/40 (100%), ")
    assert all("left" in line and "\r" not in line for line in lines)


def test_the_mean_of_several_stages_is_not_mixed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frozenprobe.commands.progress.plain_seconds", 0.0)
    printer = ProgressPrinter()
    printer("checking images", 1, 2)
    printer("checking images", 2, 2)
    printer("fitting", 1, 6)
    printer("fitting", 2, 6)
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["checking", "fitting"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("ended", [40, 20], ids=["after it ended", "after it broke off"])
def test_a_stage_that_comes_again_has_a_rate_of_its_own(
    ended: int, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    printer = ProgressPrinter()
    for seconds, done in ((0, 0), (1000, ended)):
        clock[0] += seconds
        printer("fitting", done, 40)
    clock[0] += 5000
    for seconds, done in ((0, 1), (11, 12), (10, 22)):
        clock[0] += seconds
        printer("fitting", done, 40)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1:] == ["fitting 12/40 (30%), 1.0/s, 00:00:28 left", "fitting 22/40 (55%), 1.0/s, 00:00:18 left"]


def test_every_run_of_a_stage_has_a_bar_on_a_terminal_and_none_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Bar] = []

    class Bar:
        def __init__(self, **given: object) -> None:
            self.n, self.open = 0, True
            bars.append(self)

        def update(self, more: int) -> None:
            assert self.open
            self.n += more

        def close(self) -> None:
            self.open = False

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    printer = ProgressPrinter()
    for stage, done in (("fitting", 1), ("fitting", 3), ("fitting", 1), ("fitting", 2), ("fitting", 1), ("more", 3)):
        printer(stage, done, 3)
    assert [bar.n for bar in bars] == [3, 2, 1, 3]
    assert not any(bar.open for bar in bars)
