"""How long work tells how far it is: a callback that whoever called it may give."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Report to nobody."""
