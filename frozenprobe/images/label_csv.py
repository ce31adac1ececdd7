"""A CSV of images and labels -> ImageTable: columns guessed where only one fits, names found in a folder or shards."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.images.folders import list_images
from frozenprobe.images.places import Place
from frozenprobe.images.shard_names import find_shards
from frozenprobe.images.shards import list_members
from frozenprobe.images.sources import CsvColumns
from frozenprobe.images.table import ImageTable, labelled_table, require_inside
from frozenprobe.system.csv_tables import Table, read_table
from frozenprobe.system.unicode_text import composed

log = logging.getLogger("frozenprobe")

LABEL_COLUMNS = ("label", "class", "category", "target", "species", "classname", "class_name")


def read_labelled_csv(path: Path, root: Path, columns: CsvColumns, *, allow_outside: bool = False) -> ImageTable:
    """Read a CSV with a row an image; images are looked for in `root`, a folder or shards, with or without ending.

    A list of a stranger must not make other files of this machine look like training images, so names that lead
    out of `root` (absolute, or through `..`) are refused unless `allow_outside`.

    Raises:
        ImageError: a column cannot be guessed, an image is not there, twice there, or has no label.
    """
    table = read_table(path)
    finder = ImageFinder(root)
    image_column = columns.image or guess_image_column(table, finder)
    label_column = columns.label or guess_label_column(table, image_column, columns)
    ids = table.column(image_column)
    places = [finder.find(name) for name in ids]
    absent = [name for name, found in zip(ids, places, strict=True) if found is None]
    if absent:
        raise ImageError(
            f"Every image of the column {image_column!r}",
            found=f"no file for {some(absent)}",
            where=f"{root} (listed in {path})",
            remedy="name the folder of the images with --train DIR, or another column with --image-column",
        )
    strayed = [name for name, found in zip(ids, places, strict=True) if found in finder.outside]
    remedy = "correct the names or the folder (--train DIR)"
    require_inside(strayed, root, where=path, allow_outside=allow_outside, remedy=remedy)
    log.info("%s: images from the column %r, labels from %r", path, image_column, label_column)
    labels = filled(table, label_column, ids)
    named = [(composed(name.replace("\\", "/")), place) for name, place in zip(ids, places, strict=True) if place]
    result = labelled_table(named, labels, where=path)
    return replace(
        result,
        groups=filled(table, columns.group, ids) if columns.group else None,
        folds=filled(table, columns.fold, ids) if columns.fold else None,
    )


def filled(table: Table, column: str, ids: Sequence[str]) -> tuple[str, ...]:
    """The cells of a column, in composed form without surrounding spaces.

    Raises:
        ImageError: an empty cell; names the images.
    """
    cells = tuple(composed(cell.strip()) for cell in table.column(column))
    empty = [name for name, cell in zip(ids, cells, strict=True) if not cell]
    if empty:
        raise ImageError(
            f"A value in the column {column!r} for every image",
            found=f"empty cells in the column {column!r} for {some(empty)}",
            where=table.path,
            remedy="fill the cells or remove the rows",
        )
    return cells


class ImageFinder:
    """Finds the file or member a CSV means: below a root, with or without its folder and ending, if only one fits.

    Attributes:
        outside: files that were found, but not below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside: set[Place] = set()
        self.exact: dict[str, Place] = {}
        self.loose: dict[str, Place | None] = {}  # None: more than one file fits
        shards = find_shards(root)
        for name, place in list_members(shards, where=root) if shards else list_images(root):
            self.exact[name] = place
            base = name.rsplit("/", 1)[-1]
            for key in {base, name.rsplit(".", 1)[0], base.rsplit(".", 1)[0]} - {name}:
                self.loose[key] = None if key in self.loose else place

    def find(self, name: str) -> Place | None:
        """The place of the one image that `name` can mean, or None."""
        key = composed(name.strip().replace("\\", "/").removeprefix("./"))
        return self.exact.get(key) or self.loose.get(key) or self._follow(key)

    def _follow(self, name: str) -> Place | None:
        """The file of a name that is absolute or goes through `..`, or None."""
        if not name or not (Path(name).is_absolute() or ".." in Path(name).parts):
            return None
        path = self.root / name
        if not path.is_file():
            return None
        inside = os.path.relpath(os.path.abspath(path), os.path.abspath(self.root))
        if inside.startswith(".."):
            self.outside.add(path)
            return path
        return self.exact.get(composed(Path(inside).as_posix()))


def guess_image_column(table: Table, finder: ImageFinder) -> str:
    """The one column whose every cell is an image, else the one with an image in more than half of its cells.

    Raises:
        ImageError: no column or several columns fit; the message lists all columns.
    """
    rows = len(table.rows)
    found = {name: sum(finder.find(cell) is not None for cell in table.column(name)) for name in table.columns}
    fitting = [name for name in table.columns if rows and found[name] == rows]
    mostly = [name for name in table.columns if found[name] > rows / 2]  # its missing images are named later
    for candidates in (fitting, mostly):
        if len(candidates) == 1:
            return candidates[0]
    raise ImageError(
        "One column whose cells are all names of images",
        found=f"{'several: ' + ', '.join(fitting) if fitting else 'none'}; the columns are {', '.join(table.columns)}",
        where=table.path,
        remedy="name it with --image-column NAME (and the images' folder with --train DIR)",
    )


def guess_label_column(table: Table, image_column: str, columns: CsvColumns) -> str:
    """The one remaining column, else the one remaining column with a usual name for labels.

    Raises:
        ImageError: no column or several columns fit; the message lists all columns.
    """
    rest = [name for name in table.columns if name not in (image_column, columns.group, columns.fold)]
    usual = [name for name in rest if name.lower() in LABEL_COLUMNS]
    for fitting in (rest, usual):
        if len(fitting) == 1:
            return fitting[0]
    raise ImageError(
        "One column with the labels",
        found=f"the columns {', '.join(table.columns)}",
        where=table.path,
        remedy="name it with --label-column NAME",
    )
