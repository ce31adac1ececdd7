"""Where the parts of a feature file that is being made lie."""

from __future__ import annotations

import re
from pathlib import Path

PIECE_NAME = re.compile(r"\d{8}-[0-9a-f]{8}\.h5")


def pieces_folder(path: Path) -> Path:
    """Where rows wait until the feature file `path` is whole."""
    return path.parent / f"{path.name}.pieces"  # `.` has no name, and no pieces


def plan_path(path: Path) -> Path:
    """Where it is said what the feature file `path`, which is being made, will hold."""
    return pieces_folder(path) / "plan.h5"


def piece_files(path: Path) -> list[Path]:
    """The pieces beside the feature file `path`, in the order they were written."""
    found = (piece for piece in pieces_folder(path).glob("*.h5") if PIECE_NAME.fullmatch(piece.name))
    return sorted(found, key=lambda piece: piece.name)


def checked_files(path: Path) -> list[Path]:
    """What ranks tell each other of images that they have checked, beside the feature file `path`."""
    return sorted(pieces_folder(path).glob("checked-*.json"))


def followed(path: Path) -> Path:
    """The file that is written when `path` is: what a link leads to, not the link."""
    return path.resolve() if path.is_symlink() else path
