"""Predictions of candidates, one after the other -> what each is worth in every choice, and the blend of the best.

Every candidate is looked at once. Only what is the best of its family in some choice is kept: predictions take memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.arrays import Doubles, Floats, Ints
from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.folds.deal import cluster_key
from frozenprobe.probe.heads.parts.temperature import apply_temperature, fit_temperature
from frozenprobe.probe.select.blend import blend, fit_stack
from frozenprobe.probe.select.nested import NestedFolds, Predictions
from frozenprobe.probe.stats import metrics
from frozenprobe.probe.task import Task
from frozenprobe.system.threads import in_threads

SMALL = 0.02  # a member with less of a blend is left out of it
KNOWING = 0.999  # of the log-loss of predicting all classes alike
CHOSEN_ON = 2_500_000  # predicted numbers of a candidate that choices look at: 25,000 images of 100 classes
FEWEST = 2_500  # images that they look at nevertheless


@dataclass(frozen=True)
class ChosenOn:
    """The images that one choice is made on: that of a fold, or the final one.

    Attributes:
        images: `(n,)`.
        labels: `(n,)`.
        weight: `(n,)`.
    """

    images: Ints
    labels: Ints
    weight: Doubles


@dataclass(frozen=True)
class Standing:
    """What a candidate is worth on the images of a choice.

    Attributes:
        temperature: that suits it there.
        loss: mean log-loss at that temperature; where there are no images, how far it is from its family's middle.
        accuracy: NaN without images.
    """

    temperature: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Member:
    """A candidate in a blend.

    Attributes:
        number: of the candidate.
        weight: of its logarithms.
        share: of the blend, each member measured at the temperature that suits it alone.
    """

    number: int
    weight: float
    share: float


@dataclass(frozen=True)
class Trials:
    """What was tried so far.

    Attributes:
        choices: K of the folds, and last the final one.
        candidates: in the order in which they came.
        standings: of each candidate, by choice.
        kept: number of a candidate -> its predictions, if it is the best of its family in any choice.
    """

    choices: Sequence[ChosenOn]
    candidates: list[Candidate] = field(default_factory=list)
    standings: list[list[Standing]] = field(default_factory=list)
    kept: dict[int, Predictions] = field(default_factory=dict)

    def enter(self, candidate: Candidate, predictions: Predictions, *, middle: int) -> None:
        """Take in the next candidate; those of a family come one after the other.

        Args:
            candidate: what predicted.
            predictions: for every choice.
            middle: place in its family of the candidate that is taken where there is no image to tell.
        """
        away = abs(sum(each.family == candidate.family for each in self.candidates) - middle)
        self.kept[len(self.candidates)] = predictions
        self.candidates.append(candidate)
        self.standings.append(
            in_threads(
                lambda choice: stand(logits_for(predictions, choice, self.choices), self.choices[choice], away=away),
                range(len(self.choices)),
            )
        )
        winners = {number for choice in range(len(self.choices)) for number in self.best(choice)}
        for beaten in self.kept.keys() - winners:
            del self.kept[beaten]

    def best(self, choice: int) -> list[int]:
        """Of each family the candidate with the lowest loss, in the order of the families."""
        best: dict[object, int] = {}
        for number, candidate in enumerate(self.candidates):
            known = best.setdefault(candidate.family, number)
            if self.standings[number][choice].loss < self.standings[known][choice].loss:
                best[candidate.family] = number
        return [*best.values()]

    def choose(self, choice: int) -> list[Member]:
        """The blend of the families' best with the lowest log-loss on a choice's images; at least one member.

        Members with next to no share, and heads that know no more than a guess, are left out.
        """
        best, on = self.best(choice), self.choices[choice]
        if not len(on.labels):  # nothing tells the families apart
            return [Member(best[0], 1.0, 1.0)]
        temperatures = {number: self.standings[number][choice].temperature for number in best}
        losses = {number: self.standings[number][choice].loss for number in best}
        ranked = sorted(best, key=losses.__getitem__)
        logits = {number: logits_for(self.kept[number], choice, self.choices) for number in best}
        # what knows no more than a guess could stay in a blend, at a temperature that makes it say nothing
        guess = np.log(logits[best[0]].shape[1])
        kept = [number for number in ranked if losses[number] < KNOWING * guess] or ranked[:1]
        while True:
            alone = np.array([temperatures[number] for number in kept])
            weights = fit_stack([logits[number] for number in kept], on.labels, on.weight, temperatures=alone)
            shares = weights * alone
            shares /= shares.sum()
            enough = shares >= min(SMALL, shares.max())
            if enough.all():
                return [Member(*each) for each in zip(kept, weights.tolist(), shares.tolist(), strict=True)]
            kept = [number for number, stays in zip(kept, enough, strict=True) if stays]


def logits_for(predictions: Predictions, choice: int, choices: Sequence[ChosenOn]) -> Floats:
    """`(n, C)` of a choice's images, by fits that saw neither them nor what the choice is for."""
    return predictions.oof[choices[choice].images] if choice == len(choices) - 1 else predictions.inner[choice]


def stand(logits: Floats, on: ChosenOn, *, away: int = 0) -> Standing:
    """What `(n, C)` logits are worth; `away` stands for the loss where there are no images."""
    if not len(on.labels):
        return Standing(1.0, float(away), float("nan"))
    temperature = fit_temperature(logits, on.labels, on.weight, unknown=1.0)
    chances = apply_temperature(logits, temperature)
    loss, accuracy = (measure(chances, on.labels, on.weight) for measure in (metrics.log_loss, metrics.accuracy))
    return Standing(temperature, loss, accuracy)


def calibrated(logits: Floats, labels: Ints, weight: Doubles) -> Doubles:
    """`(n, C)` probabilities at the temperature that suits these images; with none of them, none."""
    return apply_temperature(logits, fit_temperature(logits, labels, weight, unknown=1.0))


def predict_blend(members: Sequence[Member], logits: Sequence[npt.NDArray[np.floating]]) -> Doubles:
    """`(n, C)` probabilities of a blend of `(n, C)` logarithms of its members, in their order."""
    return blend(np.stack([*logits]), np.array([member.weight for member in members]))


def images_that_choose(task: Task) -> npt.NDArray[np.bool_]:
    """`(N,)` which images choices are made on: all, or where they and their classes are many a sample.

    A handful of temperatures and weights needs no more, and choosing takes no longer for more images. The sample is
    drawn from the seed and the contents, whatever the order of the images.
    """
    count, most = len(task.labels), max(FEWEST, CHOSEN_ON // task.classes)
    seen = np.ones(count, dtype=bool)
    if count > most:
        keys = [cluster_key(code, task.options.seed) for code in task.hashes]
        seen[sorted(range(count), key=keys.__getitem__)[most:]] = False
    return seen


def choices_of(task: Task, nested: NestedFolds, seen: npt.NDArray[np.bool_]) -> list[ChosenOn]:
    """Those of the folds, and the final one: on scored images among those that choices are made on, `(N,)`."""
    images = [*nested.chosen_on, np.flatnonzero(task.scored & seen)]
    return [ChosenOn(each, task.labels[each], task.weights(each)) for each in images]
