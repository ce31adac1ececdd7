"""The command line: parse, one library call, print. Results go to stdout, progress and remarks to stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from frozenprobe._version import __version__
from frozenprobe.errors import FrozenprobeError
from frozenprobe.extract.backbones import BACKBONES, FAMILIES, WeightsOptions
from frozenprobe.extract.settings import (
    DEFAULTS,
    MAX_PIXELS,
    PREPROCESSINGS,
    RECIPES,
    STORAGE_DTYPES,
    TEST_VIEWS,
    Choices,
    ExtractRequest,
)
from frozenprobe.jsontext import to_json
from frozenprobe.probe.options import CURVE_HEAD, DEFAULT_FOLDS, HEADS, SCALES, ProbeOptions, read_near_duplicates
from frozenprobe.publish import FULL
from frozenprobe.sources import CsvColumns, ImageSources

FILE = click.Path(path_type=Path)
Command = Callable[..., Any]
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
repeated = click.option(
    "--repeats", type=int, default=1, show_default=True, help="Cross-validations, each with folds dealt anew."
)
break_lock = click.option("--break-lock", is_flag=True, help="Write even if a lock says that another process does.")
plain_seconds = 10.0  # between two lines of progress where stderr is no terminal


class Commands(click.Group):
    """A group whose commands end user errors with the message and exit code 1, and ctrl-C with 130."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; anything that is neither a user error nor the system's refusal keeps its traceback."""
        try:
            return super().invoke(ctx)
        except FrozenprobeError as error:
            click.echo(f"error: {error}", err=True)
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


class EchoHandler(logging.Handler):
    """Remarks of the library, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one remark."""
        click.echo(record.getMessage(), err=True)


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


@main.command()
@click.option("--train", type=FILE, default=ImageSources.train, show_default=True, help="Class folders of images.")
@click.option("--test", type=FILE, help="Folder of unlabelled images.  [default: `test` beside --train, if there]")
@click.option("--train-csv", type=FILE, help="Labels as a CSV; image names are looked for in --train.")
@click.option("--image-column", help="Column of image names in the CSV.  [default: guessed]")
@click.option("--label-column", help="Column of labels in the CSV.  [default: guessed]")
@click.option("--group-column", help="Column of groups (patient, site ...) that folds must not split.")
@click.option("--fold-column", help="Column of folds to use.")
@click.option("--sample", type=FILE, help="Sample submission.  [default: the one beside the test folder]")
@click.option("--backbone", help=f"See `frozenprobe backbones`.  [default: {DEFAULTS.backbone}]")
@click.option("--weights", type=FILE, help="Local state dict (.pth, .safetensors) in place of the download.")
@click.option("--heads", type=int, help="Attention heads, if --weights is a ViT of unknown shape.")
@click.option("--resize", type=int, help="Short side in px before the crop, for such weights.")
@click.option("--interpolation", type=click.Choice(["nearest", "bilinear", "bicubic"]), help="For such weights.")
@click.option("--mean", type=float, nargs=3, help="Channel means in [0, 1], for such weights.")
@click.option("--std", type=float, nargs=3, help="Channel deviations in [0, 1], for such weights.")
@click.option("--recipe", help=f"Of the augmented views: {', '.join(RECIPES)}.  [default: {DEFAULTS.recipe}]")
@click.option("--views", type=int, help=f"Augmented views a training image.  [default: {DEFAULTS.views}]")
@click.option(
    "--test-views",
    help=f"Fixed views, comma-separated: {', '.join(TEST_VIEWS)}.  [default: {','.join(DEFAULTS.test_views)}]",
)
@click.option("--preprocess", help=f"{' or '.join(PREPROCESSINGS)}.  [default: {DEFAULTS.preprocess}]")
@click.option("--seed", type=int, help=f"Of the augmented views.  [default: {DEFAULTS.seed}]")
@click.option("--dtype", help="Compute dtype.  [default: bf16 on recent CUDA, fp16 on older, fp32 elsewhere]")
@click.option("--storage", help=f"Stored dtype: {' or '.join(STORAGE_DTYPES)}.  [default: {DEFAULTS.storage}]")
@click.option("--out", type=FILE, help="Feature file.  [default: features/<backbone>-<recipe>.h5]")
@click.option("--device", default=ExtractRequest.device, show_default=True, help="auto, cuda, cuda:1, mps or cpu.")
@click.option("--batch-size", type=int, default=ExtractRequest.batch_size, show_default=True, help="Views in a batch.")
@click.option("--workers", type=int, help="Processes that decode and cut.  [default: all cores with a GPU, else 0]")
@click.option("--skip-bad", is_flag=True, help="Leave bad training images out; keep bad test images unanswered.")
@click.option("--max-pixels", type=int, default=MAX_PIXELS, show_default=True, help="Larger images count as bad.")
@click.option("--limit", type=int, help="Smoke run on about so many images; a full run reuses its rows.")
@click.option("--drop-missing", is_flag=True, help="Let more than half of the file's training images leave it.")
@click.option("--allow-outside", is_flag=True, help="Let --train-csv name images outside of --train.")
@break_lock
@as_json
def extract(as_json: bool, **given: Any) -> None:
    """Run every image through the backbone once, clean and augmented, into a feature file.

    Options that decide the features and are not typed are taken from an existing file.
    """
    from frozenprobe.extract.run import extract_features, render_report

    test = given["test"] or ImageSources.test_beside(given["train"])
    columns = CsvColumns(given["image_column"], given["label_column"], given["group_column"], given["fold_column"])
    weights_options = WeightsOptions(
        **{name: given[name] for name in ("heads", "resize", "interpolation", "mean", "std")}
    )
    request = ExtractRequest(
        sources=ImageSources(
            given["train"], test, given["train_csv"], columns, given["sample"], given["allow_outside"]
        ),
        choices=Choices(
            **{name: given[name] for name in ("backbone", "weights", "recipe", "views", "preprocess", "seed")},
            **{name: given[name] for name in ("dtype", "storage")},
            test_views=names_of(given["test_views"]),
            weights_options=weights_options if weights_options != WeightsOptions() else None,
        ),
        **{name: given[name] for name in ("out", "device", "batch_size", "workers", "skip_bad", "max_pixels")},
        **{name: given[name] for name in ("limit", "drop_missing", "break_lock")},
    )
    report = extract_features(request, ProgressPrinter())
    print_json(asdict(report)) if as_json else click.echo(render_report(report))


# The hyper-parameters of the heads: type and help. `make_head` refuses one that the head does not have.
SETTINGS: dict[str, tuple[Any, str]] = {
    "c": (float, "Inverse strength of the L2 penalty.  [default: 1.0 in logreg, 0.01 in svm]"),
    "solver": (str, "Of logreg: own, or sklearn as the reference.  [default: own]"),
    "tol": (float, "Tolerance of logreg (how far above the optimum its objective may end, relatively) and svm."),
    "max_iter": (int, "Evaluations or iterations of logreg and svm at most."),
    "shrinkage": (float, "Of lda, above 0 up to 1.  [default: chosen on inner folds]"),
    "alpha": (float, "Penalty of ridge and kernel, relative.  [default: chosen on images left out]"),
    "kernel": (str, "Of kernel: rbf or arccos.  [default: rbf]"),
    "gamma": (float, "Of the rbf kernel, relative.  [default: chosen on images left out]"),
    "k": (int, "Neighbours of knn, in images.  [default: chosen]"),
    "temperature": (float, "Of knn's weights, or of cosine.  [default: fitted]"),
    "epochs": (int, "Of linear and mlp; 0: 60, or as many as make 1500 steps."),
    "lr": (float, "Learning rate of linear and mlp."),
    "weight_decay": (float, "Of linear and mlp."),
    "batch": (int, "Images in a step of linear and mlp."),
    "hidden": (int, "Width of the hidden layer of mlp."),
    "dropout": (float, "Share of values dropped in training mlp."),
}


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, in the order in which `--help` lists them."""

    def decorate(command: Command) -> Command:
        for each in reversed(decorators):
            command = each(command)
        return command

    return decorate


def probe_command(default_head: str) -> Callable[[Command], Command]:
    """What every command that trains heads takes: the head and its hyper-parameters, the folds, the views."""
    heads = "; ".join(f"{name}: {info.says}" for name, info in HEADS.items())
    return options(
        click.option(
            "--features-dir", type=FILE, default=Path("features"), show_default=True, help="Where to look for features."
        ),
        click.option("--head", help=f"auto: the best blend; {heads}.  [default: {default_head}]"),
        *(click.option(f"--{name.replace('_', '-')}", type=kind, help=says) for name, (kind, says) in SETTINGS.items()),
        click.option("--folds", type=int, help=f"Number of folds.  [default: the fold column, else {DEFAULT_FOLDS}]"),
        click.option("--seed", type=int, default=ProbeOptions.seed, show_default=True, help="Of folds and head."),
        click.option("--views", type=int, help="Use only the first so many augmented views.  [default: all stored]"),
        click.option("--test-views", help="Use only these of the stored test-time views, comma-separated."),
        click.option("--scale", help=f"Feature scaling: {', '.join(SCALES)}.  [default: global; none for report]"),
        click.option(
            "--aggregate",
            help="Treat views as rows (probabilities averaged), logit (rows, logarithms averaged), mean (of an image's "
            "features) or clean (the clean view alone).  [default: rows; chosen by auto]",
        ),
        click.option("--class-weight", type=click.Choice(["balanced"]), help="Give every class the same total weight."),
    )


def probe_options(given: dict[str, Any], **more: Any) -> ProbeOptions:
    """The options that `probe_command` took."""
    return ProbeOptions(
        head=given["head"],
        settings={name: given[name] for name in SETTINGS if given[name] is not None},
        test_views=names_of(given["test_views"]),
        **{name: given[name] for name in ("folds", "seed", "views", "scale", "aggregate", "class_weight")},
        **more,
    )


@main.command()
@click.argument("features", type=FILE, nargs=-1)
@probe_command("auto, or the one that a typed --c, --k ... belongs to")
@click.option("--calibrate", is_flag=True, help="Fit a temperature inside the training folds (auto always does).")
@click.option(
    "--budget",
    type=float,
    default=ProbeOptions.budget,
    show_default=True,
    help="Of auto: seconds of work on two slow cores to try heads for.",
)
@click.option("--transductive", is_flag=True, help="Let the unlabelled test features take part in answering them.")
@click.option("--tripwire", is_flag=True, help="Also run on shuffled labels, which must score at chance.")
@click.option("--near-duplicates", default="auto", show_default=True, help="Kept in one fold: auto, off, or a cosine.")
@click.option("--memory", type=float, help="GB for features, else they are streamed.  [default: half of the machine's]")
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
    from frozenprobe.probe.intervals import public_images
    from frozenprobe.probe.repeats import repeat_probe
    from frozenprobe.probe.runs import save_run
    from frozenprobe.probe.summary import render, summarise, title

    paths = features or (newest_features(features_dir),)
    more = {name: given[name] for name in ("calibrate", "budget", "transductive", "tripwire")}
    more["memory"] = None if given["memory"] is None else given["memory"] * 1e9
    asked = probe_options(given, near_duplicates=read_near_duplicates(given["near_duplicates"]), **more)
    if not as_json:
        click.echo("\n".join(f"features {path}" for path in paths))
    opened = [open_features(path) for path in paths]
    if given["public_share"] is not None:
        public_images(len(opened[0].test or ()), given["public_share"])  # a typo should not cost the whole probe
    work = {name: given[name] for name in ("repeats", "jobs", "scheduler")}
    result = repeat_probe(opened, asked, **work, progress=ProgressPrinter())
    summary = summarise(result, public_share=given["public_share"])
    run = save_run(result, summary, opened, runs)
    if as_json:
        print_json({"features": [str(path) for path in paths], "run": str(run), **summary})
        return
    click.echo(title(result, opened, chosen=given["head"] is not None))
    click.echo("\n" + render(summary, per_class=given["per_class"]))
    click.echo(f"\nrun {run}")


@main.group()
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
    from frozenprobe.probe.curves import view_curve

    measure_curve(view_curve, given)


@curve.command()
@curve_command
def labels(**given: Any) -> None:
    """Accuracy with 1, 2, 4, 8 ... images a class, and what twice the photos would give."""
    from frozenprobe.probe.curves import label_curve

    measure_curve(label_curve, given)


def curve_options(given: dict[str, Any]) -> ProbeOptions:
    """Those of a probe; the head is `CURVE_HEAD` unless it, or a hyper-parameter, was typed."""
    asked = probe_options(given)
    return asked if asked.head or asked.settings else replace(asked, head=CURVE_HEAD)


def measure_curve(measure: Callable[..., Any], given: dict[str, Any]) -> None:
    """Measure, save and print a curve."""
    from frozenprobe.cache.store import newest_features, open_features
    from frozenprobe.probe.curveplot import save_plot
    from frozenprobe.probe.curvetable import curve_facts, curve_title, render_curve

    path = given["features"] or newest_features(given["features_dir"])
    if not given["as_json"]:
        click.echo(f"features {path}")
    opened = open_features(path)
    measured = measure(opened, curve_options(given), repeats=given["repeats"], progress=ProgressPrinter())
    out = given["out"] or Path("curves") / f"{path.stem}-{measured.kind}-{measured.options.head}.png"
    save_plot(measured, opened, out)
    if given["as_json"]:
        print_json({"features": str(path), "plot": str(out), **curve_facts(measured)})
        return
    click.echo(f"{curve_title(measured, opened)}\n\n{render_curve(measured)}\n\nplot {out}")


@main.command()
@click.option("--run", type=FILE, help="Folder of the run.  [default: the newest in --runs]")
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where to look for it.")
@click.option("--sample", type=FILE, help="Sample submission.  [default: the one kept in the feature file]")
@click.option("--out", type=FILE, default=Path("submission.csv"), show_default=True, help="CSV to write.")
@click.option("--label-map", type=FILE, help="CSV of two columns: class name, label to write for it.")
@click.option("--probabilities", is_flag=True, help="One column a class instead of one label.")
@as_json
def submit(run: Path | None, runs: Path, sample: Path | None, as_json: bool, **given: Any) -> None:
    """Check a run's answers against the sample submission and write the CSV."""
    from frozenprobe.probe.runs import load_run, newest_run
    from frozenprobe.probe.submission import render_submission, write_submission
    from frozenprobe.tables import read_table

    chosen = run or newest_run(runs)
    if not as_json:
        click.echo(f"run {chosen}")
    report = write_submission(load_run(chosen), sample=read_table(sample) if sample else None, **given)
    print_json({"run": str(chosen), **asdict(report)}) if as_json else click.echo(render_submission(report))


@main.command()
@click.argument("folders", metavar="[RUN RUN...]", type=FILE, nargs=-1)
@click.option("--runs", type=FILE, default=Path("runs"), show_default=True, help="Where the two newest are looked for.")
@as_json
def compare(folders: tuple[Path, ...], runs: Path, as_json: bool) -> None:
    """Say which run is better, image by image, or that no difference is shown; the two newest if none is named."""
    from frozenprobe.probe.compare import compare_runs
    from frozenprobe.probe.comparison import render_comparison
    from frozenprobe.probe.predictions import load_predictions, newest_runs

    comparison = compare_runs([load_predictions(folder) for folder in folders or newest_runs(runs, 2)])
    print_json(asdict(comparison)) if as_json else click.echo(render_comparison(comparison))


@main.command()
@click.argument("file", type=FILE)
@as_json
def info(file: Path, as_json: bool) -> None:
    """Print what a feature file holds, or how far one is that is being made."""
    from frozenprobe.cache.info import file_facts, render_facts

    facts = file_facts(file)
    print_json(facts) if as_json else click.echo(render_facts(facts))


@main.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--images", type=FILE, help="Folder with train/ and test/ (or the training folder): hash and compare.")
@as_json
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], images: Path | None, as_json: bool) -> None:
    """Check every byte and every number of feature files; exit code 1 if one is damaged or unfinished."""
    from frozenprobe.cache.verify import render_verification, verify_features

    sound = []
    for file in files:
        report = verify_features(file, images=images, progress=ProgressPrinter())
        print_json({**asdict(report), "sound": report.sound}) if as_json else click.echo(render_verification(report))
        sound.append(report.sound)
    ctx.exit(0 if all(sound) else 1)


@main.command()
@click.argument("file", type=FILE)
@break_lock
@as_json
def repair(file: Path, break_lock: bool, as_json: bool) -> None:
    """Keep the whole rows of a damaged feature file, so that `extract` computes only what was damaged."""
    from frozenprobe.cache.repair import render_repair, repair_features

    report = repair_features(file, break_lock=break_lock, progress=ProgressPrinter())
    print_json(asdict(report)) if as_json else click.echo(render_repair(report))


@main.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, help="File to write.  [default: the first one, which loses nothing]")
@break_lock
@as_json
def merge(files: tuple[Path, ...], out: Path | None, break_lock: bool, as_json: bool) -> None:
    """Join feature files of the same specification, each with the rows that wait beside it."""
    from frozenprobe.cache.merge import merge_features, render_merge

    report = merge_features(files, out=out, break_lock=break_lock)
    print_json(asdict(report)) if as_json else click.echo(render_merge(report))


@main.command()
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


@main.command()
@click.option("--dir", "folder", type=FILE, default=Path("frozenprobe-demo"), show_default=True, help="Where to work.")
@as_json
def demo(folder: Path, as_json: bool) -> None:
    """Make a small image set, run the three commands on it, and compare with raw pixels; nothing is downloaded."""
    from frozenprobe.demo import run_demo

    report = run_demo(folder, say=lambda text: click.echo(text, err=as_json), progress=ProgressPrinter())
    if as_json:
        print_json(asdict(report))


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Comma-separated names; None stays None."""
    return tuple(name.strip() for name in text.split(",")) if text else None


def print_json(values: Any) -> None:
    """Print JSON."""
    click.echo(to_json(values))
