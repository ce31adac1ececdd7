"""Many candidates -> their predictions that a blend is chosen on inside the training folds, and scored on outside.

For every fold k each candidate is fitted without it (its predictions of k are *out of fold*) and, for pairs of folds,
without k and j: on its predictions of j fold k's choice is made, for neither the fits nor the choice saw an image of
k. A fit without {j, k} serves both. The final choice is made on the out-of-fold predictions of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.candidate import Candidate, trainer_of
from frozenprobe.probe.fit.trainer import LEAST, FittedProbe
from frozenprobe.probe.heads.head import Convergence
from frozenprobe.probe.heads.registry import make_head
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import ProbeOptions
from frozenprobe.system.threads import in_threads


@dataclass(frozen=True)
class Predictions:
    """Logarithms of a candidate's probabilities.

    Attributes:
        oof: `(N, C)` by fits without the image's fold.
        inner: for each fold k `(n, C)` for the images `NestedFolds.chosen_on[k]` by fits without them and without k.
        convergence: of the fits behind `oof`, by fold.
    """

    oof: Floats
    inner: list[Floats]
    convergence: list[Convergence]


@dataclass(frozen=True)
class HeldOut:
    """Images that a fit did not see, and what its predictions of them serve.

    Attributes:
        images: that are predicted.
        fold: whose choice is made on them; None: they are out of fold themselves.
    """

    images: Ints
    fold: int | None = None


@dataclass(frozen=True)
class NestedFolds:
    """The fits that choosing takes.

    Attributes:
        subsets: for each fit the images it is made on; the first K go without one fold each.
        held_out: for each fit.
        chosen_on: for each fold the images that its choice is made on; none if only the final choice is made.
    """

    subsets: list[Ints]
    held_out: list[list[HeldOut]]
    chosen_on: list[Ints]

    @staticmethod
    def outer(folds: Ints) -> NestedFolds:
        """The K fits without one fold each: what the final choice takes."""
        count = int(folds.max()) + 1
        return NestedFolds(
            subsets=[np.flatnonzero(folds != k) for k in range(count)],
            held_out=[[HeldOut(np.flatnonzero(folds == k))] for k in range(count)],
            chosen_on=[],
        )

    @staticmethod
    def of(folds: Ints, labels: Ints, deal: Callable[[Ints], Ints]) -> NestedFolds:
        """From 4 folds on each is paired with its two neighbours (all pairs would be twice the fits at 5 folds, for the
        same final choice); of fewer folds, whose pairs leave too little, the training part is dealt again.

        Args:
            folds: `(N,)`.
            labels: `(N,)`.
            deal: images -> the inner fold of each.
        """
        outer, count = NestedFolds.outer(folds), int(folds.max()) + 1
        subsets, held_out = outer.subsets, outer.held_out
        for held, parts in inner_parts(folds, count, deal):
            training = np.flatnonzero(~held)
            seen = np.unique(labels[training])
            if len(seen) > 1:  # images of a class that a fit has not seen choose nothing
                subsets.append(training)
                held_out.append([HeldOut(images[np.isin(labels[images], seen)], fold) for images, fold in parts])
        chosen_on = [
            np.sort(
                np.concatenate(
                    [np.zeros(0, np.int64), *(each.images for row in held_out for each in row if each.fold == k)]
                )
            )
            for k in range(count)
        ]
        return NestedFolds(subsets, held_out, chosen_on)

    def among(self, seen: npt.NDArray[np.bool_]) -> NestedFolds:
        """The same fits, with choices made on some of the images alone, `(N,)`."""

        def few(held: HeldOut) -> HeldOut:
            return held if held.fold is None else replace(held, images=held.images[seen[held.images]])

        held_out = [[few(held) for held in row] for row in self.held_out]
        return replace(self, held_out=held_out, chosen_on=[images[seen[images]] for images in self.chosen_on])


def inner_parts(
    folds: Ints, count: int, deal: Callable[[Ints], Ints]
) -> Iterator[tuple[npt.NDArray[np.bool_], list[tuple[Ints, int]]]]:
    """What inner fits go without, `(N,)`, and the images that each is asked about, with the fold they choose for."""
    if count >= 4:
        for j, k in sorted({(min(k, (k + 1) % count), max(k, (k + 1) % count)) for k in range(count)}):
            yield np.isin(folds, (j, k)), [(np.flatnonzero(folds == j), k), (np.flatnonzero(folds == k), j)]
        return
    for k in range(count):
        training = np.flatnonzero(folds != k)
        inner = deal(training)
        for part in np.unique(inner):
            held = folds == k
            held[training[inner == part]] = True
            yield held, [(training[inner == part], k)]


def predict_all(
    candidates: Sequence[Candidate],
    sources: Sequence[Inputs],
    labels: Ints,
    clusters: Ints,
    nested: NestedFolds,
    *,
    options: ProbeOptions,
    total: int,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Iterator[Predictions]:
    """Fit every candidate without each fold and each pair, and predict what it did not see, one after the other.

    Args:
        candidates: those of a family next to each other.
        sources: of their features.
        labels: `(N,)`.
        clusters: `(N,)` images that belong together.
        nested: the fits.
        options: class weight and seed.
        total: C.
        progress: called with (candidates done, all).
    """
    done = 0
    for family, members in groupby(candidates, key=lambda candidate: candidate.family):
        group = list(members)
        source, aggregate, _, _ = family
        inputs = sources[source].aggregated(aggregate)
        trainer = trainer_of(group[0], inputs, labels, clusters, options=options, total=total)
        heads = [make_head(candidate.head, candidate.settings | candidate.trial) for candidate in group]
        for fitted in trainer.fit_grid(heads, nested.subsets):
            yield predict_held_out(fitted, inputs.val, nested, total)
        done += len(group)
        progress(done, len(candidates))


def predict_held_out(fitted: Sequence[FittedProbe], val: Floats, nested: NestedFolds, total: int) -> Predictions:
    """What one candidate's fits predict of the images they did not see."""
    oof = np.zeros((len(val), total), dtype=np.float32)
    inner = [np.zeros((len(images), total), dtype=np.float32) for images in nested.chosen_on]

    def predict(fit: int) -> None:
        for held in nested.held_out[fit]:
            logits = logits_of(fitted[fit].predict(val[held.images]))
            if held.fold is None:
                oof[held.images] = logits
            else:
                inner[held.fold][np.searchsorted(nested.chosen_on[held.fold], held.images)] = logits

    in_threads(predict, range(len(fitted)))
    return Predictions(oof, inner, [probe.head.convergence for probe in fitted[: len(nested.chosen_on)]])


def logits_of(probabilities: Doubles) -> Floats:
    """Logarithms of probabilities, which heads may have let fall to 0."""
    return np.log(np.maximum(probabilities, LEAST)).astype(np.float32)
