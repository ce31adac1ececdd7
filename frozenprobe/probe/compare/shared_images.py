"""Two or more runs -> the images that all of them scored, matched by id, and in what the runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.folds.deal import cluster_images
from frozenprobe.probe.report.runs import OutOfFold
from frozenprobe.probe.stats import metrics
from frozenprobe.probe.stats.intervals import effective_clusters, sizes_of
from frozenprobe.probe.stats.significance import FEWEST_CLUSTERS


@dataclass(frozen=True)
class SharedImages:
    """The runs' predictions of the n images that all of them scored.

    Attributes:
        rows: for each of the R runs, `(n,)` where these images stand in it.
        clusters: `(n,)`.
        right: `(R, n)`.
        losses: `(R, n)` negative logarithm of the true class's probability.
    """

    rows: tuple[Ints, ...]
    clusters: Ints
    right: npt.NDArray[np.bool_]
    losses: Doubles


def share_images(runs: Sequence[OutOfFold]) -> SharedImages:
    """Match the runs by image id.

    Raises:
        FrozenprobeError: no image that all of them scored, or labels that contradict each other.
    """
    places = [{name: row for row, name in enumerate(run.ids)} for run in runs]
    scored = [{name for name, row in place.items() if run.scored[row]} for run, place in zip(runs, places, strict=True)]
    common = set.intersection(*scored)
    if not common:
        raise FrozenprobeError(
            "Images that all runs predicted out of fold",
            found=f"none; the first holds {some(runs[0].ids, most=2)}, the last {some(runs[-1].ids, most=2)}",
            where=", ".join(str(run.path) for run in runs),
            remedy="compare runs on features of the same training images",
        )
    ids = [name for name in runs[0].ids if name in common]
    rows = tuple(np.array([place[name] for name in ids], dtype=np.int64) for place in places)
    check_labels(runs, rows, ids)
    labels = [run.labels[row] for run, row in zip(runs, rows, strict=True)]
    oof = [run.oof[row] for run, row in zip(runs, rows, strict=True)]
    together = [run.clusters[row] for run, row in zip(runs, rows, strict=True)]
    return SharedImages(
        rows=rows,
        clusters=reduce(lambda a, b: cluster_images([*map(str, a)], [*map(str, b)]), together),
        right=np.array([p.argmax(axis=1) == truth for p, truth in zip(oof, labels, strict=True)]),
        losses=np.array([metrics.losses(p, truth) for p, truth in zip(oof, labels, strict=True)]),
    )


def check_labels(runs: Sequence[OutOfFold], rows: Sequence[Ints], ids: Sequence[str]) -> None:
    """Raise the error for images that have another label, by name, in another run."""
    truth = [np.array(run.class_names)[run.labels[row]] for run, row in zip(runs, rows, strict=True)]
    for run, names in zip(runs[1:], truth[1:], strict=True):
        other = np.flatnonzero(names != truth[0]).tolist()
        if other:
            examples = some((f"{ids[row]} ({truth[0][row]} and {names[row]})" for row in other), most=3)
            raise FrozenprobeError(
                "The same label for the same image in all runs",
                found=f"{len(other)} images with two labels: {examples}",
                where=f"{runs[0].path}, {run.path}",
                remedy="probe features with the same labels, then compare those runs",
            )


def describe_runs(configs: Sequence[dict[str, Any]]) -> list[str]:
    """For each run its head, and the options and origin in which it differs from another."""
    everything = []
    for config in configs:
        options = config.get("options")
        told = dict(options) if isinstance(options, dict) else {}
        settings = told.pop("settings", None)
        told = (settings if isinstance(settings, dict) else {}) | told
        if told.get("device") == "cpu":  # said by runs of 0.6.0 and before, when there was another place to solve
            del told["device"]
        everything.append(told | {key: config[key] for key in ("features", "fingerprint") if key in config})
    keys = list(dict.fromkeys(key for told in everything for key in told))
    differing = [key for key in keys if any(told.get(key) != everything[0].get(key) for told in everything)]
    if "features" in differing and "fingerprint" not in differing:
        differing.remove("features")  # a file that was moved, or has grown
    return [
        ", ".join(
            [str(told.get("head", "unknown head"))]
            + [
                f"{key} = {Path(str(told[key])).name if key == 'features' else told[key]}"
                for key in differing
                if key in told and key not in ("head", "fingerprint")
            ]
        )
        for told in everything
    ]


def make_notes(runs: Sequence[OutOfFold], shared: SharedImages, names: Sequence[str]) -> list[str]:
    """What the user should know about images, clusters, folds and classes."""
    notes, images = [], shared.right.shape[1]
    if any(images < len(run.ids) for run in runs):
        counts = ", ".join(f"{name} has {len(run.ids)}" for name, run in zip(names, runs, strict=True))
        notes.append(f"compared on the {images} training images that all runs scored; {counts}")
    notes += note_clusters(shared)
    together = [run.clusters[row] for run, row in zip(runs, shared.rows, strict=True)]
    other_clusters = [name for name, one in zip(names, together, strict=True) if not same_partition(one, together[0])]
    if other_clusters:
        notes.append(
            f"{names[0]} and {some(other_clusters)} have different clusters (groups or near duplicates): what one of "
            "them keeps together is one cluster here"
        )
    classes = [set(run.class_names) for run in runs]
    other_classes = [name for name, own in zip(names, classes, strict=True) if own != classes[0]]
    if other_classes:
        notes.append(f"{names[0]} and {some(other_classes)} choose among different classes")
    folds = [run.folds[row] for run, row in zip(runs, shared.rows, strict=True)]
    other_folds = [name for name, one in zip(names, folds, strict=True) if not same_partition(one, folds[0])]
    if other_folds:
        notes.append(
            f"{names[0]} and {some(other_folds)} have different folds: part of the difference is the luck of the folds"
        )
    several = [name for name, run in zip(names, runs, strict=True) if len(run.repeat_predicted) > 1]
    if several:
        notes.append(
            f"of {some(several)} the first repeat is shown; the others count in the p-value, where both runs of a pair "
            "have the same folds in them"
        )
    return notes


def note_clusters(shared: SharedImages) -> list[str]:
    """What follows from images that belong together; nothing where all are independent."""
    sizes = sizes_of(shared.clusters)
    images, effective = shared.right.shape[1], effective_clusters(sizes)
    if len(sizes) == images:
        return []
    even = "" if effective > 0.9 * len(sizes) else f", as uneven as {effective:.0f} of one size"
    if effective < FEWEST_CLUSTERS:
        return [
            f"{images} images in {len(sizes)} clusters (copies, groups){even}: too few to tell a difference from luck; "
            f"from {FEWEST_CLUSTERS} on it is tested"
        ]
    return [
        f"{images} images in {len(sizes)} clusters (copies, groups){even}: McNemar's test would treat them as "
        "independent; here whole clusters are compared"
    ]


def same_partition(a: Ints, b: Ints) -> bool:
    """Whether two `(n,)` assignments put the same images together, whatever the numbers."""
    return len(np.unique(a)) == len(np.unique(b)) == len(np.unique(np.stack([a, b]), axis=1).T)
