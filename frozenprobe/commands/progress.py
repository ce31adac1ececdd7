"""How far a command is, and what the library remarks, on stderr."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import click

plain_seconds = 10.0  # between two lines of progress where stderr is no terminal


class EchoHandler(logging.Handler):
    """Remarks of the library, on stderr.

    Args:
        prefix: says who remarks.
        level: what is less important is not printed.
    """

    def __init__(self, prefix: str = "", level: int = logging.INFO) -> None:
        super().__init__(level)
        self.prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        """Print one remark."""
        click.echo(self.prefix + record.getMessage(), err=True)


class ProgressPrinter:
    """Progress on stderr: a bar with rate and time left on a terminal, a plain line every 10 s elsewhere.

    Args:
        prefix: says whose progress it is.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.stage = ""
        self.bar: Any = None
        self.start = self.last = 0.0
        self.first = self.done = 0
        self.ended = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are done; a stage may come again after it ended, or anew."""
        now = time.monotonic()
        if stage != self.stage or self.ended or done < self.done:
            self.begin(stage, done, total, now)
        self.done, self.ended = done, done == total
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            if self.ended:
                self.bar.close()
                self.bar = None
        elif done > self.first and (now - self.last >= plain_seconds or (self.ended and self.last > self.start)):
            rate = (done - self.first) / (now - self.start)
            left = time.strftime("%H:%M:%S", time.gmtime((total - done) / rate))
            click.echo(f"{self.prefix}{stage} {done}/{total} ({done / total:.0%}), {rate:.1f}/s, {left} left", err=True)
            self.last = now

    def begin(self, stage: str, done: int, total: int, now: float) -> None:
        """A bar, and a rate, of its own for what starts now."""
        self.stage, self.start, self.last, self.first = stage, now, now, done
        if self.bar is not None:
            self.bar.close()
        if sys.stderr.isatty():
            from tqdm import tqdm

            unit = stage.rsplit(" ", 1)[-1]
            self.bar = tqdm(total=total, desc=self.prefix + stage, unit=unit, dynamic_ncols=True)
