"""A curve as a table to read, with its verdict in words, and as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from frozenprobe.cache.store import Features
from frozenprobe.probe.curves.curve import Curve, size_text
from frozenprobe.probe.curves.points import Point
from frozenprobe.probe.curves.verdict import Enough, Extrapolation, NoExtrapolation, enough_views, extrapolate
from frozenprobe.probe.heads.registry import HEADS
from frozenprobe.probe.stats.intervals import Interval

BAR = 39  # characters


def curve_facts(curve: Curve) -> dict[str, Any]:
    """All numbers of a curve as JSON-ready values."""
    return {
        "kind": curve.kind,
        "unit": curve.unit,
        "options": asdict(curve.options),
        "images": curve.resampled.images,
        "points": [asdict(point) for point in curve.points],
        ("enough" if curve.kind == "views" else "forecast"): asdict(read_curve(curve)),
        "verdict": render_verdict(curve),
        "notes": list(curve.notes),
    }


def read_curve(curve: Curve) -> Enough | Extrapolation | NoExtrapolation:
    """What the curve says."""
    return enough_views(curve) if curve.kind == "views" else extrapolate(curve)


def curve_title(curve: Curve, features: Features) -> str:
    """What was measured, in two lines."""
    options = curve.options
    fixed = " beside " + " and ".join(options.test_views or features.test_views)
    beside = "" if options.head in HEADS and HEADS[options.head].augmented_only else fixed
    views = len(features.augmented_views) if options.views is None else options.views
    used = "the augmented views" if curve.kind == "views" else f"{views} augmented views"
    tap = f", tap {options.tap}" if len(features.taps) > 1 else ""
    return (
        f"{options.describe()}\n"
        f"backbone {features.spec.backbone}{tap}, recipe {features.spec.recipe}: {used}{beside}; "
        f"{curve.resampled.images} images, {len(features.class_names)} classes"
    )


def render_curve(curve: Curve) -> str:
    """The table a person reads: a line a point, its interval drawn beside it; then the verdict and the notes."""
    last = curve.points[-1]
    low = min(point.interval[0] for point in curve.points)
    high = max(point.interval[1] for point in curve.points)
    against = f"against {size_text(last.at)}, paired"
    scale = f"{low:.0%}".ljust(BAR - 4) + f"{high:.0%}".rjust(4)
    lines = [f"{curve.unit:>15}  accuracy  95 % interval   {against:<26}  {scale}"]
    for point in curve.points:
        difference = "" if point is last else f"{signed(point.difference)} {signed_interval(point.difference_interval)}"
        interval = f"{point.interval[0]:.1%} to {point.interval[1]:.1%}"
        lines.append(
            f"{size_text(point.at):>15}  {point.accuracy:>8.1%}  {interval:<14}"
            f"  {difference:<26}  {draw_interval(point, low, high)}".rstrip()
        )
    lines += ["", render_verdict(curve)]
    stopped = [size_text(point.at) for point in curve.points if point.unconverged]
    if stopped:
        remedy = "raise --tol, or --max-iter if all were used"
        lines.append(f"NOT CONVERGED at {', '.join(stopped)}: not this head's accuracy; {remedy}")
    return "\n".join(lines + [f"note: {note}" for note in curve.notes])


def draw_interval(point: Point, low: float, high: float) -> str:
    """An interval and its middle on a line from `low` to `high`: `   ---o---`."""

    def place(value: float) -> int:
        return round((value - low) / ((high - low) or 1) * (BAR - 1))

    first, last = (place(value) for value in point.interval)
    middle = place(point.accuracy)
    return " " * first + "".join("o" if column == middle else "-" for column in range(first, last + 1))


def render_verdict(curve: Curve) -> str:
    """What the curve says, in words that claim no more than was measured."""
    found = read_curve(curve)
    return render_enough(found) if isinstance(found, Enough) else render_extrapolation(found, curve.unit)


def render_enough(found: Enough) -> str:
    """How many views are enough."""
    plural = "view is" if found.views == 1 else "views are"
    gap = f"{signed(found.deficit)} points, 95 % interval {signed_interval(found.deficit_interval)[1:-1]}"
    unseen = f"as far as these images tell: no difference shown to {found.best}, the best here ({gap})"
    if found.views == found.best == 0:
        return "no augmented views are needed: no number of them has a higher accuracy"
    if found.views == 0:
        return f"no augmented views are needed, {unseen}"
    if found.views == found.best:
        return f"{found.views} augmented {plural} best here, and the next smaller number is shown to be worse"
    return f"{found.views} augmented {plural} enough, {unseen}"


def render_extrapolation(found: Extrapolation | NoExtrapolation, unit: str) -> str:
    """What twice the photos would give."""
    if isinstance(found, NoExtrapolation):
        return f"no extrapolation to twice the photos: {found.reason}"
    tried = "which the smaller sizes foretold"
    if found.widened > 1:
        tried = f"which the smaller sizes did not foretell: the interval is {found.widened:.1f} times as wide for it"
    sizes = f"{size_text(2 * found.at)} in place of {size_text(found.at)} {unit} to train on"
    return (
        f"twice the photos ({sizes}) would give about "
        f"{signed(found.gain)} points (95 % interval {signed_interval(found.interval)[1:-1]})\n"
        f"extrapolated, not measured: by the rise from {size_text(found.since)} to {size_text(found.at)}, {tried}"
    )


def signed(share: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * share + 0.0:+.1f}"


def signed_interval(interval: Interval) -> str:
    """An interval of such a difference, in brackets."""
    return f"({signed(interval[0])} to {signed(interval[1])})"
