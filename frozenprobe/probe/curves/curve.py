"""Accuracy against what was paid for it: augmented views, or labelled images a class; measured out of fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from frozenprobe.cache.store import Features, opened
from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Floats, Ints
from frozenprobe.probe.crossval import cross_validate
from frozenprobe.probe.curves.points import Point, Resampled, Trial, judge, measure
from frozenprobe.probe.fit.candidate import candidate_of, trainer_of
from frozenprobe.probe.fit.trainer import Trainer
from frozenprobe.probe.folds.subsets import (
    draw_order,
    draws_of,
    first_of_each_class,
    subset_sizes,
    training_counts,
    typical,
)
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.inputs import choose_views, read_inputs
from frozenprobe.probe.options import AUTO, CURVE_HEAD, CURVE_SHRINKAGE, ProbeOptions
from frozenprobe.probe.result import ProbeResult
from frozenprobe.system.files import StrPath
from frozenprobe.system.progress import Progress
from frozenprobe.system.threads import in_threads, one_blas_thread

CURVE_OPTIONS = ProbeOptions(head=CURVE_HEAD, settings={"shrinkage": CURVE_SHRINKAGE})


@dataclass(frozen=True)
class Curve:
    """A measured curve.

    Attributes:
        kind: `views` or `labels`.
        unit: what the points count: `augmented views`, `images a class` or `groups a class`.
        options: of the probe, and what was left open as it was settled.
        points: P of them; the last one has everything.
        resampled: the bootstrap behind their intervals.
        notes: what the user should know.
    """

    kind: str
    unit: str
    options: ProbeOptions
    points: tuple[Point, ...]
    resampled: Resampled
    notes: tuple[str, ...]


def view_curve(
    features: Features | StrPath,
    options: ProbeOptions = CURVE_OPTIONS,
    *,
    repeats: int = 1,
    progress: Progress | None = None,
) -> Curve:
    """Out-of-fold accuracy with the first 0, 1, 2, 4, 8 ... augmented views up to all stored ones, on the same folds.

    Args:
        features: a feature file, opened or by its name.
        options: of the probe; its `views` is the largest number.
        repeats: cross-validations a point, each with folds dealt anew.
        progress: called with (stage, done, total) after every cross-validation.

    Raises:
        FrozenprobeError: no augmented views, or what `cross_validate` refuses.
    """
    check_repeats(repeats)
    (source,) = opened(features)
    most = len(source.augmented_views) if options.views is None else options.views
    counts = view_counts(most, first=1 if options.head in HEADS and HEADS[options.head].augmented_only else 0)
    if len(counts) < 2:
        raise FrozenprobeError(
            "At least two numbers of augmented views to compare",
            found=f"{most} augmented views",
            where=source.path,
            remedy="the same extract command with --views 8 computes more",
        )
    step = steps(progress, repeats * len(counts))
    trials: list[list[Trial]] = [[] for _ in counts]
    for repeat in range(repeats):
        for row, views in zip(trials, counts, strict=True):
            result = cross_validate(source, replace(options, views=views, seed=options.seed + repeat))
            row.append(trial_of(result))
            step()
    points, resampled = measure(counts, trials, result.clusters)
    options = replace(result.options, seed=options.seed)
    return Curve("views", "augmented views", options, points, resampled, result.notes)


@one_blas_thread()
def label_curve(
    features: Features | StrPath,
    options: ProbeOptions = CURVE_OPTIONS,
    *,
    repeats: int = 1,
    progress: Progress | None = None,
) -> Curve:
    """Out-of-fold accuracy with 1, 2, 4, 8 ... images of each class in the training part of every fold, up to all.

    What is held out and scored stays the same; only training parts are subsampled, nestedly: the 2 images contain the
    1. Copies of an image, and images of a group, come together and count once. Small sizes are drawn several times, as
    often as training with everything once pays for.

    Args:
        features: a feature file, opened or by its name.
        options: of the probe.
        repeats: times that it is all done, each with folds dealt anew.
        progress: called with (stage, done, total) after every cross-validation.

    Raises:
        FrozenprobeError: classes too small to leave anything out, or what `cross_validate` refuses.
    """
    check_repeats(repeats)
    (source,) = opened(features)
    if options.head == AUTO:
        raise FrozenprobeError(
            "One head, whose curve is drawn",
            found="--head auto, another blend at every size",
            where="--head",
            remedy=f"name one, such as --head {CURVE_HEAD}",
        )
    source = source.select_tap(options.tap)
    full = cross_validate(source, options)
    counts = training_counts(full.labels, full.clusters, full.folds)
    sizes = subset_sizes(counts)
    if not sizes:
        raise FrozenprobeError(
            "Classes of at least two different images (or groups of images) outside a fold",
            found=f"{typical(counts):.2g} to train on, typically",
            where=source.path,
            remedy="add images (equal files count once), or choose more --folds",
        )
    draws = [draws_of(size, counts) for size in sizes]
    step = steps(progress, repeats * (1 + sum(draws)))
    at = np.zeros(len(sizes) + 1)
    trials: list[list[Trial]] = [[] for _ in at]
    for repeat in range(repeats):
        result = cross_validate(source, replace(options, seed=options.seed + repeat)) if repeat else full
        trials[-1].append(trial_of(result))
        step()
        outside = training_counts(result.labels, result.clusters, result.folds)
        at += np.array([typical(outside, size) for size in (*sizes, None)]) / repeats
        trainer, val = open_trainer(source, result)
        for row, size, often in zip(trials, sizes, draws, strict=False):
            for draw in range(often):
                order = draw_order(result.clusters, source.train.hashes, seed=options.seed + repeat, draw=draw)
                row.append(train_on_some(trainer, val, result, order=order, size=size))
                step()
    points, resampled = measure(at.tolist(), trials, full.clusters)
    unit = "images a class" if source.train.groups is None else "groups a class"
    notes, small = full.notes, float((counts < sizes[-1]).mean())
    if small:
        notes += (
            f"{small:.0%} of the classes have fewer than {sizes[-1]} images to train on and contribute all they have",
        )
    return Curve("labels", unit, full.options, points, resampled, notes)


def view_counts(most: int, *, first: int) -> list[int]:
    """`first`, the powers of two between it and `most`, and `most`."""
    powers = {2**power for power in range(most.bit_length())} if most > 0 else set()
    return sorted(count for count in powers | {first, most} if first <= count <= most)


def open_trainer(features: Features, result: ProbeResult) -> tuple[Trainer, Floats]:
    """What `cross_validate` fitted for this result, and the `(N, t, D)` vectors that it scored."""
    options, candidate = result.options, candidate_of(result.options)
    only = HEADS[candidate.head].augmented_only
    (source,) = read_inputs([features], [choose_views(features, options, augmented_only=only)])
    inputs = source.aggregated(candidate.aggregate)
    total = len(features.class_names)
    return trainer_of(candidate, inputs, result.labels, result.clusters, options=options, total=total), inputs.val


def train_on_some(trainer: Trainer, val: Floats, result: ProbeResult, *, order: Ints, size: int) -> Trial:
    """Cross-validate on the folds of `result` with at most `size` clusters of each class to train on."""
    oof = np.zeros_like(result.oof)
    held = [result.folds == fold for fold in range(int(result.folds.max()) + 1)]
    parts = [first_of_each_class(np.flatnonzero(~own), result.labels, order, size) for own in held]
    (fits,) = trainer.fit_grid([trainer.head], parts)  # before a temperature, which changes no answer
    answers = in_threads(lambda fold: fits[fold].predict(val[held[fold]]), range(len(fits)))
    for own, answer in zip(held, answers, strict=True):
        oof[own] = answer
    converged = all(fitted.head.convergence.converged is not False for fitted in fits)
    return judge(oof, result.labels, result.scored, converged=converged)


def trial_of(result: ProbeResult) -> Trial:
    """The out-of-fold predictions of a probe."""
    converged = all(fold.convergence.converged is not False for fold in result.fold_scores)
    return judge(result.oof, result.labels, result.scored, converged=converged)


def size_text(at: float) -> str:
    """Views or images a class, as a person writes them: 4, 3.7, 1,250."""
    return f"{at:.3g}" if at < 100 else f"{at:,.0f}"


def check_repeats(repeats: int) -> None:
    """Refuse less than one."""
    if repeats < 1:
        raise FrozenprobeError("One repeat or more", found=str(repeats), where="--repeats", remedy="give 1 or more")


def steps(progress: Progress | None, total: int) -> Callable[[], None]:
    """What to call after every cross-validation, so that `progress` hears of it."""
    done = count(1)
    return lambda: progress("cross-validating", next(done), total) if progress else None
