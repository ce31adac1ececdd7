"""What `--head auto` tries, within a budget of work that is counted, not timed: the same answer on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from frozenprobe.probe.inputs import Inputs
from frozenprobe.probe.options import Setting
from frozenprobe.probe.select.nested import Candidate

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
    families: dict[object, list[Candidate]] = {}
    skipped: dict[str, float] = {}
    spent = 0.0
    for group in GROUPS:
        for number, source in enumerate(sources):
            images, views, dim = source.train.shape
            how = aggregate or ("rows" if views == 1 else group.aggregate)  # with one view all ways are the same
            wanted = replace(group, scale=scale or group.scale, aggregate=how)
            candidates = candidates_of(wanted, number)
            known = families.get(candidates[0].family, [])
            new = [candidate for candidate in candidates if candidate not in known]
            if not new:
                continue
            rows = (images, 1 if how in ("mean", "clean") else views, dim)
            cost = work(group.head, len(new), rows, classes=classes, fits=fits) / RATE
            if spent + cost > seconds and families:
                skipped[("more of " if known else "") + candidates[0].describe_family(sources)] = cost
                continue
            spent += cost
            families[candidates[0].family] = known + new
    return Portfolio(
        [candidate for members in families.values() for candidate in members],
        [f"{name} (about {cost:.1f} s)" for name, cost in skipped.items()],
    )


def candidates_of(group: Group, source: int) -> list[Candidate]:
    """The members of a group on one source."""
    trial: dict[str, Setting] = {"tol": TRIAL_TOL} if group.head == "logreg" else {}
    return [Candidate(group.head, group.scale, group.aggregate, dict(one), source, trial) for one in group.grid]


def work(head: str, values: int, shape: tuple[int, int, int], *, classes: int, fits: int) -> float:
    """Floating-point operations of all fits of some candidates of a family, roughly.

    Args:
        head: a name of `HEADS`.
        values: how many candidates.
        shape: images, views that make rows, and dimension.
        classes: C.
        fits: how often each candidate is fitted.
    """
    images, views, dim = shape
    rows = images * views
    if head in ("lda", "ridge"):  # the moments once; then a decomposition a fit
        return 2.0 * rows * dim**2 + fits * (6.0 * dim**3 + values * 4.0 * dim**2 * classes)
    if head == "logreg":  # evaluations on all rows, and products on mean views
        return fits * values * 4.0 * dim * classes * (4.0 * rows + 12.0 * images)
    if head == "kernel":
        return fits * (12.0 * images**3 + 4.0 * images**2 * dim)
    return fits * values * 4.0 * rows * images * dim / 5
