"""What an extraction did: the report, for scripts and for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from frozenprobe.cache.care.repair import damaged_files
from frozenprobe.extract.compute.embedder import Fidelity
from frozenprobe.extract.compute.loader import Seconds


@dataclass
class ExtractReport:
    """What an extraction did.

    Attributes:
        path: the feature file.
        images: training and test images in it.
        computed: views that went through the backbone.
        reused: views that were there already.
        skipped: bad images, as id and reason.
        seconds: where the time went, summed over workers.
        fidelity: how far the features are from float32 in eager torch; None where that is what they are.
        compute: engine, dtype, batch size and workers, for a person.
        elapsed: seconds from start to end.
        written: whether the file changed; False: nothing was left to do, or other ranks have not done their part.
        rank: which rank of how many did it; empty for a process that is alone.
        waiting: rows that other ranks have still to compute.
    """

    path: Path
    images: int = 0
    computed: int = 0
    reused: int = 0
    skipped: list[str] = field(default_factory=list)
    seconds: Seconds = field(default_factory=Seconds)
    fidelity: Fidelity | None = None
    compute: str = ""
    elapsed: float = 0.0
    written: bool = False
    rank: str = ""
    waiting: int = 0


def render_report(report: ExtractReport) -> str:
    """What an extraction did, for a person."""
    lines = [f"features {report.path}"]
    leftovers = [f"{path}, which repair put aside, is no longer needed" for path in damaged_files(report.path)]
    if report.skipped:
        lines.append(f"bad images, skipped: {len(report.skipped)}")
        lines += [f"  {text}" for text in report.skipped]
    if report.rank and not report.written and (report.computed or report.waiting):
        lines.append(f"{report.rank} is done: {report.computed} views computed, in {report.elapsed:.1f} s")
        lines.append(
            f"{report.waiting} rows are missing: of ranks that still compute (the last one finishes the file), or that "
            "were stopped (then the same command goes on, with any number of ranks)"
            if report.waiting
            else "another rank has finished the file"
        )
        return "\n".join(lines)
    if not report.written:
        done = f"nothing left to do: all {report.reused} views of {report.images} images are there"
        return "\n".join([*lines, f"{done} (frozenprobe verify reads them)", *leftovers])
    spent = report.seconds
    lines.append(
        (f"finished by {report.rank}; " if report.rank else "")
        + f"{report.images} images: {report.computed} views computed, {report.reused} reused, in {report.elapsed:.1f} s"
        + (f" ({report.computed / report.elapsed:.1f} views/s)" if report.computed else "")
    )
    if report.compute:
        lines.append(f"computed by {report.compute}")
    if report.fidelity is not None:
        near = report.fidelity
        lines.append(
            f"against float32 in torch, {near.rows} views: cosine {near.cosine:.6f} or more, "
            f"difference {near.difference:.1e} of the largest feature or less"
        )
    lines.append(
        f"seconds, summed over workers, in decoding {spent.decoding:.1f}, views {spent.views:.1f}, "
        f"backbone {spent.backbone:.1f}, writing {spent.writing:.1f}"
    )
    return "\n".join([*lines, *leftovers])
