"""The commands that make features: extract, plan, backbones, demo."""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.options import FILE, as_json, break_lock, names_of, options, print_json
from frozenprobe.commands.progress import EchoHandler, ProgressPrinter
from frozenprobe.extract.backbones.catalogue import BACKBONES, FAMILIES, WeightsOptions
from frozenprobe.extract.options import (
    AUGMENT_ON,
    DECODINGS,
    DEFAULTS,
    ENGINES,
    MAX_PIXELS,
    PREPROCESSINGS,
    RECIPES,
    STORAGE_DTYPES,
    TAPS,
    TEST_VIEWS,
    Choices,
    ExtractRequest,
)
from frozenprobe.extract.ranks.rank import Rank, read_rank
from frozenprobe.images.sources import CsvColumns, ImageSources

EXTRACT_OPTIONS = options(
    click.option(
        "--train", type=FILE, default=ImageSources.train, show_default=True, help="Class folders, tars or a list."
    ),
    click.option("--test", type=FILE, help="Unlabelled images, likewise.  [default: `test` beside --train, if there]"),
    click.option("--train-csv", type=FILE, help="Labels as a CSV; image names are looked for in --train."),
    click.option("--image-column", help="Column of image names in the CSV.  [default: guessed]"),
    click.option("--label-column", help="Column of labels in the CSV.  [default: guessed]"),
    click.option("--group-column", help="Column of groups (patient, site ...) that folds must not split."),
    click.option("--fold-column", help="Column of folds to use."),
    click.option("--sample", type=FILE, help="Sample submission.  [default: the one beside the test folder]"),
    click.option("--backbone", help=f"See `frozenprobe backbones`.  [default: {DEFAULTS.backbone}]"),
    click.option("--weights", type=FILE, help="Local state dict (.pth, .safetensors) in place of the download."),
    click.option("--heads", type=int, help="Attention heads, if --weights is a ViT of unknown shape."),
    click.option("--resize", type=int, help="Short side in px before the crop, for such weights."),
    click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]), help="For such weights."),
    click.option("--mean", type=float, nargs=3, help="Channel means in [0, 1], for such weights."),
    click.option("--std", type=float, nargs=3, help="Channel deviations in [0, 1], for such weights."),
    click.option("--recipe", help=f"Of the augmented views: {', '.join(RECIPES)}.  [default: {DEFAULTS.recipe}]"),
    click.option("--views", type=int, help=f"Augmented views a training image.  [default: {DEFAULTS.views}]"),
    click.option(
        "--test-views",
        help=f"Fixed views, comma-separated: {', '.join(TEST_VIEWS)}.  [default: {','.join(DEFAULTS.test_views)}]",
    ),
    click.option("--preprocess", help=f"{' or '.join(PREPROCESSINGS)}.  [default: {DEFAULTS.preprocess}]"),
    click.option("--seed", type=int, help=f"Of the augmented views.  [default: {DEFAULTS.seed}]"),
    click.option(
        "--decode",
        help=f"JPEGs: {' or '.join(DECODINGS)} (large ones sooner, pixels not equal).  [default: {DEFAULTS.decode}]",
    ),
    click.option(
        "--augment-on",
        help=f"Cut augmented views on: {' or '.join(AUGMENT_ON)} (same draws, other rounding).  "
        f"[default: {DEFAULTS.augment_on}]",
    ),
    click.option("--tap", help=f"Vectors to store: {', '.join(TAPS)}.  [default: {DEFAULTS.tap}]"),
    click.option("--engine", help=f"What runs the network: {', '.join(ENGINES)}.  [default: {DEFAULTS.engine}]"),
    click.option("--dtype", help="Compute dtype.  [default: bf16 on recent CUDA, fp16 on older, fp32 elsewhere]"),
    click.option("--storage", help=f"Stored dtype: {' or '.join(STORAGE_DTYPES)}.  [default: {DEFAULTS.storage}]"),
    click.option("--out", type=FILE, help="Feature file.  [default: features/<backbone>-<recipe>.h5]"),
    click.option("--device", default=ExtractRequest.device, show_default=True, help="auto, cuda, cuda:1, mps or cpu."),
    click.option("--batch-size", type=int, help="Views in a forward pass.  [default: what suits the device]"),
    click.option(
        "--workers", type=int, help="Threads on a CPU, processes that cut views with a GPU.  [default: all cores]"
    ),
    click.option("--skip-bad", is_flag=True, help="Leave bad training images out; keep bad test images unanswered."),
    click.option("--max-pixels", type=int, default=MAX_PIXELS, show_default=True, help="Larger images count as bad."),
    click.option("--limit", type=int, help="Smoke run on about so many images; a full run reuses its rows."),
    click.option("--drop-missing", is_flag=True, help="Let more than half of the file's training images leave it."),
    click.option("--allow-outside", is_flag=True, help="Let a CSV or list name images outside of its folder."),
    break_lock,
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
        print_plan(given, price_per_hour, as_json)
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
    print_plan(given, price_per_hour, as_json)


def print_plan(given: dict[str, Any], price_per_hour: float | None, as_json: bool) -> None:
    """Make a forecast and print it."""
    from frozenprobe.extract.forecast import forecast, render_forecast

    told = forecast(requested(given), ProgressPrinter(), price_per_hour=price_per_hour)
    print_json(asdict(told)) if as_json else click.echo(render_forecast(told))


def requested(given: dict[str, Any]) -> ExtractRequest:
    """The request that the options of extract make."""
    test = given["test"] or ImageSources.test_beside(given["train"])
    columns = CsvColumns(given["image_column"], given["label_column"], given["group_column"], given["fold_column"])
    weights_options = WeightsOptions(
        **{name: given[name] for name in ("heads", "resize", "interpolation", "mean", "std")}
    )
    return ExtractRequest(
        sources=ImageSources(
            given["train"], test, given["train_csv"], columns, given["sample"], given["allow_outside"]
        ),
        choices=Choices(
            **{name: given[name] for name in ("backbone", "weights", "recipe", "views", "preprocess", "seed")},
            **{name: given[name] for name in ("decode", "augment_on", "tap", "engine", "dtype", "storage")},
            test_views=names_of(given["test_views"]),
            weights_options=weights_options if weights_options != WeightsOptions() else None,
        ),
        **{name: given[name] for name in ("out", "device", "batch_size", "workers", "skip_bad", "max_pixels")},
        **{name: given[name] for name in ("limit", "drop_missing", "break_lock")},
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

    report = run_demo(folder, say=lambda text: click.echo(text, err=as_json), progress=ProgressPrinter())
    if as_json:
        print_json(asdict(report))
