"""What `--head auto` tries, within a budget of work that is counted, not timed: the same on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frozenprobe.probe.fit.candidate import Candidate
from frozenprobe.probe.heads.registry import Sizes, find_head, trial_groups
from frozenprobe.probe.inputs import Inputs

RATE = 5e10  # floating-point operations a second: two slow cores


@dataclass(frozen=True)
class Portfolio:
    """What is tried.

    Attributes:
        candidates: families next to each other.
        skipped: families that did not fit into the budget, or cannot take so many images, in words.
    """

    candidates: list[Candidate]
    skipped: list[str]


def make_portfolio(
    sources: Sequence[Inputs],
    *,
    classes: int,
    fits: int,
    seconds: float,
    scale: str | None = None,
    aggregate: str | None = None,
) -> Portfolio:
    """Choose what is tried.

    Args:
        sources: of features.
        classes: C.
        fits: of each candidate.
        seconds: the budget, on two slow cores.
        scale: only this scaling; None: those of the groups.
        aggregate: only this way to treat views; None: those of the groups.
    """
    families: dict[object, list[Candidate]] = {}
    skipped: dict[str, str] = {}
    spent = 0.0
    for head, group in trial_groups():
        for number, source in enumerate(sources):
            images, views, dim = source.train.shape
            how = aggregate or ("rows" if views == 1 else group.aggregate)  # with one view all ways are the same
            trial = find_head(head).trial_settings
            candidates = [Candidate(head, scale or group.scale, how, dict(one), number, trial) for one in group.grid]
            known = families.get(candidates[0].family, [])
            new = [candidate for candidate in candidates if candidate not in known]
            if not new:
                continue
            entry, name = find_head(head), ("more of " if known else "") + candidates[0].describe_family(sources)
            if entry.most_images is not None and images > entry.most_images:  # the last fit is on all of them
                skipped[name] = f"takes at most {entry.most_images} images"
                continue
            rows_an_image = 1 if how in ("mean", "clean") else views
            sizes = Sizes(fits, len(new), images, rows_an_image, dim, classes)
            cost = entry.cost(sizes) / RATE
            if spent + cost > seconds and families:
                skipped[name] = f"about {cost:.1f} s"
                continue
            spent += cost
            families[candidates[0].family] = known + new
    return Portfolio(
        [candidate for members in families.values() for candidate in members],
        [f"{name} ({reason})" for name, reason in skipped.items()],
    )
