"""How far a command is, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

plain_seconds = 10.0  # between two lines of progress where stderr is no terminal


class ProgressPrinter:
    """Progress on stderr: a bar with rate and time left on a terminal, a plain line every 10 s elsewhere."""

    def __init__(self) -> None:
        self.stage = ""
        self.bar: Any = None
        self.start = self.last = 0.0
        self.first = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are done."""
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.start, self.last, self.first = stage, now, now, done
            if sys.stderr.isatty():
                from tqdm import tqdm

                self.bar = tqdm(total=total, desc=stage, unit=stage.rsplit(" ", 1)[-1], dynamic_ncols=True)
        if self.bar is not None:
            self.bar.update(done - self.bar.n)
            if done == total:
                self.bar.close()
                self.bar = None
        elif done > self.first and (now - self.last >= plain_seconds or (done == total and self.last > self.start)):
            rate = (done - self.first) / (now - self.start)
            left = time.strftime("%H:%M:%S", time.gmtime((total - done) / rate))
            click.echo(f"{stage} {done}/{total} ({done / total:.0%}), {rate:.1f}/s, {left} left", err=True)
            self.last = now
