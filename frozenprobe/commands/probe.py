"""The commands from features to predictions: probe, compare, submit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from frozenprobe.commands.head_options import probe_command, probe_options, repeated
from frozenprobe.commands.options import FILE, as_json, print_json
from frozenprobe.commands.progress import ProgressPrinter
from frozenprobe.probe.options import read_near_duplicates


@click.command()
@click.argument("features", type=FILE, nargs=-1)
@probe_command("auto, or the one that a typed --c, --k ... belongs to")
@click.option("--calibrate", is_flag=True, help="Fit a temperature inside the training folds (auto always does).")
@click.option(
    "--budget",
    type=float,
    help="Of auto: seconds of work on two slow cores.  [default: 12; of over 4,800 images one for every 400]",
)
@click.option("--transductive", is_flag=True, help="Let the unlabelled test features take part in answering them.")
@click.option("--tripwire", is_flag=True, help="Also run on shuffled labels, which must score at chance.")
@click.option("--near-duplicates", default="auto", show_default=True, help="Kept in one fold: auto, off, or a cosine.")
@click.option("--memory", type=float, help="GB for features, else they are streamed.  [default: half of what there is]")
@repeated
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes that share the repeats.")
@click.option("--scheduler", help="Address of a dask scheduler whose workers share the repeats (extra dask).")
@click.option("--public-share", type=float, help="Share of the test images that a leaderboard shows.")
@click.option("--per-class", is_flag=True, help="Print the table of classes, too.")
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Folder for the run.")
@as_json
def probe(features: tuple[Path, ...], features_dir: Path, runs: Path, as_json: bool, **given: Any) -> None:
    """Train a head over folds on cached features; the newest feature file if none is named.

    Several feature files of the same images are used side by side, or blended, whichever wins inside the folds.
    """
    from frozenprobe.cache.store import newest_features, open_features
    from frozenprobe.probe.repeats import repeat_probe
    from frozenprobe.probe.report.runs import save_run
    from frozenprobe.probe.report.summary import render, summarise, title
    from frozenprobe.probe.stats.public import public_images
    from frozenprobe.system.atomic_files import require_writable

    require_writable(runs, "name another folder with --runs DIR", folder=True)
    paths = features or (newest_features(features_dir),)
    more = {name: given[name] for name in ("calibrate", "budget", "transductive", "tripwire")}
    more["memory"] = None if given["memory"] is None else given["memory"] * 1e9
    options = probe_options(given, near_duplicates=read_near_duplicates(given["near_duplicates"]), **more)
    if not as_json:
        click.echo("\n".join(f"features {path}" for path in paths))
    opened = [open_features(path) for path in paths]
    if given["public_share"] is not None:
        public_images(len(opened[0].test or ()), given["public_share"])  # a typo should not cost the whole probe
    work = {name: given[name] for name in ("repeats", "jobs", "scheduler")}
    result = repeat_probe(opened, options, **work, progress=ProgressPrinter())
    summary = summarise(result, public_share=given["public_share"])
    run = save_run(result, summary, opened, runs)
    if as_json:
        print_json({"features": [str(path) for path in paths], "run": str(run), **summary})
        return
    click.echo(title(result, opened, chosen=given["head"] is not None))
    click.echo("\n" + render(summary, per_class=given["per_class"]))
    click.echo(f"\nrun {run}")


@click.command()
@click.option("--run", type=FILE, help="Folder of the run.  [default: the newest in --runs]")
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where to look for it.")
@click.option("--sample", type=FILE, help="Sample submission.  [default: the one kept in the feature file]")
@click.option("--out", type=FILE, default=Path("submission.csv"), show_default=True, help="CSV to write.")
@click.option("--label-map", type=FILE, help="CSV of two columns: class name, label to write for it.")
@click.option("--probabilities", is_flag=True, help="One column a class, or one of P(class), instead of one label.")
@click.option("--positive", metavar="CLASS", help="Of two classes the one whose probability the only column holds.")
@as_json
def submit(run: Path | None, runs: Path, as_json: bool, **given: Any) -> None:
    """Check a run's answers against the sample submission and write the CSV."""
    from frozenprobe.probe.report.runs import load_run, newest_run
    from frozenprobe.probe.report.submission import render_submission, write_submission
    from frozenprobe.system.atomic_files import require_writable

    require_writable(given["out"], "name another file with --out FILE")
    chosen = run or newest_run(runs)
    if not as_json:
        click.echo(f"run {chosen}")
    report = write_submission(load_run(chosen), **given)
    print_json({"run": str(chosen), **asdict(report)}) if as_json else click.echo(render_submission(report))


@click.command()
@click.argument("folders", metavar="[RUN RUN...]", type=FILE, nargs=-1)
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the two newest are looked for.")
@as_json
def compare(folders: tuple[Path, ...], runs: Path, as_json: bool) -> None:
    """Say which run is better, image by image, or that no difference is shown; the two newest if none is named."""
    from frozenprobe.probe.compare.compare import compare_runs
    from frozenprobe.probe.compare.table import render_comparison
    from frozenprobe.probe.report.runs import load_predictions, newest_runs

    comparison = compare_runs([load_predictions(folder) for folder in folders or newest_runs(runs, 2)])
    print_json(asdict(comparison)) if as_json else click.echo(render_comparison(comparison))
