"""Features that a head can learn nothing from, told before it is fitted: it would end at chance without a word."""

from __future__ import annotations

import numpy as np

from frozenprobe.errors import FrozenprobeError
from frozenprobe.probe.arrays import Doubles, Floats
from frozenprobe.probe.heads.parts.scaling import LEAST, mean_and_variance, takes_unit_rows
from frozenprobe.probe.heads.registry import find_head
from frozenprobe.probe.inputs import aggregate_views

LOOKED_AT = 100  # images that mostly tell
MOST_SPREAD = 1e12  # typical distance of rows from their mean that the heads, in float32, can do with


def find_fault(
    vectors: Floats, *, head: str, scale: str, aggregate: str = "rows", file: object
) -> FrozenprobeError | None:
    """What is wrong with the features of all training images, for this head and scaling; None: nothing.

    A single fold is not asked about: of a part whose features happen to be equal a head learns the classes' shares.

    Args:
        vectors: `(N, views, D)`.
        head: a name of `HEADS`.
        scale: a name of `SCALES`.
        aggregate: a name of `AGGREGATES`.
        file: what to call the features.
    """
    seen = "l2" if scale == "none" and find_head(head).directions else scale
    for step in (1 + len(vectors) // LOOKED_AT, 1):  # all are looked at only where some do not differ
        rows = aggregate_views(vectors[::step], "clean" if aggregate == "clean" else "mean")[:, 0]
        fault = judge_rows(rows, head=head, scale=seen, file=file)
        if fault is None:
            return None
    return judge_rows(rows, head=head, scale="standard", file=file) or fault  # all equal, or in direction alone?


def judge_rows(rows: Floats, *, head: str, scale: str, file: object) -> FrozenprobeError | None:
    """What is wrong with `(n, D)` rows."""
    variance = mean_and_variance(scale, rows, np.ones(len(rows)))[1]
    return judge_spread(variance, head=head, scale=scale, file=file)


def judge_spread(variance: Doubles, *, head: str, scale: str, file: object) -> FrozenprobeError | None:
    """The same from their `(D,)` variance, after L2-normalising if the scaling does so."""
    unit, size = takes_unit_rows(scale, len(variance)), float(np.sqrt(variance.sum()))
    where = f"{file} (--head {head}, {len(variance)} feature(s))"
    if size <= (0.0 if unit else LEAST):
        other = "lda" if find_head(head).directions else head
        lengths = f"--head {other} --scale standard   learns from their lengths, if those differ; else "
        return FrozenprobeError(
            "Features that differ between training images",
            found="the same direction for all of them" if unit else "the same features for all of them",
            where=where,
            remedy=(lengths if unit else "")
            + "look whether the images differ, and extract them with another --backbone or --tap",
        )
    least = find_head(head).least_spread
    if scale == "none" and not least < size < MOST_SPREAD:
        return FrozenprobeError(
            f"Features that lie {least:g} to {MOST_SPREAD:g} from their mean, where nothing scales them",
            found=f"{size:.1e}",
            where=where,
            remedy="--scale standard   takes features of any size",
        )
    return None
