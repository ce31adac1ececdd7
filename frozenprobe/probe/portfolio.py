"""What `--head auto` tries, within a budget of work that is counted, not timed: the same answer on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.nested import Candidate
from frozenprobe.probe.options import Setting

RATE = 5e10  # floating-point operations a second: two slow cores

TRIAL_TOL = 1e-4  # of the logistic regressions that choose; the final one goes to the solver's own
SHRINKAGES = (0.05, 0.2, 0.5, 0.8)
ALPHAS = (0.005, 0.05, 0.3, 2.0)
CS = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Group:
    """Candidates of one family.

    Attributes:
        head: a name of `HEADS`.
        scale: a name of `SCALES`.
        aggregate: a name of `AGGREGATES`.
        grid: hyper-parameters of each.
    """

    head: str
    scale: str
    aggregate: str
    grid: tuple[dict[str, Setting], ...] = ({},)


def grid_of(name: str, values: Sequence[float], **more: Setting) -> tuple[dict[str, Setting], ...]:
    """One dictionary a value."""
    return tuple({name: value, **more} for value in values)


LDA, RIDGE = grid_of("shrinkage", SHRINKAGES), grid_of("alpha", ALPHAS)

# In the order in which they are added as long as the budget lasts.
GROUPS = (
    Group("lda", "global", "rows", LDA),
    Group("ridge", "global", "rows", RIDGE),
    Group("cosine", "global", "mean"),
    Group("knn", "global", "mean"),
    Group("logreg", "global", "rows", ({"c": 1.0},)),
    Group("lda", "global", "mean", LDA),
    Group("kernel", "global", "mean", ({"kernel": "arccos"},)),
    Group("lda", "global", "clean", LDA),
    Group("lda", "standard", "rows", LDA),
    Group("logreg", "global", "mean", grid_of("c", CS)),
    Group("logreg", "global", "clean", grid_of("c", CS)),
)


@dataclass(frozen=True)
class Portfolio:
    """What is tried.

    Attributes:
        candidates: families next to each other.
        skipped: families that did not fit into the budget, in words.
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
        scale: only this scaling; None: those of `GROUPS`.
        aggregate: only this way to treat views; None: those of `GROUPS`.
    """
    kept: list[Candidate] = []
    skipped: list[str] = []
    spent = 0.0
    for group in narrowed(scale, aggregate):
        for number, source in enumerate(sources):
            if group.aggregate != "rows" and aggregate is None and source.train.shape[1] == 1:
                continue  # with one view all ways are the same
            inputs = source.train.shape
            views = 1 if group.aggregate in ("mean", "clean") else inputs[1]
            cost = work(group, (inputs[0], views, inputs[2]), classes, fits=fits) / RATE
            trial: dict[str, Setting] = {"tol": TRIAL_TOL} if group.head == "logreg" else {}
            members = [
                Candidate(group.head, group.scale, group.aggregate, dict(one), number, trial) for one in group.grid
            ]
            if spent + cost > seconds and kept:
                skipped.append(f"{members[0].says(sources)} (about {cost:.0f} s)")
                continue
            spent += cost
            kept += members
    return Portfolio(kept, skipped)


def narrowed(scale: str | None, aggregate: str | None) -> list[Group]:
    """The groups, with what was pinned in place of their own."""
    pinned = [replace(group, scale=scale or group.scale, aggregate=aggregate or group.aggregate) for group in GROUPS]
    return [group for number, group in enumerate(pinned) if group not in pinned[:number]]


def work(group: Group, shape: tuple[int, int, int], classes: int, *, fits: int) -> float:
    """Floating-point operations of all fits of a group, roughly.

    Args:
        group: of candidates.
        shape: images, views that make rows, and dimension.
        classes: C.
        fits: how often each candidate is fitted.
    """
    images, views, dim = shape
    rows, values = images * views, len(group.grid)
    if group.head in ("lda", "ridge"):  # the moments once; then a decomposition a fit
        return 2.0 * rows * dim**2 + fits * (6.0 * dim**3 + values * 4.0 * dim**2 * classes)
    if group.head == "logreg":  # evaluations on all rows, and products on mean views
        return fits * values * 4.0 * dim * classes * (4.0 * rows + 12.0 * images)
    if group.head == "kernel":
        return fits * (12.0 * images**3 + 4.0 * images**2 * dim)
    return fits * values * 4.0 * rows * images * dim / 5
