"""A text file with an image a line, and a label behind it for training -> ImageTable."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.images.kinds import IMAGE_ENDINGS
from frozenprobe.images.table import ImageTable, labelled_table, leave_out, require_inside
from frozenprobe.system.csv_tables import read_text
from frozenprobe.system.unicode_text import composed

LIST_ENDINGS = (".txt", ".lst")


Line = tuple[str, str]  # the image's name as written, and its label, empty if there is none


def is_list(source: Path) -> bool:
    """Whether `source` is named like an image list."""
    return source.suffix.lower() in LIST_ENDINGS and not source.is_dir()


def read_labelled_list(path: Path, *, allow_outside: bool = False, skip_missing: bool = False) -> ImageTable:
    """Read a training list: `path<TAB>label` or, for labels without spaces, `path label`.

    With `skip_missing` lines whose image is not there are left out, if they are half of them at most.

    Raises:
        ImageError: an image is not there, twice there, outside the list's folder, or has no label.
    """
    lines = read_lines(path)
    bare = [image for image, label in lines if not label]
    if bare:
        raise ImageError(
            "A label behind every image: path<TAB>label, or `path label` if the label has no space",
            found=f"none for {len(bare)} of {len(lines)}: {some(bare)}",
            where=path,
            remedy="complete the list",
        )
    missing: list[str] = []
    if skip_missing:  # else `locate` names them
        missing = [image for image, _ in lines if existing(path.parent, image.replace("\\", "/")) is None]
    if missing and leave_out(missing, len(lines), where=path.parent, skip=skip_missing):
        lines = [line for line in lines if line[0] not in set(missing)]
    table = labelled_table(locate(lines, path, allow_outside), [label for _, label in lines], where=path)
    return replace(table, missing=tuple(missing))


def read_lines(path: Path) -> list[Line]:
    """The lines of a list that are not empty; quotes mean themselves.

    Raises:
        ImageError: no such file, not UTF-8, empty, or a line with more than one tab.
    """

    def broken(found: str, remedy: str = "save it as text in UTF-8, an image a line") -> ImageError:
        return ImageError("A list of images", found=found, where=path, remedy=remedy)

    lines = read_text(path, broken).split("\n")
    stripped = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    tabbed = [number for number, line in stripped if line.count("\t") > 1]
    if tabbed:
        raise broken(f"more than one tab in line {some(tabbed)}", "write path<TAB>label, an image a line")
    found = [split_line(line, path.parent) for _, line in stripped if line]
    if not found:
        raise broken("an empty file")
    return found


def split_line(line: str, root: Path) -> Line:
    """Image and label: what a tab parts, else the last space, unless the line is, or ends as, the name of an image."""
    if "\t" in line:
        image, _, label = line.partition("\t")
        return image.strip(), label.strip()
    image, _, label = line.rpartition(" ")
    image = image.strip()
    if not image or line.lower().endswith(IMAGE_ENDINGS):
        return line, ""
    if not image.lower().endswith(IMAGE_ENDINGS) and existing(root, line.replace("\\", "/")):
        return line, ""
    return image, label


def locate(lines: Sequence[Line], path: Path, allow_outside: bool) -> list[tuple[str, Path]]:
    """Id and file of every image; an id is the path from the list's folder, or the name as written if that is outside.

    As in a CSV, names that lead out of the folder are refused unless `allow_outside`.

    Raises:
        ImageError: no file of that name, or one outside the folder.
    """
    root = os.path.abspath(path.parent)
    found: list[tuple[str, Path]] = []
    absent, strayed = [], []
    for image, _ in lines:
        name = posixpath.normpath(image.replace("\\", "/"))
        if os.path.isabs(name) or leads_out(name):
            inside = Path(os.path.relpath(os.path.join(root, name), root)).as_posix()
            if leads_out(inside):
                strayed.append(image)
            else:
                name = inside
        file = existing(path.parent, name)
        if file is None:
            absent.append(image)
        else:
            found.append((composed(name), file))
    require_inside(strayed, path.parent, where=path, allow_outside=allow_outside, remedy="correct the names")
    if absent:
        raise ImageError(
            f"Every image of the list, below {path.parent}",
            found=f"no file for {len(absent)} of {len(lines)}: {some(absent)}",
            where=path,
            remedy="correct the names (no quotes; a tab before a label with spaces), put the list beside the images, "
            "or leave such lines of a training list out with --skip-missing",
        )
    return found


def leads_out(name: str) -> bool:
    """Whether a relative path begins by going up."""
    return name.split("/", 1)[0] == ".."


def existing(root: Path, name: str) -> Path | None:
    """The file of this name, in whichever encoding of accents the disk has it."""
    for form in dict.fromkeys((name, composed(name), unicodedata.normalize("NFD", name))):
        if os.path.isfile(os.path.join(root, form)):
            return root / form
    return None
