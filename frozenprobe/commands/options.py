"""What commands share: types and options, and how results are printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from frozenprobe.system.files import named_path
from frozenprobe.system.json_text import to_json


class PathOption(click.Path):
    """A file or folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that is meant.

        Raises:
            FrozenprobeError: an empty text.
        """
        return named_path(value, param.opts[0] if param is not None else "the command line")


FILE = PathOption()
Command = Callable[..., Any]
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
break_lock = click.option("--break-lock", is_flag=True, help="Write even if a lock says that another process does.")


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order in which `--help` lists them."""

    def decorate(command: Command) -> Command:
        for each in reversed(decorators):
            command = each(command)
        return command

    return decorate


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; None stays None."""
    return tuple(name.strip() for name in text.split(",")) if text else None


def print_json(values: Any) -> None:
    """Print JSON in ASCII, which arrives whole through any encoding: other letters are escaped."""
    click.echo(to_json(values, ascii_only=True))
