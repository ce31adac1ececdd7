"""Many candidates -> a blend chosen inside the training folds, and its score on images that chose nothing.

For every fold k each candidate is fitted without it (its answers for k are *out of fold*) and, for pairs of folds,
without k and j: its answers for j are what fold k's choice is made on, for neither the fits nor the choice saw an image
of k. A fit without {j, k} serves both. The final choice is made on the out-of-fold answers of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from frozenprobe.probe.calibration import apply_temperature, fit_temperature
from frozenprobe.probe.heads import Convergence, Ints, make_head
from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.metrics import log_loss
from frozenprobe.probe.options import ProbeOptions, Setting
from frozenprobe.probe.scaling import Doubles, Floats
from frozenprobe.probe.stacking import blend, fit_stack
from frozenprobe.probe.training import LEAST, FittedProbe, Trainer

SMALL = 0.01  # a member whose weight is less of the whole is left out


@dataclass(frozen=True)
class Candidate:
    """A head with everything that is to be decided about it.

    Attributes:
        head: a name of `HEADS`.
        scale: a name of `SCALES`.
        aggregate: a name of `AGGREGATES`.
        settings: hyper-parameters.
        source: which of the sources.
        trial: hyper-parameters of the fits that choose, but not of the final one (a looser tolerance).
    """

    head: str
    scale: str
    aggregate: str
    settings: dict[str, Setting] = field(default_factory=dict)
    source: int = 0
    trial: dict[str, Setting] = field(default_factory=dict)

    @property
    def family(self) -> tuple[int, str, str, str]:
        """Candidates of a family differ in hyper-parameters only."""
        return self.source, self.aggregate, self.scale, self.head

    def says(self, sources: Sequence[Inputs]) -> str:
        """What it is, for tables."""
        settings = "".join(f", {name} = {value}" for name, value in self.settings.items())
        source = sources[self.source].name
        more = [self.aggregate, *([self.scale] if self.scale != "global" else []), *([source] if source else [])]
        return f"{self.head}{settings} ({', '.join(more)})"

    def final(self) -> Candidate:
        """As it is fitted in the end."""
        return replace(self, trial={})


@dataclass(frozen=True)
class Answers:
    """Logarithms of a candidate's probabilities.

    Attributes:
        oof: `(N, C)` by fits without the image's fold.
        inner: for each fold k `(n, C)` answers to the images `Plan.chosen_on[k]` by fits without their folds and k.
        convergence: of the fits behind `oof`, by fold.
    """

    oof: Floats
    inner: list[Floats]
    convergence: list[Convergence]


@dataclass(frozen=True)
class Plan:
    """Which folds are held out together.

    Attributes:
        folds: `(N,)` fold of each image.
        pairs: held out together.
        chosen_on: for each fold the images that its choice is made on: those of the folds it is paired with.
    """

    folds: Ints
    pairs: list[tuple[int, int]]
    chosen_on: list[Ints]

    @staticmethod
    def of(folds: Ints, labels: Ints) -> Plan:
        """Each fold with its two neighbours: all pairs would be twice the fits at 5 folds, for the same final choice.

        Images of a class that the fit behind their inner answer did not see choose nothing.
        """
        count = int(folds.max()) + 1
        pairs = sorted({(min(k, (k + 1) % count), max(k, (k + 1) % count)) for k in range(count)})
        chosen_on: list[Ints] = []
        for k in range(count):
            images: list[Ints] = []
            for j in sorted({fold for pair in pairs if k in pair for fold in pair} - {k}):
                seen = np.unique(labels[~np.isin(folds, (j, k))])
                images.append(np.flatnonzero((folds == j) & np.isin(labels, seen)))
            chosen_on.append(np.sort(np.concatenate(images)))
        return Plan(folds, pairs, chosen_on)

    @property
    def held_out(self) -> list[tuple[int, ...]]:
        """Every set of folds that a fit goes without."""
        return [*((k,) for k in range(len(self.chosen_on))), *self.pairs]


@dataclass(frozen=True)
class Member:
    """A candidate with its weight in a blend of logarithms."""

    number: int
    weight: float


def answer_all(
    candidates: Sequence[Candidate],
    sources: Sequence[Inputs],
    labels: Ints,
    plan: Plan,
    *,
    options: ProbeOptions,
    total: int,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Answers]:
    """Fit every candidate without each fold and each pair, and ask it about what it did not see.

    Args:
        candidates: those of a family next to each other.
        sources: of their features.
        labels: `(N,)`.
        plan: which folds are held out together.
        options: class weight and seed.
        total: C.
        progress: called with (candidates done, all).
    """
    answers: list[Answers] = []
    for family, members in groupby(candidates, key=lambda candidate: candidate.family):
        group = list(members)
        source, aggregate, _, _ = family
        inputs = sources[source].aggregated(aggregate)
        trainer = trainer_of(group[0], inputs, labels, options=options, total=total)
        subsets = [np.flatnonzero(~np.isin(plan.folds, held)) for held in plan.held_out]
        heads = [make_head(candidate.head, candidate.settings | candidate.trial) for candidate in group]
        for fitted in trainer.fit_grid(heads, subsets):
            answers.append(ask(fitted, inputs.shown, plan, total))
        progress(len(answers), len(candidates))
    return answers


def trainer_of(candidate: Candidate, inputs: Inputs, labels: Ints, *, options: ProbeOptions, total: int) -> Trainer:
    """What fits this candidate; `inputs` are already aggregated."""
    return Trainer(
        make_head(candidate.head, candidate.settings | candidate.trial),
        inputs.train,
        labels,
        scale=candidate.scale,
        class_weight=options.class_weight,
        seed=options.seed,
        total=total,
        geometric=candidate.aggregate == "logit",
    )


def ask(fitted: Sequence[FittedProbe], shown: Floats, plan: Plan, total: int) -> Answers:
    """The answers of one candidate's fits, in the order of `plan.held_out`, to the images they did not see."""
    oof = np.zeros((len(shown), total), dtype=np.float32)
    inner = [np.zeros((len(images), total), dtype=np.float32) for images in plan.chosen_on]
    for held, probe in zip(plan.held_out, fitted, strict=True):
        for fold in held:
            images = np.flatnonzero(plan.folds == fold)
            logits = logits_of(probe.predict(shown[images]))
            if len(held) == 1:
                oof[images] = logits
            else:
                (other,) = set(held) - {fold}
                wanted = np.isin(images, plan.chosen_on[other])
                inner[other][np.searchsorted(plan.chosen_on[other], images[wanted])] = logits[wanted]
    return Answers(oof, inner, [probe.head.convergence for probe in fitted[: len(plan.chosen_on)]])


def logits_of(probabilities: Doubles) -> Floats:
    """Logarithms of probabilities, which heads may have let fall to 0."""
    return np.log(np.maximum(probabilities, LEAST)).astype(np.float32)


def choose(candidates: Sequence[Candidate], logits: Sequence[Floats], labels: Ints) -> list[Member]:
    """The blend with the lowest log-loss on these answers: the best of each family, weighted; at least one member.

    Args:
        candidates: what answered.
        logits: for each `(n, C)`.
        labels: `(n,)`.
    """
    if not len(labels):
        return [Member(0, 1.0)]
    losses = [log_loss(calibrated(each, labels), labels) for each in logits]
    best: dict[object, int] = {}
    for number, candidate in enumerate(candidates):
        known = best.setdefault(candidate.family, number)
        if losses[number] < losses[known]:
            best[candidate.family] = number
    kept = sorted(best.values(), key=lambda number: losses[number])
    weights = fit_stack(np.stack([logits[number] for number in kept]), labels)
    large = weights >= SMALL * weights.sum()
    if not large.all():
        kept = [number for number, keep in zip(kept, large, strict=True) if keep]
        weights = fit_stack(np.stack([logits[number] for number in kept]), labels)
    return [Member(number, float(weight)) for number, weight in zip(kept, weights, strict=True)]


def calibrated(logits: Floats, labels: Ints) -> Doubles:
    """The probabilities at the temperature that suits these labels best: what blending can make of a candidate."""
    return apply_temperature(logits, fit_temperature(logits, labels, unknown=1.0))


def answer_blend(members: Sequence[Member], logits: Sequence[npt.NDArray[np.floating]]) -> Doubles:
    """`(n, C)` probabilities of a blend of `(n, C)` logarithms of its members, in their order."""
    return blend(np.stack([*logits]), np.array([member.weight for member in members]))
