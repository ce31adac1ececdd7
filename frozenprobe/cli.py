"""The command line: a group whose commands are loaded when they are called; results to stdout, all else to stderr."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any

import click

from frozenprobe._version import __version__
from frozenprobe.commands.progress import EchoHandler
from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.atomic_files import FULL

COMMANDS = {  # in the order of the data-flow, which is that of `--help`
    "extract": "frozenprobe.commands.extract",
    "plan": "frozenprobe.commands.extract",
    "probe": "frozenprobe.commands.probe",
    "curve": "frozenprobe.commands.curve",
    "submit": "frozenprobe.commands.probe",
    "compare": "frozenprobe.commands.probe",
    "info": "frozenprobe.commands.care",
    "verify": "frozenprobe.commands.care",
    "repair": "frozenprobe.commands.care",
    "merge": "frozenprobe.commands.care",
    "backbones": "frozenprobe.commands.extract",
    "demo": "frozenprobe.commands.extract",
}


class Commands(click.Group):
    """A group whose commands end user errors with the message and exit code 1, and ctrl-C with 130."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command called so, from the module that the table names."""
        command: click.Command | None = getattr(import_module(COMMANDS[name]), name) if name in COMMANDS else None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; anything that is neither a user error nor the system's refusal keeps its traceback."""
        try:
            return super().invoke(ctx)
        except FrozenprobeError as error:
            click.echo(f"{ctx.meta.get('rank', '')}error: {error}", err=True)
            ctx.exit(1)
        except OSError as error:
            if error.errno is None or isinstance(error, BrokenPipeError):
                raise
            click.echo(f"error: {error.strerror}" + (f": {error.filename}" if error.filename else ""), err=True)
            if error.errno in FULL:
                click.echo("  to do:  free some space and run the same command again", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("\nstopped; what is finished is kept, and the same command goes on from there", err=True)
            ctx.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="frozenprobe")
def main() -> None:
    """The best classifier a small labelled image set can give, on a frozen backbone.

    \b
    frozenprobe extract --views 8    once: images -> features/<backbone>-<recipe>.h5
    frozenprobe probe --c 1.0        again and again, in seconds: features -> runs/<time>-<head>/
    frozenprobe submit               answers -> submission.csv
    """
    log = logging.getLogger("frozenprobe")
    log.setLevel(logging.INFO)
    log.handlers = [EchoHandler()]
