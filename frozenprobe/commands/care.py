"""The commands that look after feature files: info, verify, repair, merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from frozenprobe.commands.options import FILE, as_json, break_lock, print_json
from frozenprobe.commands.progress import ProgressPrinter


@click.command()
@click.argument("file", type=FILE)
@as_json
def info(file: Path, as_json: bool) -> None:
    """Print what a feature file holds, or how far one is that is being made."""
    from frozenprobe.cache.care.info import file_facts, render_facts

    facts = file_facts(file)
    print_json(facts) if as_json else click.echo(render_facts(facts))


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option(
    "--images", type=FILE, help="Folder with train/ and test/ (or the training folder, or shards): hash, compare."
)
@as_json
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], images: Path | None, as_json: bool) -> None:
    """Check every byte and every number of feature files; exit code 1 if one is damaged or unfinished."""
    from frozenprobe.cache.care.verify import render_verification, verify_features

    sound = []
    for file in files:
        report = verify_features(file, images=images, progress=ProgressPrinter())
        print_json({**asdict(report), "sound": report.sound}) if as_json else click.echo(render_verification(report))
        sound.append(report.sound)
    ctx.exit(0 if all(sound) else 1)


@click.command()
@click.argument("file", type=FILE)
@break_lock
@as_json
def repair(file: Path, break_lock: bool, as_json: bool) -> None:
    """Keep the whole rows of a damaged feature file, so that `extract` computes only what was damaged."""
    from frozenprobe.cache.care.repair import render_repair, repair_features

    report = repair_features(file, break_lock=break_lock, progress=ProgressPrinter())
    print_json(asdict(report)) if as_json else click.echo(render_repair(report))


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, help="File to write.  [default: the first one, which loses nothing]")
@break_lock
@as_json
def merge(files: tuple[Path, ...], out: Path | None, break_lock: bool, as_json: bool) -> None:
    """Join feature files of the same specification, each with the rows that wait beside it."""
    from frozenprobe.cache.care.merge import merge_features, render_merge

    report = merge_features(files, out=out, break_lock=break_lock)
    print_json(asdict(report)) if as_json else click.echo(render_merge(report))
