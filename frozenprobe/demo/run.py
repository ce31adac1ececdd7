"""The three commands on an image set made on the spot, beside raw pixels as the yardstick; nothing is downloaded."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from frozenprobe.cache.store import open_features, open_plan
from frozenprobe.demo.pictograms import PhotoSet, write_photos
from frozenprobe.extract.forecast import forecast
from frozenprobe.extract.options import Choices, ExtractRequest
from frozenprobe.extract.report import render_report
from frozenprobe.extract.run import extract_features
from frozenprobe.images.places import Place, read_image
from frozenprobe.images.read import read_test, read_training
from frozenprobe.images.sources import ImageSources
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.probe.report.runs import load_run, save_run
from frozenprobe.probe.report.submission import render_submission, write_submission
from frozenprobe.probe.report.summary import render, summarise, title
from frozenprobe.probe.result import ProbeResult
from frozenprobe.system.csv_tables import read_table
from frozenprobe.system.progress import Progress

BACKBONE = "efficientnet_lite0"
PHOTOS = PhotoSet(classes=40, train_per_class=10, test=240)
FORWARD_SECONDS = 60.0  # what is left of 3 minutes on 2 cores for the backbone
MOST_VIEWS = 8
PIXELS = 32  # side of the images the yardstick sees

Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoReport:
    """What the demo measured, and where things lie.

    Attributes:
        views: augmented views a training image.
        accuracy: out of fold, with its 95 % interval.
        test_accuracy: of the submission against the known answers.
        pixel_accuracy: out of fold, the same logistic regression on raw pixels.
        pixel_test_accuracy: likewise on the test photos.
        seconds: from start to end.
    """

    views: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    test_accuracy: float
    pixel_accuracy: float
    pixel_test_accuracy: float
    seconds: float
    data: Path
    features: Path
    run: Path
    submission: Path


def run_demo(folder: Path, *, say: Say, progress: Progress) -> DemoReport:
    """Make the photos, run extract, probe and submit on them, and measure raw pixels beside.

    Args:
        folder: where everything is written; run again, it goes on with what is there.
        say: called with each text for the user.
        progress: called with (stage, done, total).

    Raises:
        MissingExtra: a package of the extra `demo` is not installed.
        FrozenprobeError: the folder holds something else.
    """
    start = time.perf_counter()
    data = folder / "data"
    say(
        f"{PHOTOS.classes} classes x {PHOTOS.train_per_class} training photos and {PHOTOS.test} test photos are made "
        f"on the spot in {data}:\npictograms, photographed (perspective, light, colour, blur, clutter)."
    )
    write_photos(data, PHOTOS, progress=lambda done, total: progress("making photos", done, total))
    path = folder / "features" / f"{BACKBONE}-mild.h5"
    sources = ImageSources(data / "train", data / "test")
    request = ExtractRequest(sources, Choices(backbone=BACKBONE, views=MOST_VIEWS), out=path)
    there = open_features(path) if path.exists() else open_plan(path)
    views = len(there.augmented_views) if there else affordable_views(request, progress)
    say(f"{views} augmented views a photo fit into 3 minutes on this machine.\n\n$ cd {folder}")

    say(f"$ frozenprobe extract --backbone {BACKBONE} --views {views}")
    request = replace(request, choices=replace(request.choices, views=views))
    say(render_report(extract_features(request, progress)))

    say("\n$ frozenprobe probe --c 1.0")
    features = open_features(path)
    result = cross_validate(features, ProbeOptions(settings={"c": 1.0}), progress)
    summary = summarise(result)
    run = save_run(result, summary, features, folder / "runs")
    say(f"features {path}\n{title(result, [features], chosen=False)}\n\n{render(summary)}\n\nrun {run}")

    say("\n$ frozenprobe submit")
    submitted = write_submission(load_run(run), folder / "submission.csv")
    say(render_submission(submitted))

    solution = read_table(data / "answers" / "solution.csv")
    truth = dict(zip(solution.column("ID"), solution.column("Label"), strict=True))
    labels = np.array([features.class_names.index(truth[name]) for name in result.test_ids], dtype=np.int64)
    pixel_accuracy, pixel_test_accuracy = measure_pixels(data, result, labels)
    report = DemoReport(
        views=views,
        accuracy=summary["accuracy"],
        accuracy_low=summary["accuracy_low"],
        accuracy_high=summary["accuracy_high"],
        test_accuracy=float((result.test.argmax(axis=1) == labels).mean()),
        pixel_accuracy=pixel_accuracy,
        pixel_test_accuracy=pixel_test_accuracy,
        seconds=time.perf_counter() - start,
        data=data,
        features=path,
        run=run,
        submission=submitted.path,
    )
    say("\n" + render_demo(report))
    return report


def affordable_views(request: ExtractRequest, progress: Progress) -> int:
    """How many augmented views the backbone can embed in the time there is, timed on some of the photos."""
    measured = forecast(replace(request, limit=PHOTOS.classes), progress).measured
    if measured is None:
        return MOST_VIEWS
    train = PHOTOS.classes * PHOTOS.train_per_class
    # two test-time views of every photo come first
    spare = FORWARD_SECONDS * measured.speed.rate - 2 * (train + PHOTOS.test)
    return int(np.clip(spare // train, 1, MOST_VIEWS))


def measure_pixels(data: Path, result: ProbeResult, test_labels: Ints) -> tuple[float, float]:
    """Out-of-fold and test accuracy of logistic regression on raw pixels: same folds, same head, same C."""
    pixels = read_pixels(read_training(data / "train").places)
    trainer = Trainer(make_head("logreg", {"c": 1.0}), pixels, result.labels, scale="standard")
    right = 0
    for fold in range(int(result.folds.max()) + 1):
        held = result.folds == fold
        fitted = trainer.fit(np.flatnonzero(~held))
        right += int((fitted.predict(pixels[held]).argmax(axis=1) == result.labels[held]).sum())
    final = trainer.fit(np.arange(len(pixels)))
    predicted = final.predict(read_pixels(read_test(data / "test").places)).argmax(axis=1)
    return right / len(pixels), float((predicted == test_labels).mean())


def read_pixels(places: tuple[Place, ...]) -> Floats:
    """`(n, 1, 3072)` values in [0, 1] of the photos shrunk to 32 x 32 px."""
    rows = []
    for place in places:
        with Image.open(io.BytesIO(read_image(place))) as image:
            small = image.convert("RGB").resize((PIXELS, PIXELS), Image.Resampling.BILINEAR)
        rows.append(np.asarray(small, dtype=np.float32).ravel())
    return np.stack(rows)[:, None, :] / np.float32(255)


def render_demo(report: DemoReport) -> str:
    """The demo's last words."""
    low, high = report.accuracy_low, report.accuracy_high
    return "\n".join(
        [
            f"{'':<31}{'out of fold (95 % interval)':<31}test",
            f"{'frozen backbone + logreg':<31}{f'{report.accuracy:.1%} ({low:.1%} to {high:.1%})':<31}"
            f"{report.test_accuracy:.1%}",
            f"{'raw pixels + the same logreg':<31}{f'{report.pixel_accuracy:.1%}':<31}{report.pixel_test_accuracy:.1%}",
            "",
            f"photos      {report.data} (made on the spot, not real ones)",
            f"features    {report.features}",
            f"run         {report.run}",
            f"submission  {report.submission}",
            f"{report.seconds:.0f} s in all",
        ]
    )
