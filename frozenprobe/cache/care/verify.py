"""Is a feature file what was written? Every byte of it, and of the rows that wait beside it, checked and told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from frozenprobe.cache.container.hdf5 import Refused
from frozenprobe.cache.container.read import SealedFile
from frozenprobe.cache.container.seal import Damage
from frozenprobe.cache.contents import Contents
from frozenprobe.cache.damage import DamagedRows, damaged_rows, describe_damage, open_salvageable, whole_rows
from frozenprobe.cache.growing.lock import writer_of
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.paths import followed, piece_files, pieces_folder
from frozenprobe.cache.store import Features, read_plan, require_file
from frozenprobe.errors import FeatureFileError, UnreadableImage, some
from frozenprobe.images.listed.finder import ImageFinder
from frozenprobe.images.places import read_image
from frozenprobe.system.files import StrPath
from frozenprobe.system.progress import Progress


@dataclass
class VerifyReport:
    """What a verification found.

    Attributes:
        path: the feature file.
        finished: whether there is a finished file, or only rows that wait for one.
        images: training and test images.
        image_problems: what is wrong with the images that were compared.
        rows: rows that were read in the finished file.
        bytes: bytes that were read.
        problems: what is wrong, a sentence each.
        damaged: rows of the finished file that are.
        planned: rows that the file being made will have; 0 if none is being made.
        there: rows of those that exist.
        pieces: pieces beside the file.
        images_checked: images whose file was compared with its hash; None: nobody asked.
    """

    path: Path
    finished: bool = False
    images: int = 0
    rows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    damaged: list[DamagedRows] = field(default_factory=list)
    image_problems: list[str] = field(default_factory=list)
    planned: int = 0
    there: int = 0
    pieces: int = 0
    images_checked: int | None = None

    @property
    def sound(self) -> bool:
        """Whether there is a finished file and nothing is wrong."""
        return self.finished and not self.problems and not self.image_problems


def verify_features(path: StrPath, *, images: StrPath | None = None, progress: Progress | None = None) -> VerifyReport:
    """Check seal, metadata and their spare copy, specification, every block and every number of a feature file.

    Args:
        path: the feature file, finished or being made.
        images: folder of the images (with `train` and `test` or `train.tar` and `test.tar` in it, or not), or their tar
            shards: hash them again and compare.
        progress: called with (stage, done, total).

    Raises:
        FeatureFileError: there is no such file, or nothing of it can be read.
    """
    path = followed(Path(path))
    report = VerifyReport(path, finished=path.is_file())
    features = None
    if report.finished:
        features, damages = open_salvageable(path)
        report.bytes, report.images = path.stat().st_size, features.images
        report.rows = features.stored_rows
        report.problems += damages
        report.damaged = list(damaged_rows(features, progress))
        report.problems += map(describe_damage, report.damaged)
    elif not pieces_folder(path).is_dir():
        require_file(path)
    plan = verify_pieces(path, features, report)
    contents = features or plan
    if images is not None and contents is not None:
        report.images_checked = verify_images(contents, Path(images), report.image_problems, progress)
    return report


def verify_pieces(path: Path, features: Features | None, report: VerifyReport) -> Contents | None:
    """Check the rows that wait beside a file, and count how many of the planned ones are there.

    Returns:
        the plan, if there is one.
    """
    for piece in piece_files(path):
        try:
            report.bytes += piece.stat().st_size
            report.pieces += 1
            file = SealedFile(piece)
        except FileNotFoundError:
            continue  # its writer has joined it with others, or finished
        except (Damage, Refused, OSError) as error:
            report.problems.append(f"piece {piece.name}: {error}")
            continue
        bad = sum(int((~whole_rows(file, array)).sum()) for array in file.features.values())
        if bad:
            report.problems.append(f"piece {piece.name}: {bad} rows")
        file.close()
    try:
        plan = read_plan(path)
    except FeatureFileError as error:
        report.problems.append(f"the plan beside it: {error.found}")
        plan = None
    if plan is not None:
        same = features is not None and features.spec == plan.spec
        rows = RowStore(path, plan, features if same else None)
        report.planned, report.there = rows.total, rows.there
        rows.close()
    return plan


def verify_images(contents: Contents, root: Path, problems: list[str], progress: Progress | None) -> int:
    """Hash the images below a folder and compare with what their rows were computed from; returns how many."""
    checked = 0
    lost, unreadable = f"are not in {root}", "cannot be read"
    changed = "have another content than their rows were computed from"
    found: dict[str, list[str]] = {lost: [], unreadable: [], changed: []}
    for name, split, _ in contents.splits:
        there = ImageFinder(folder_of(root, name)).find(split.ids)
        for image, content_hash, place in zip(split.ids, split.hashes, there.places, strict=True):
            try:
                if place is None or image in there.strayed:
                    found[lost].append(f"{name} {image}")
                elif hashlib.sha256(read_image(place)).hexdigest() != content_hash:
                    found[changed].append(f"{name} {image}")
            except UnreadableImage as error:
                found[unreadable].append(f"{name} {image} ({error.found})")
            checked += 1
            if progress is not None:
                progress("hashing images", checked, contents.images)
    problems += [f"{len(names)} images {what}: {some(names)}" for what, names in found.items() if names]
    return checked


def folder_of(root: Path, split: str) -> Path:
    """Where the images of a split lie: below a folder of both, beside the training folder, or in what is named."""
    beside = root.parent / split if root.name in ("train", "test") else root
    return next((place for place in (root / split, root / f"{split}.tar", beside) if place.exists()), root)


def render_verification(report: VerifyReport) -> str:
    """What a verification found, for a person."""
    lines = [f"features {report.path}"]
    writer = writer_of(report.path)
    if writer:
        lines.append(f"being written by {writer}")
    read = f"{report.bytes / 1e6:,.1f} MB read"
    if report.finished:
        whole = report.rows - sum(len(damaged.rows) for damaged in report.damaged)
        lines.append(f"finished: {whole} of {report.rows} rows of {report.images} images are whole; {read}")
    if report.planned:
        share = report.there / report.planned
        what = "being grown" if report.finished else "unfinished"
        lines.append(
            f"{what}: {report.there} of {report.planned} rows are there ({share:.1%}), {report.pieces} pieces; {read}"
        )
    elif report.pieces and not report.finished:
        lines.append(f"{report.pieces} pieces of an unfinished file without a plan: run extract with all its options")
    elif report.pieces:
        lines.append(
            f"{report.pieces} pieces beside it that no plan needs: rows of photos that left or of views not asked for, "
            f"used if they are asked for again (to free the space, remove {pieces_folder(report.path)})"
        )
    if report.images_checked is not None:
        lines.append(f"images: {report.images_checked} compared with their hashes")
    lines += [f"  images: {problem}" for problem in report.image_problems]
    lines += [f"  damaged: {problem}" for problem in report.problems]
    if report.problems:
        lines.append(f"to do: frozenprobe repair {report.path}   and then the extract command again")
    elif report.image_problems:
        lines.append("to do: run the extract command again, so that the file follows the images")
    elif report.finished:
        lines.append("sound: every byte is what was written, every number is finite")
    else:
        lines.append(
            "to do: run the same extract command again, it goes on from there" if not writer else "to do: wait"
        )
    return "\n".join(lines)
