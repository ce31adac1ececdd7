"""What `--head auto` tries, within a budget of work that is counted, not timed: the same on any machine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.heads.registry import HeadEntry, Sizes, TrialGroup, find_head, trial_groups
from frozenprobe.probe.inputs import Inputs

RATE = 5e10  # operations a second: two slow cores
LEAST_BUDGET = 12.0  # seconds, unless they are typed
IMAGES_A_SECOND = 400  # of many images every so many add one to it: then time grows with them, and so does the choice
SURVIVORS = 3  # candidates of a family whose answers are kept, typically: see `Trials`


@dataclass(frozen=True)
class Portfolio:
    """What is tried.

    Attributes:
        candidates: families next to each other.
        skipped: families that did not fit into the budget or into memory, or cannot take so many images, in words.
        unfit: families that can learn nothing from the features, and why.
        seconds: that are counted, near duplicates among them.
    """

    candidates: list[Candidate]
    skipped: list[str]
    unfit: dict[str, FrozenprobeError] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Allowance:
    """What there is to be spent.

    Attributes:
        seconds: the budget, on two slow cores.
        spent: of them before any head is tried.
        memory: bytes that predictions may take.
    """

    seconds: float
    spent: float = 0.0
    memory: float = math.inf


def budget_of(images: int) -> float:
    """Seconds of work that `auto` may take unless they are typed."""
    return max(LEAST_BUDGET, images / IMAGES_A_SECOND)


def duplicates_cost(images: int, tested: int, dim: int) -> float:
    """Operations of the search for near duplicates: sketches of all pairs; a thousand images to find a threshold."""
    return images * (45.0 * images + 90.0 * tested + 2600.0 * dim)


def answers_cost(sizes: Sizes, chosen_on: int) -> float:
    """Operations of predicting, and of choosing on what is predicted of so many images; beside those of the fits.

    A choice of the folds looks at two of five parts of them: all choices together at three times as many.
    """
    predicting = sizes.values * sizes.asked * (50.0 * sizes.dim + 640.0 * sizes.classes)
    looked_at = 3.0 * chosen_on * sizes.classes
    return predicting + looked_at * (1700.0 * sizes.values + 1500.0)  # each candidate; the family's best in the blend


def make_portfolio(
    sources: Sequence[Inputs],
    *,
    classes: int,
    fits: int,
    allowance: Allowance,
    chosen_on: int,
    weighted: bool = False,
    scale: str | None = None,
    aggregate: str | None = None,
) -> Portfolio:
    """Choose what is tried.

    Args:
        sources: of features.
        classes: C.
        fits: of each candidate.
        allowance: what there is to be spent; the first family is tried whatever it costs.
        chosen_on: images that the final choice is made on.
        weighted: whether images weigh as their class.
        scale: only this scaling; None: those of the groups.
        aggregate: only this way to treat views; None: those of the groups.

    Raises:
        FrozenprobeError: features that no head can learn anything from.
    """
    families: dict[object, list[Candidate]] = {}
    unfit: dict[str, FrozenprobeError] = {}
    skipped: dict[str, str] = {}
    spent, filled = allowance.spent, 0.0
    for head, group in trial_groups():
        for number, source in enumerate(sources):
            candidates = candidates_of(head, group, number, source, scale=scale, aggregate=aggregate)
            known = families.get(candidates[0].family, [])
            new = [candidate for candidate in candidates if candidate not in known]
            if not new:
                continue
            fault = candidates[0].fault(sources)
            if fault:
                unfit[candidates[0].describe_family(sources)] = fault
                continue
            entry, name = find_head(head), ("more of " if known else "") + candidates[0].describe_family(sources)
            sizes = sizes_of(new, source, fits=fits, classes=classes, chosen_on=chosen_on, weighted=weighted)
            cost = (entry.cost(sizes) + answers_cost(sizes, chosen_on)) / RATE
            answers = 0.0 if known else 4.0 * SURVIVORS * classes * (sizes.images + 2 * chosen_on)
            reason = refusal(entry, sizes)
            if not reason and families and spent + cost > allowance.seconds:
                reason = f"about {cost:.1f} s"
            if not reason and families and filled + answers > allowance.memory:
                reason = f"{answers / 1e9:.1f} GB of predictions"
            if reason:
                skipped[name] = reason
                continue
            spent, filled = spent + cost, filled + answers
            families[candidates[0].family] = known + new
    if unfit and not families:
        raise next(iter(unfit.values()))
    return Portfolio(
        [candidate for members in families.values() for candidate in members],
        [f"{name} ({reason})" for name, reason in skipped.items()],
        unfit,
        spent,
    )


def candidates_of(
    head: str, group: TrialGroup, number: int, source: Inputs, *, scale: str | None, aggregate: str | None
) -> list[Candidate]:
    """Those of a group, on one source; with one view all ways to treat views are the same."""
    how = aggregate or ("rows" if source.train.shape[1] == 1 else group.aggregate)
    trial = find_head(head).trial_settings
    return [Candidate(head, scale or group.scale, how, dict(one), number, trial) for one in group.grid]


def sizes_of(
    candidates: Sequence[Candidate], source: Inputs, *, fits: int, classes: int, chosen_on: int, weighted: bool
) -> Sizes:
    """How much is to be fitted and predicted for candidates that differ in hyper-parameters only."""
    images, views, dim = source.train.shape
    one = candidates[0].aggregate in ("mean", "clean")
    asked = (images + 2 * chosen_on) * (1 if one else source.val.shape[1])
    return Sizes(fits, len(candidates), images, 1 if one else views, dim, classes, asked, weighted)


def refusal(entry: HeadEntry, sizes: Sizes) -> str:
    """Why a head cannot be fitted to all images; empty if it can."""
    most = entry.most_images
    return f"takes at most {most} images" if most is not None and sizes.images > most else ""
