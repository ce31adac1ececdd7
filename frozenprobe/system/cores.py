"""How many cores this process may use: containers and job schedulers leave it fewer than the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

from frozenprobe.system.cgroups import ROOT, own_groups
from frozenprobe.system.files import system_text


def available_cores(root: Path = ROOT) -> int:
    """Cores that the affinity and the control groups of this process leave it; a part of one counts as one.

    Args:
        root: where `proc` and `sys` lie.
    """
    quotas = [quota(group) for group in own_groups("cpu", root)]
    return max(1, min([schedulable_cores(), *(math.ceil(each) for each in quotas if each is not None)]))


def schedulable_cores() -> int:
    """Cores that the process may be put on, where the system tells (not on macOS and Windows), else all there are."""
    if hasattr(os, "process_cpu_count"):  # from Python 3.13 on
        return int(os.process_cpu_count() or 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(group: Path) -> float | None:
    """Cores' worth of time that a control group allows; None: it sets no limit."""
    allowed, _, period = system_text(group / "cpu.max").partition(" ")  # version 2: `max 100000`, `150000 100000`
    if not period:
        allowed, period = (system_text(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if not (allowed.isdecimal() and period.isdecimal() and int(period)):  # `max`, or -1 in version 1
        return None
    return int(allowed) / int(period)
