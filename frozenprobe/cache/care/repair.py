"""A damaged feature file -> its whole rows, from which `extract` goes on; or the file anew, if only a copy was hit."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from frozenprobe.cache.container.hdf5 import Refused
from frozenprobe.cache.container.read import BLOCK_ROWS, SealedFile, Vectors, salvage
from frozenprobe.cache.container.seal import Damage
from frozenprobe.cache.contents import Split, environments_of
from frozenprobe.cache.damage import DamagedRows, damaged_rows, describe_damage, open_salvageable, whole_rows
from frozenprobe.cache.growing.finish import require_space
from frozenprobe.cache.growing.lock import writer_lock
from frozenprobe.cache.growing.pieces import environments_in, read_piece, write_piece
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.paths import followed, piece_files, pieces_folder, plan_path
from frozenprobe.cache.store import Features, open_plan, require_file, write_features, write_plan
from frozenprobe.system.atomic_files import require_writable, sync_folder
from frozenprobe.system.files import StrPath
from frozenprobe.system.progress import Progress

BLOCKS_A_PIECE = 8  # blocks of one view that become one piece: 1 MB at D = 1024 in float16


@dataclass
class RepairReport:
    """What a repair did.

    Attributes:
        path: the feature file.
        kept: rows that are whole.
        dropped: rows that were damaged, by view.
        rewritten: the file is whole again, without any loss.
        moved_to: where the damaged file lies now; None if it was not moved.
        pieces_dropped: damaged pieces beside it.
        problems: what was wrong.
    """

    path: Path
    kept: int = 0
    dropped: list[DamagedRows] = field(default_factory=list)
    rewritten: bool = False
    moved_to: Path | None = None
    pieces_dropped: int = 0
    problems: list[str] = field(default_factory=list)


def repair_features(path: StrPath, *, break_lock: bool = False, progress: Progress | None = None) -> RepairReport:
    """Keep what is whole of a damaged feature file, in a form that `extract` goes on from.

    Whole rows become pieces and the file's index becomes the plan; then the damaged file is moved to `<file>.damaged`.
    Where no row is damaged, only a copy of the metadata, the file is written anew.

    Args:
        path: the feature file, finished or being made.
        break_lock: repair even if another process holds the lock.
        progress: called with (stage, done, total).

    Raises:
        FeatureFileError: there is no such file, or nothing of it can be read.
        FileInUse: somebody is writing it.
        DiskFull: no space is left; the damaged file is as it was.
    """
    path = followed(Path(path))
    if not path.is_file() and not pieces_folder(path).is_dir():
        require_file(path)
    require_writable(path, "copy the file to a folder in which you may write, and repair it there")
    with writer_lock(path, break_lock=break_lock):
        report = RepairReport(path)
        if path.is_file():
            features, report.problems = open_salvageable(path)
            report.dropped = list(damaged_rows(features, progress))
            report.problems += map(describe_damage, report.dropped)
            lost = sum(len(damaged.rows) for damaged in report.dropped)
            report.kept = features.stored_rows - lost
            if report.dropped:
                take_apart(features, report)
            elif report.problems:
                rewrite(features, report)
            features.sealed.close()
        report.pieces_dropped = drop_damaged_pieces(path)
        if plan_path(path).is_file() and salvage(plan_path(path)) is None:
            report.problems.append("the plan beside it: type all options of the extract command again")
            plan_path(path).unlink()
    return report


def rewrite(features: Features, report: RepairReport) -> None:
    """Publish the file anew from its whole rows and its whole copy of the metadata."""

    def read_block(images: slice, split: Split, views: Sequence[str]) -> Vectors:
        name = "train" if split is features.train else "test"
        rows = np.arange(len(split))[images]
        return np.stack([features.read_rows(name, view, rows) for view in range(len(views))], axis=1)

    require_space(features.path, finished=features.path.stat().st_size)
    write_features(features.path, features, read_block)
    report.rewritten = True


def take_apart(features: Features, report: RepairReport) -> None:
    """Publish the whole rows as pieces and the index as the plan, then move the damaged file away."""
    path = features.path
    require_space(path, pieces=path.stat().st_size)
    begun = open_plan(path)
    plan = begun if begun is not None and begun.spec == features.spec else features  # what the file was growing to
    rows = RowStore(path, features)
    rows.origin = set(environments_of(features.about))
    dropped = {(damaged.split, damaged.view): list(damaged.rows) for damaged in report.dropped}
    for name, split, views in features.splits:
        hashes = np.array(split.hashes)
        for number, view in enumerate(views):
            good = split.usable.copy()
            good[dropped.get((name, view), [])] = False
            for start in range(0, len(split), BLOCKS_A_PIECE * BLOCK_ROWS):
                images = start + np.flatnonzero(good[start : start + BLOCKS_A_PIECE * BLOCK_ROWS])
                images = images[[(code, view) not in rows for code in hashes[images].tolist()]]
                if len(images):
                    vectors = features.read_rows(name, number, images)
                    rows.add(hashes[images].tolist(), [view] * len(images), vectors)
    rows.close()
    write_plan(path, replace(plan, taps=features.taps))
    report.moved_to = free_name(path)
    os.replace(path, report.moved_to)
    sync_folder(path.parent)


def damaged_files(path: Path) -> list[Path]:
    """Damaged files that repairs have put aside."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}.damaged*"))


def free_name(path: Path) -> Path:
    """`<file>.damaged`, or with a number if that is taken: an earlier one is never replaced."""
    number, name = 1, path.with_name(path.name + ".damaged")
    while name.exists():
        number += 1
        name = path.with_name(f"{path.name}.damaged-{number}")
    return name


def drop_damaged_pieces(path: Path) -> int:
    """Put damaged pieces beside a file aside, after publishing their whole rows again; returns how many pieces."""
    dropped = 0
    for piece in piece_files(path):
        try:
            file = SealedFile(piece)
        except (Damage, Refused, OSError):
            put_aside(piece, path)
            dropped += 1
            continue
        for array in file.features.values():
            good = whole_rows(file, array)
            if not good.all():
                if good.any():
                    hashes, views, vectors = read_piece(file)
                    name = f"{piece.stem.split('-')[0]}-{secrets.token_hex(4)}.h5"
                    fingerprint, environments = str(file.attributes["fingerprint"]), environments_in(file)
                    write_piece(piece.with_name(name), fingerprint, hashes, views, vectors, environments=environments)
                put_aside(piece, path)
                dropped += 1
        file.close()
    return dropped


def put_aside(piece: Path, path: Path) -> None:
    """Move a damaged piece out of the way: the disk may have been wrong only for a moment."""
    os.replace(piece, path.with_name(f"{path.name}.damaged-{piece.name}"))


def render_repair(report: RepairReport) -> str:
    """What a repair did, for a person."""
    lines = [f"features {report.path}"]
    lines += [f"  damaged: {problem}" for problem in report.problems]
    if report.pieces_dropped:
        lines.append(f"{report.pieces_dropped} damaged pieces beside it: their whole rows are kept, the others dropped")
    if report.moved_to is not None:
        lost = sum(len(damaged.rows) for damaged in report.dropped)
        lines.append(f"{report.kept} rows are kept, {lost} dropped; the damaged file is now {report.moved_to}")
        lines.append("to do: run the extract command again, which computes what was dropped")
    elif report.rewritten:
        lines.append(f"written anew: all {report.kept} rows are whole")
    elif report.pieces_dropped:
        lines.append("to do: run the extract command again, which computes what was dropped")
    elif not report.problems:
        lines.append("nothing to repair")
    return "\n".join(lines)
