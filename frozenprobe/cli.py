"""The command line: a group whose commands are loaded when they are called; results to stdout, all else to stderr."""

from __future__ import annotations

import io
import logging
import sys
from importlib import import_module
from typing import Any

import click

from frozenprobe._version import __version__
from frozenprobe.commands.progress import EchoHandler
from frozenprobe.errors import FrozenprobeError
from frozenprobe.system.atomic_files import FULL

COMMANDS = {  # name -> its module, and what `--help` says of it; in the order of the data-flow
    "extract": ("extract", "Once: every photo through the backbone, into one feature file."),
    "plan": ("extract", "What extract will take: forwards, disk, memory, time, money."),
    "probe": ("probe", "Heads over folds on the cached features, and an honest number."),
    "curve": ("curve", "What more views, or more photos, would give."),
    "submit": ("probe", "The newest run's predictions, as a CSV that fits the sample."),
    "compare": ("probe", "Is one run better than another, or is no difference shown?"),
    "info": ("care", "What a feature file holds, or how far one is that is being made."),
    "verify": ("care", "Is every byte and every number what was written?"),
    "repair": ("care", "Keep the whole rows of a damaged feature file."),
    "merge": ("care", "Join feature files of one specification."),
    "backbones": ("extract", "The list of them: input, features, licence, pre-training."),
    "demo": ("extract", "All of it on photos made on the spot; nothing is downloaded."),
}


class Commands(click.Group):
    """A group whose commands end user errors with the message and exit code 1, and ctrl-C with 130."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        """Run a command line; no letter of a name can stop it for want of a place in the console's encoding."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(
                    errors="backslashreplace"
                )  # a class called U+732B in cp1252, a byte that is no UTF-8
        return super().main(*arguments, **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command called so, from the module that the table names."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"frozenprobe.commands.{COMMANDS[name][0]}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without loading one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

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
