"""Features + folds + head -> ProbeResult: every image predicted once out of fold, every test image once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.store import Features, opened
from frozenprobe.errors import FrozenprobeError, some, unknown_name
from frozenprobe.probe.arrays import Ints, count_parts
from frozenprobe.probe.checks.notes import make_notes, note_duplicates, note_guessing
from frozenprobe.probe.folds.deal import NEVER, assign_folds, folds_from_column, split_clusters, unscored_classes
from frozenprobe.probe.folds.duplicates import find_clusters
from frozenprobe.probe.heads.registry import HEADS, find_head, head_for, make_head, require_size
from frozenprobe.probe.inputs import choose_views, read_inputs
from frozenprobe.probe.options import AUTO, DEFAULT_FOLDS, ProbeOptions
from frozenprobe.probe.predict import predict
from frozenprobe.probe.result import Outcome, ProbeResult
from frozenprobe.probe.stream.outsized import find_outsized
from frozenprobe.probe.task import Task
from frozenprobe.system.files import StrPath
from frozenprobe.system.progress import Progress
from frozenprobe.system.threads import one_blas_thread


@one_blas_thread()
def cross_validate(
    files: Features | StrPath | Sequence[Features | StrPath],
    options: ProbeOptions = ProbeOptions(),
    progress: Progress | None = None,
) -> ProbeResult:
    """Train on all folds but one, predict that one, K times; then refit on everything and predict the test images.

    Args:
        files: a feature file, opened or by its name, or several of the same images.
        options: see there.
        progress: called with (stage, done, total) after every fit.

    Raises:
        FrozenprobeError: an option out of range, more images than the head can take, or features that are not finite.
    """
    sources = [features.select_tap(options.tap) for features in opened(files)]
    features = sources[0]
    if all(each.tap == features.tap for each in sources):
        options = replace(options, tap=features.tap)
    options = settle_options(options)
    split = features.train
    if split.labels is None:
        raise FrozenprobeError(
            "Labels of the training images", found="none", where=features.path, remedy="extract the features again"
        )
    require_size(str(options.head), len(split))  # the last fit is on all of them
    only = options.head in HEADS and HEADS[options.head].augmented_only
    views = [choose_views(each, options, augmented_only=only) for each in sources]
    outsized = find_outsized(sources, views, options)
    searched = options if outsized is None or outsized.searchable() else replace(options, near_duplicates=0.0)
    found = find_clusters(features, searched)
    clusters = found.clusters
    folds, unscored = deal_folds(features, split.labels, clusters, options)
    task = Task(
        options=options,
        sources=[] if outsized else read_inputs(sources, views),
        labels=split.labels,
        folds=folds,
        scored=(folds != NEVER) & ~np.isin(split.labels, unscored),
        clusters=clusters,
        hashes=split.hashes,
        classes=len(features.class_names),
        usable=features.test.usable if features.test else np.zeros(0, dtype=bool),
        default_folds=split.folds is None and options.folds is None,
    )
    tell = progress or (lambda stage, done, total: None)
    outcome = leave_out(predict(task, tell, outsized.predict if outsized else None), folds == NEVER)
    torn = len(split_clusters(clusters, folds))
    notes = make_notes(features, options, unscored, views[0], folds=folds, torn=torn) + note_duplicates(
        features, found, torn=torn
    )
    seen = task.scored
    notes += note_guessing(outcome.oof[seen].argmax(axis=1), split.labels[seen], clusters[seen], scale=options.scale)
    return ProbeResult(
        options=replace(options, folds=task.count),
        class_names=features.class_names,
        ids=split.ids,
        labels=split.labels,
        folds=folds,
        clusters=clusters,
        scored=task.scored,
        test_ids=features.test.ids if features.test else (),
        test_usable=task.usable,
        **(vars(outcome) | {"notes": (*(outsized.notes(options) if outsized else ()), *outcome.notes, *notes)}),
    )


def leave_out(outcome: Outcome, images: npt.NDArray[np.bool_]) -> Outcome:
    """The outcome without out-of-fold predictions of images that no fit was made without."""
    before, oof = outcome.uncalibrated, np.where(images[:, None], np.nan, outcome.oof)
    return replace(
        outcome, oof=oof, uncalibrated=before if before is None else np.where(images[:, None], np.nan, before)
    )


def settle_options(options: ProbeOptions) -> ProbeOptions:
    """The head that the typed hyper-parameters belong to, its other ones, and its scaling.

    Raises:
        FrozenprobeError: an option out of range.
    """
    if options.class_weight not in (None, "balanced"):
        raise unknown_name("class weight", options.class_weight, ("balanced",), where="--class-weight")
    if options.seed < 0:
        raise FrozenprobeError("A seed from 0 on", found=str(options.seed), where="--seed", remedy="give 0 or more")
    if options.memory is not None and not options.memory > 0:
        found = f"{options.memory:.0f} bytes"
        raise FrozenprobeError("Memory above 0", found=found, where="--memory", remedy="leave it out, or give GB")
    name = options.head or head_for(options.settings)
    if name == AUTO:
        return settle_auto(options)
    info = find_head(name)
    head = make_head(name, options.settings)
    return replace(
        options,
        head=name,
        settings=dict(vars(head)),
        scale=options.scale or info.scale,
        aggregate=options.aggregate or "rows",
    )


def settle_auto(options: ProbeOptions) -> ProbeOptions:
    """Nothing but the name: `auto` chooses the rest inside the folds.

    Raises:
        FrozenprobeError: hyper-parameters of one head, or a budget below 0.
    """
    if options.settings:
        raise FrozenprobeError(
            "No hyper-parameters for the head auto, which chooses them",
            found=", ".join(f"--{name.replace('_', '-')}" for name in options.settings),
            where="--head auto",
            remedy="leave --head out to get the head that they belong to, or leave them out",
        )
    if options.budget is not None and not options.budget >= 0:
        raise FrozenprobeError(
            "Seconds of work, from 0 on", found=str(options.budget), where="--budget", remedy="give 0 or more"
        )
    return replace(options, head=AUTO)


def default_folds(labels: Ints, clusters: Ints) -> int:
    """5, or as many as a typical class has clusters, at least 2: so that each fold takes as much of every class.

    Of two images a class, five folds take one image of a part of the classes: those classes are held against others
    that have twice their images, and the scores are far below those of the final head.
    """
    counts = count_parts(clusters, labels)
    several = counts[counts > 1]
    typical = int(np.median(several)) if len(several) else DEFAULT_FOLDS
    return min(DEFAULT_FOLDS, int(clusters.max()) + 1, max(2, typical))


def deal_folds(features: Features, labels: Ints, clusters: Ints, options: ProbeOptions) -> tuple[Ints, Ints]:
    """`(N,)` fold of each image, and the classes that cannot be scored with these folds.

    Raises:
        FrozenprobeError: no class could be scored, or a fold would leave one class to train on.
    """
    split = features.train
    if split.folds is not None and options.folds is None:
        folds = folds_from_column(split.folds)
    else:
        count = default_folds(labels, clusters) if options.folds is None else options.folds
        folds = assign_folds(labels, clusters, split.hashes, folds=count, seed=options.seed)
    unscored = unscored_classes(labels, folds)
    if np.isin(labels[folds != NEVER], unscored).all():
        raise FrozenprobeError(
            "At least one class with two different images (or groups of images)",
            found="none",
            where=features.path,
            remedy="add images; equal files count once",
        )
    lonely = [fold + 1 for fold in range(int(folds.max()) + 1) if len(np.unique(labels[folds != fold])) < 2]
    if lonely:
        raise FrozenprobeError(
            "Images of at least two classes outside every fold",
            found=f"one class is left to train on when fold {some(lonely)} is held out",
            where=features.path,
            remedy="add images of the smaller class (equal files count once), or choose other --folds",
        )
    return folds, unscored
