"""Two or more runs -> which one is better, or that none is shown to be: paired tests on the images they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import NormalDist

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Ints
from frozenprobe.probe.compare.shared_images import SharedImages, describe_runs, make_notes, share_images
from frozenprobe.probe.report.runs import OutOfFold, load_predictions
from frozenprobe.probe.stats.intervals import (
    accuracy_interval,
    cluster_sums,
    difference_interval,
    effective_clusters,
    mean_interval,
    sizes_of,
)
from frozenprobe.probe.stats.significance import (
    FEWEST_CLUSTERS,
    CorrectedT,
    cluster_p,
    companions,
    corrected_t,
    holm,
    mcnemar_p,
)
from frozenprobe.system.files import StrPath

LEVEL = 0.05  # of false alarms, over all pairs together
POWER = 0.8  # how often the smallest difference would have been shown


@dataclass(frozen=True)
class RunScore:
    """One run on the shared images.

    Attributes:
        name: a letter.
        path: its folder.
        description: the head, and the options in which the runs differ.
        accuracy: with its 95 % interval `accuracy_low` to `accuracy_high`.
        log_loss: mean over the images.
    """

    name: str
    path: Path
    description: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float


@dataclass(frozen=True)
class PairScore:
    """The first run against the second.

    Attributes:
        first: letter of a run.
        second: letter of the other.
        difference: of the accuracies, first - second, with its paired 95 % interval `low` to `high`.
        only_first_right: images that only the first run predicts rightly.
        only_second_right: images that only the second run predicts rightly.
        log_loss_difference: first - second (below 0: the first is better), with its paired 95 % interval.
        p_images: of McNemar's exact test over independent images, else of an approximate t-test over clusters; None:
            the clusters are too few to say.
        repeats: corrected resampled t-test over repeats and folds; None without repeats on equal folds.
        p: the larger of these two (1 if they point different ways), then Holm's for all pairs; None like `p_images`.
        better: letter of the better run; None: no difference shown.
        smallest_difference: of the accuracies, that these images would have shown 4 times of 5; None like `p_images`.
        images_needed: to show a difference as large as this one 4 times of 5; None where there is none, or too few.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    only_first_right: int
    only_second_right: int
    log_loss_difference: float
    log_loss_low: float
    log_loss_high: float
    p_images: float | None
    repeats: CorrectedT | None
    p: float | None
    better: str | None
    smallest_difference: float | None
    images_needed: int | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.p is None:
            return "too few clusters to say"
        return f"{self.better} is better" if self.better else "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """What comparing found.

    Attributes:
        images: that all runs predicted out of fold and scored.
        clusters: of images that belong together in any of the runs.
        effective_clusters: how many clusters of one size would be as even as these.
        runs: in the order given.
        pairs: every run against every later one.
        notes: what the user should know.
    """

    images: int
    clusters: int
    effective_clusters: float
    runs: tuple[RunScore, ...]
    pairs: tuple[PairScore, ...]
    notes: tuple[str, ...]


def compare_runs(runs: Sequence[OutOfFold | StrPath]) -> Comparison:
    """Compare every pair of runs, loaded or by their folders' names, on the images that all of them scored.

    Raises:
        FrozenprobeError: fewer than two runs, no shared image, or labels that contradict each other.
    """
    loaded = [run if isinstance(run, OutOfFold) else load_predictions(run) for run in runs]
    if len(loaded) < 2:
        raise FrozenprobeError(
            "Two or more runs to compare",
            found=str(len(loaded)),
            where=loaded[0].path if loaded else "RUN RUN...",
            remedy="name the folders of two runs, or none for the two newest",
        )
    shared = share_images(loaded)
    names = [run_name(index) for index in range(len(loaded))]
    every = list(combinations(range(len(loaded)), 2))
    repeats = [compare_repeats(loaded[a], loaded[b], shared.rows[a], shared.rows[b]) for a, b in every]
    differences = [shared.right[a].astype(np.float64) - shared.right[b] for a, b in every]
    p_images = [paired_p(each, shared.clusters) for each in differences]
    joint = [
        None if p is None else joint_p(p, float(each.mean()), repeated)
        for p, each, repeated in zip(p_images, differences, repeats, strict=True)
    ]
    adjusted = iter(holm([p for p in joint if p is not None]))
    adjusted_p = [None if p is None else next(adjusted) for p in joint]
    pairs = [
        score_pair(shared, (a, b), names=names, p=p, p_images=single, repeats=repeated, level=LEVEL / len(every))
        for (a, b), p, single, repeated in zip(every, adjusted_p, p_images, repeats, strict=True)
    ]
    return Comparison(
        images=shared.right.shape[1],
        clusters=len(np.unique(shared.clusters)),
        effective_clusters=effective_clusters(sizes_of(shared.clusters)),
        runs=tuple(score_runs(loaded, shared, names)),
        pairs=tuple(pairs),
        notes=tuple(make_notes(loaded, shared, names)),
    )


def paired_p(differences: Doubles, clusters: Ints) -> float | None:
    """Two-sided p-value of the `(n,)` differences of images, each -1, 0 or 1; None: too few clusters to say."""
    sums, sizes = cluster_sums(differences, clusters)
    if len(sums) == len(differences):
        return mcnemar_p(int((differences > 0).sum()), int((differences < 0).sum()))
    return cluster_p(sums, sizes) if effective_clusters(sizes) >= FEWEST_CLUSTERS else None


def joint_p(p_images: float, difference: float, repeats: CorrectedT | None) -> float:
    """The larger p: a difference has to show over images and, if folds were dealt again, over these, the same way."""
    if repeats is None:
        return p_images
    return max(p_images, repeats.p if repeats.difference * difference > 0 else 1.0)


def compare_repeats(a: OutOfFold, b: OutOfFold, rows_a: Ints, rows_b: Ints) -> CorrectedT | None:
    """The corrected resampled t-test over the repeats that both have; None if fewer than two, or on other folds."""
    repeats = min(len(a.repeat_predicted), len(b.repeat_predicted))
    folds = a.repeat_folds[:repeats, rows_a]
    if repeats < 2 or not np.array_equal(folds, b.repeat_folds[:repeats, rows_b]):
        return None
    right_a = a.repeat_predicted[:repeats, rows_a] == a.labels[rows_a]
    right_b = b.repeat_predicted[:repeats, rows_b] == b.labels[rows_b]
    held = (folds + (folds.max() + 1) * np.arange(repeats)[:, None]).ravel()  # number of each repeat's fold
    sizes = np.bincount(held)
    differences = np.bincount(held, weights=right_a.ravel().astype(np.float64) - right_b.ravel())
    some_images = sizes > 0
    sizes, images = sizes[some_images], folds.shape[1]
    if sizes.max() == images:
        return None
    return corrected_t(differences[some_images] / sizes, float((sizes / (images - sizes)).mean()))


def score_pair(
    shared: SharedImages,
    pair: tuple[int, int],
    *,
    names: Sequence[str],
    p: float | None,
    p_images: float | None,
    repeats: CorrectedT | None,
    level: float,
) -> PairScore:
    """All numbers of one pair, its p-values given."""
    a, b = pair
    differences = shared.right[a].astype(np.float64) - shared.right[b]
    losses = shared.losses[a] - shared.losses[b]
    difference = float(differences.mean())
    low, high = difference_interval(differences, shared.clusters)
    loss_low, loss_high = mean_interval(losses, shared.clusters)
    too_few = p_images is None
    smallest, needed = (None, None) if too_few else what_would_show(differences, shared.clusters, level=level)
    return PairScore(
        first=names[a],
        second=names[b],
        difference=difference,
        low=low,
        high=high,
        only_first_right=int((differences > 0).sum()),
        only_second_right=int((differences < 0).sum()),
        log_loss_difference=float(losses.mean()),
        log_loss_low=loss_low,
        log_loss_high=loss_high,
        p_images=p_images,
        repeats=repeats,
        p=p,
        better=names[a if difference > 0 else b] if p is not None and p < LEVEL else None,
        smallest_difference=smallest,
        images_needed=needed,
    )


def what_would_show(differences: Doubles, clusters: Ints, *, level: float) -> tuple[float, int | None]:
    """The smallest difference of accuracies that n such images show 4 times of 5, and how many images this one needs.

    Args:
        differences: `(n,)` 1: only the first is right; -1: only the second; 0: both or none.
        clusters: `(n,)`, enough of them for `paired_p`.
        level: of the test.
    """
    # If neither were better, the sum of the differences would have the variance S = sum_c d_c^2. With the w images that
    # the test over clusters counts against it (0 for independent images), a sum T is shown with probability POWER from
    #   T - w = z sqrt(S + w^2) on,      z = z(1 - level / 2) + z(POWER)
    # and a sum f T of f times as many images, with the variance f S, from the larger root of
    #   T^2 f^2 - (2 T w + z^2 S) f + (1 - z^2) w^2 = 0 on.
    # Yet clusters that all speak for one side, by one image each, show it only from some number on.
    images, normal = len(differences), NormalDist()
    sums, sizes = cluster_sums(differences, clusters)
    z = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
    against, variance, total = companions(sizes) / 2, float(sums @ sums), abs(float(differences.sum()))
    reach = against + z * math.sqrt(variance + against**2)
    half = total * against + z**2 * variance / 2
    needed = half + math.sqrt(half**2 - (1 - z**2) * (total * against) ** 2)
    return (
        max(reach, fewest_to_show(sizes, level=level)) / images,
        math.ceil(images * needed / total**2) if total else None,
    )


def fewest_to_show(sizes: Doubles, *, level: float) -> float:
    """How many clusters have to favour one side, by one image each and none the other, to be shown; infinite: too many.

    Args:
        sizes: `(clusters,)`.
        level: of the test.
    """
    if sizes.max() == 1:  # m images that all speak for one side have p = 2^(1 - m)
        return math.ceil(1 - math.log2(level))
    sums = np.zeros(len(sizes))
    for index in range(len(sizes)):
        sums[index] = 1.0
        if cluster_p(sums, sizes) < level:
            return index + 1
    return math.inf


def score_runs(runs: Sequence[OutOfFold], shared: SharedImages, names: Sequence[str]) -> list[RunScore]:
    """Each run's own numbers on the shared images."""
    scores = []
    for index, description in enumerate(describe_runs([run.config for run in runs])):
        right = shared.right[index]
        low, high = accuracy_interval(right, shared.clusters)
        loss = float(shared.losses[index].mean())
        scores.append(RunScore(names[index], runs[index].path, description, float(right.mean()), low, high, loss))
    return scores


def run_name(index: int) -> str:
    """A, B, ... Z, then R27, R28, ..."""
    return chr(ord("A") + index) if index < 26 else f"R{index + 1}"
