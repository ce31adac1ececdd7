"""The commands that make features: extract, plan, backbones, demo."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import Field, asdict, fields, replace
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.options import FILE, Command, as_json, names_of, options, print_json
from frozenprobe.commands.progress import EchoHandler, ProgressPrinter
from frozenprobe.extract.backbones.catalogue import BACKBONES, FAMILIES
from frozenprobe.extract.options import Choices, ExtractRequest, FeatureOptions, Option, WeightsOptions, options_of
from frozenprobe.extract.ranks.rank import Rank, read_rank
from frozenprobe.images.sources import CsvColumns, ImageSources

TYPES: dict[str, dict[str, Any]] = {  # how a value of a field's type is typed
    "str": {},
    "int": {"type": int},
    "Path": {"type": FILE},
    "tuple[str, ...]": {"callback": lambda context, option, text: names_of(text)},
    "tuple[float, float, float]": {"type": float, "nargs": 3},
    "bool": {"is_flag": True, "default": None},
}


def typed_option(field: Field[Any], about: Option) -> Callable[[Command], Command]:
    """The option of the command line that a field of ExtractRequest, or of what decides the features, is."""
    names = (" or " if len(about.names) == 2 else ", ").join(about.names)
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    told = about.default_help or ("" if default is None or default is False else str(default))
    shown = f"  [default: {told}]" if told else ""
    how = TYPES[str(field.type).removesuffix(" | None")]
    return click.option(about.flag, field.name, help=about.help.format(names) + shown, **how)


REQUEST_OPTIONS = {field.name: typed_option(field, about) for field, about in options_of(ExtractRequest).items()}
EXTRACT_OPTIONS = options(
    click.option(
        "--train", type=FILE, default=ImageSources.train, show_default=True, help="Class folders, tars or a list."
    ),
    click.option("--test", type=FILE, help="Unlabelled images, likewise.  [default: `test` beside --train, if there]"),
    click.option("--train-csv", type=FILE, help="Labels as a CSV; image names are looked for in --train."),
    click.option("--image-column", help="Column of image names in the CSV.  [default: guessed]"),
    click.option("--label-column", help="Column of labels in the CSV.  [default: guessed]"),
    click.option("--group-column", help="Column of groups (patient, site ...) that folds must not split."),
    click.option("--fold-column", help="Column of folds to use; -1: trained on in each, never scored."),
    click.option("--sample", type=FILE, help="Sample submission.  [default: the one beside the test folder]"),
    *(typed_option(field, about) for field, about in options_of(FeatureOptions).items()),
    *(decorate for name, decorate in REQUEST_OPTIONS.items() if name != "break_lock"),
    click.option("--allow-outside", is_flag=True, help="Let a CSV or list name images outside of its folder."),
    click.option("--skip-missing", is_flag=True, help="Leave out rows of a CSV or list whose image is not there."),
    REQUEST_OPTIONS["break_lock"],
)
price = click.option("--price-per-hour", type=float, help="Of the machine: what it will cost (with the plan only).")


@click.command()
@EXTRACT_OPTIONS
@click.option("--dry-run", is_flag=True, help="Only tell what it will take, as `frozenprobe plan`; nothing is written.")
@price
@as_json
def extract(dry_run: bool, price_per_hour: float | None, as_json: bool, **given: Any) -> None:
    """Run every image through the backbone once, clean and augmented, into a feature file.

    Options that decide the features and are not typed are taken from an existing file.
    """
    if dry_run:
        print_forecast(given, price_per_hour, as_json)
        return
    if price_per_hour is not None:
        raise click.UsageError("--price-per-hour goes with --dry-run, or with frozenprobe plan")
    from frozenprobe.extract.report import render_report
    from frozenprobe.extract.run import extract_features
    from frozenprobe.system.progress import ignore_progress

    rank = read_rank()
    if not rank.is_alone:
        speak_as(rank)
    first, prefix = rank.number == 0, "" if rank.is_alone else f"{rank}: "
    report = extract_features(requested(given), ProgressPrinter(prefix) if first else ignore_progress)
    if first or report.written:
        print_json(asdict(report)) if as_json else click.echo(render_report(report))


@click.command()
@EXTRACT_OPTIONS
@price
@as_json
def plan(price_per_hour: float | None, as_json: bool, **given: Any) -> None:
    """Tell what `extract` with the same options will take: forwards, disk, memory, seconds, money.

    A few seconds of the pass are timed on the images themselves; nothing is written.
    """
    print_forecast(given, price_per_hour, as_json)


def print_forecast(given: dict[str, Any], price_per_hour: float | None, as_json: bool) -> None:
    """Make a forecast and print it."""
    from frozenprobe.extract.forecast import forecast, render_forecast

    told = forecast(requested(given), ProgressPrinter(), price_per_hour=price_per_hour)
    print_json(asdict(told)) if as_json else click.echo(render_forecast(told))


def requested(given: dict[str, Any]) -> ExtractRequest:
    """The request that the options of extract make."""
    of_weights = WeightsOptions(**{each.name: given[each.name] for each in fields(WeightsOptions)})
    typed = {each.name: given[each.name] for each in fields(FeatureOptions) if each.name in given}
    columns = CsvColumns(given["image_column"], given["label_column"], given["group_column"], given["fold_column"])
    sources = ImageSources(
        train=given["train"],
        test=given["test"],
        train_csv=given["train_csv"],
        columns=columns,
        sample=given["sample"],
        allow_outside=given["allow_outside"],
        skip_missing=given["skip_missing"],
    )
    if sources.test is None:
        sources = replace(sources, test=ImageSources.test_beside(sources.train))
    return ExtractRequest(
        sources=sources,
        choices=Choices(**typed, weights_options=of_weights if of_weights != WeightsOptions() else None),
        **{name: given[name] for name in REQUEST_OPTIONS if given[name] is not None},
    )


def speak_as(rank: Rank) -> None:
    """Have one of many ranks say who speaks, and all but the first only what matters; and leave when told to.

    torchrun ends ranks with SIGTERM, which by default would leave their locks behind; other machines could not tell.
    """
    prefix = f"rank {rank.number}: "
    click.get_current_context().meta["rank"] = prefix
    logging.getLogger("frozenprobe").handlers = [EchoHandler(prefix, logging.WARNING if rank.number else logging.INFO)]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@click.command()
@as_json
def backbones(as_json: bool) -> None:
    """List the backbones: side of the input, feature dimension, parameters, licence, pre-training data."""
    if as_json:
        print_json([asdict(info) for info in BACKBONES + FAMILIES])
        return
    click.echo(f"{'name':<30}{'px':>5}{'features':>10}{'parameters':>12}  licence of the weights; pre-training data")
    for info in BACKBONES + FAMILIES:
        numbers = f"{info.size or '':>5}{info.dim or '':>10}{f'{info.parameters / 1e6:.1f} M' if info.size else '':>12}"
        click.echo(f"{info.name:<30}{numbers}  {info.licence}; {info.pretraining}")


@click.command()
@click.option("--dir", "folder", type=FILE, default=Path("frozenprobe-demo"), show_default=True, help="Where to work.")
@as_json
def demo(folder: Path, as_json: bool) -> None:
    """Make a small image set, run the three commands on it, and compare with raw pixels; nothing is downloaded."""
    from frozenprobe.demo.run import run_demo
    from frozenprobe.system.atomic_files import require_writable

    require_writable(folder, "name another folder with --dir DIR", folder=True)
    report = run_demo(folder, say=lambda text: click.echo(text, err=as_json), progress=ProgressPrinter())
    if as_json:
        print_json(asdict(report))
