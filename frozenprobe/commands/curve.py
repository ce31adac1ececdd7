"""The command that measures curves: curve views, curve labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.head_options import probe_command, probe_options, repeated
from frozenprobe.commands.options import FILE, as_json, options, print_json
from frozenprobe.commands.progress import ProgressPrinter
from frozenprobe.probe.options import CURVE_HEAD, CURVE_SHRINKAGE


@click.group()
def curve() -> None:
    """Measure accuracy by augmented views or by images a class: what more of them would give."""


curve_command = options(
    click.argument("features", type=FILE, required=False),
    probe_command(CURVE_HEAD),
    repeated,
    click.option("--out", type=FILE, help="Picture to write, PNG.  [default: curves/<features>-<curve>-<head>.png]"),
    as_json,
)


@curve.command()
@curve_command
def views(**given: Any) -> None:
    """Accuracy with the first 0, 1, 2, 4, 8 ... augmented views, up to --views."""
    from frozenprobe.probe.curves.curve import view_curve

    measure_curve(view_curve, given)


@curve.command()
@curve_command
def labels(**given: Any) -> None:
    """Accuracy with 1, 2, 4, 8 ... images a class, and what twice the photos would give."""
    from frozenprobe.probe.curves.curve import label_curve

    measure_curve(label_curve, given)


def measure_curve(measure: Callable[..., Any], given: dict[str, Any]) -> None:
    """Measure, save and print a curve, of `CURVE_HEAD` unless a head or a hyper-parameter was typed."""
    from frozenprobe.cache.store import newest_features, open_features
    from frozenprobe.probe.curves.plot import save_plot
    from frozenprobe.probe.curves.table import curve_facts, curve_title, render_curve
    from frozenprobe.system.atomic_files import require_writable

    folder = Path("curves")
    require_writable(given["out"] or folder, "name another file with --out FILE", folder=given["out"] is None)
    path = given["features"] or newest_features(given["features_dir"])
    if not given["as_json"]:
        click.echo(f"features {path}")
    opened, asked = open_features(path), probe_options(given)
    if not (asked.head or asked.settings):
        asked = replace(asked, head=CURVE_HEAD, settings={"shrinkage": CURVE_SHRINKAGE})
    measured = measure(opened, asked, repeats=given["repeats"], progress=ProgressPrinter())
    out = given["out"] or folder / f"{path.stem}-{measured.kind}-{measured.options.head}.png"
    save_plot(measured, opened, out)
    if given["as_json"]:
        print_json({"features": str(path), "plot": str(out), **curve_facts(measured)})
        return
    click.echo(f"{curve_title(measured, opened)}\n\n{render_curve(measured)}\n\nplot {out}")
