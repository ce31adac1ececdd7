"""A curve as a picture: accuracies with their intervals, and what is extrapolated set apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from frozenprobe.cache.store import Features, opened
from frozenprobe.probe.curves.curve import Curve, size_text
from frozenprobe.probe.curves.points import Point
from frozenprobe.probe.curves.verdict import Extrapolation, extrapolate
from frozenprobe.system.atomic_files import publish_bytes
from frozenprobe.system.files import StrPath

SIZE = (7.0, 4.5)  # inches
DPI = 150
INK, FAINT = "#1b4f72", "#8a8a8a"


def save_plot(curve: Curve, features: Features | StrPath, path: StrPath) -> None:
    """Draw a curve into a PNG of 1050 x 675 pixels; its feature file is named in it."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and asks for a display

    (source,) = opened(features)
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    found = extrapolate(curve) if curve.kind == "labels" else None
    draw_points(axes, curve)
    if isinstance(found, Extrapolation):
        draw_extrapolation(axes, curve.points[-1], found)
    set_axes(axes, curve, twice=isinstance(found, Extrapolation))
    axes.set_title("Out-of-fold accuracy by " + curve.unit, loc="left", fontsize=13, pad=24)
    origin = f"{source.spec.backbone}, recipe {source.spec.recipe}, head {curve.options.head}"
    counts = f"{curve.resampled.images} images, {len(source.class_names)} classes"
    above: dict[str, Any] = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    axes.annotate(f"{origin}; {counts}; bars: 95 % intervals", **above, fontsize=9, color=FAINT)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    publish_bytes(Path(path), content.getvalue())


def draw_points(axes: Any, curve: Curve) -> None:
    """The measured points with their intervals and numbers."""
    at = np.array([point.at for point in curve.points])
    percent = np.array([100 * point.accuracy for point in curve.points])
    ends = 100 * np.array([point.interval for point in curve.points]).T
    spread = np.maximum(np.abs(ends - percent), 0)
    axes.errorbar(at, percent, yerr=spread, fmt="o-", color=INK, lw=1.2, elinewidth=1.6, ms=6)
    for x, y, rise in zip(at, percent, np.diff(percent, append=100), strict=True):
        aside = (7, 5 if rise < 0 else -12)  # where the line does not go
        axes.annotate(f"{y:.1f}", (x, y), xytext=aside, textcoords="offset points", fontsize=9, color=INK)


def draw_extrapolation(axes: Any, last: Point, found: Extrapolation) -> None:
    """The extrapolated point, joined to the last measured one: dashed and hollow."""
    start = 100 * last.accuracy
    lower, end, upper = (min(start + 100 * share, 100) for share in (found.interval[0], found.gain, found.interval[1]))
    axes.plot([last.at, 2 * last.at], [start, end], "--", color=FAINT, lw=1.2, zorder=1)
    spread = [[max(end - lower, 0)], [max(upper - end, 0)]]
    axes.errorbar(2 * last.at, end, yerr=spread, fmt="o", color=FAINT, mfc="white", elinewidth=1.6, ms=6)
    text = f"extrapolated\n{100 * found.gain:+.1f} points"
    place = {"xytext": (0, -40), "textcoords": "offset points", "ha": "center"}
    axes.annotate(text, (2 * last.at, 100 * (last.accuracy + found.interval[0])), **place, fontsize=9, color=FAINT)


def set_axes(axes: Any, curve: Curve, *, twice: bool) -> None:
    """Logarithmic numbers along the bottom, 0 one step left of 1; faint lines, no box."""
    ticks = [point.at for point in curve.points] + [2 * curve.points[-1].at] * twice
    if ticks[0] == 0:
        axes.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)
    else:
        axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [size_text(tick) for tick in ticks])
    axes.minorticks_off()
    axes.margins(x=0.1)
    axes.set_xlabel(curve.unit + " to train on")
    axes.set_ylabel("accuracy, %")
    axes.grid(axis="y", color="#e5e5e5", lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
