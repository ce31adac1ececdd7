"""A CSV of images and labels -> ImageTable: columns guessed where only one reading fits, a row an image."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from frozenprobe.errors import ImageError, some
from frozenprobe.images.kinds import IMAGE_ENDINGS
from frozenprobe.images.listed.finder import Found, ImageFinder
from frozenprobe.images.sources import CsvColumns
from frozenprobe.images.table import ImageTable, check_ids, labelled_table, leave_out, one_form, require_inside
from frozenprobe.system.csv_tables import NAMELESS, Table, read_table
from frozenprobe.system.unicode_text import composed

log = logging.getLogger("frozenprobe")

LABEL_COLUMNS = ("label", "class", "category", "target", "species", "classname", "class_name")
BINARY = {"0": False, "0.0": False, "1": True, "1.0": True, "false": False, "true": True}
NO_VALUES = ("na", "n/a", "nan", "null", "none", "#n/a", "?")
FEW = 10  # rows, in which a label for each is no wonder


def read_labelled_csv(
    path: Path, root: Path, columns: CsvColumns, *, allow_outside: bool = False, skip_missing: bool = False
) -> ImageTable:
    """Read a CSV with a row an image; images are looked for in `root`, a folder or shards.

    All names are read alike, by the strictest reading in which each finds one image of its own (`system/match_names`).
    A list of a stranger must not make other files of this machine look like training images, so names that lead
    out of `root` (absolute, or through `..`) are refused unless `allow_outside`.

    Args:
        path: the CSV.
        root: of the images.
        columns: what they mean, as far as that is not to be guessed.
        allow_outside: see above.
        skip_missing: leave rows out whose image is not there, if it is half of them at most.

    Raises:
        ImageError: a column cannot be guessed, an image is not there, twice there, or has no label.
    """
    finder = ImageFinder(root)
    table = with_header(read_table(path), finder)
    if not table.rows:
        raise ImageError(
            "A row for each image", found="none", where=path, remedy="name the CSV of labels with --train-csv FILE"
        )
    image_column = columns.image or guess_image_column(table, finder)
    ids = tuple(composed(name.strip().replace("\\", "/")) for name in table.column(image_column))
    check_ids(ids, where=path)
    labels = read_labels(table, image_column, columns)
    found = finder.find(ids)
    how = f"images from the column {image_column!r} (matched by {found.how})"
    log.info("%s: %s, labels from %s", path, how, labels.source)
    remedy = "correct the names or the folder (--train DIR)"
    require_inside(found.strayed, root, where=path, allow_outside=allow_outside, remedy=remedy)
    missing = [name for name, place in zip(ids, found.places, strict=True) if place is None]
    if missing and not leave_out(missing, len(ids), where=root, skip=skip_missing):
        where = f"{root} (listed in {path}, column {image_column!r})"
        raise no_image(missing, len(ids), finder, found, where=where)
    note_left_out(labels.cells, found, root, path)
    rows = [row for row, place in enumerate(found.places) if place is not None]

    def cells(column: Sequence[str], source: str) -> list[str]:
        return filled([column[row] for row in rows], [ids[row] for row in rows], source, where=path)

    names = cells(labels.cells, labels.source)
    require_shared(names, labels, table)
    pairs = [(ids[row], place) for row in rows if (place := found.places[row]) is not None]
    result = replace(labelled_table(pairs, names, where=path), missing=tuple(missing))
    for kind, name in (("group", columns.group), ("fold", columns.fold)):
        if name is not None:
            values = one_form(cells(table.column(name), f"the column {name!r}"), f"{kind}s", where=path)
            require_parting(values, result, kind, name, where=path)
            result = replace(result, groups=values) if kind == "group" else replace(result, folds=values)
    return result


class Labels(NamedTuple):
    """The label of each row, where it is from, and whether that place is known to hold labels, not just guessed."""

    source: str
    cells: tuple[str, ...]
    is_sure: bool


def with_header(table: Table, finder: ImageFinder) -> Table:
    """The table, read as one without a header line if its first line is of an image, which is said."""
    for name in table.columns:
        if name.lower().endswith(IMAGE_ENDINGS) or finder.known.is_row(name, table.column(name)):
            return table.without_header()
    return table


def guess_image_column(table: Table, finder: ImageFinder) -> str:
    """The one column that names images by the strictest reading: all its cells, else more than half of them.

    Raises:
        ImageError: no column or several columns fit; the message lists all columns.
    """
    rows, fitting = len(table.rows), []
    telling = [name for name in table.columns if len(set(table.column(name))) > rows / 2]  # a label has many rows
    for strictly in (True, False):
        looks = {name: finder.look_at(table.column(name), strictly=strictly) for name in telling}
        ranks = {name: (look.count < len(look.found), look.looseness) for name, look in looks.items() if look.is_likely}
        fitting = [name for name, rank in ranks.items() if rank == min(ranks.values())]
        if len({looks[name].found for name in fitting}) == 1 and not (strictly and ranks[fitting[0]][0]):
            return fitting[0]
    ended = [
        name for name in telling if sum(cell.lower().endswith(IMAGE_ENDINGS) for cell in table.column(name)) > rows / 2
    ]
    if len(ended) == 1 and not fitting:
        return ended[0]  # its missing images are named later
    raise ImageError(
        f"One column whose cells are names of images in {finder.root}",
        found=f"{'several: ' + ', '.join(fitting) if fitting else 'none'}; the columns are {describe(table)}",
        where=table.path,
        remedy=f"name it with --image-column {(fitting or table.columns)[0]!r}, or the images' folder with --train DIR",
    )


def read_labels(table: Table, image_column: str, columns: CsvColumns) -> Labels:
    """The labels of one column, or of one column a class with a single 1 in each row.

    Raises:
        ImageError: no column or several columns fit; the message lists all columns.
    """

    def column(name: str, *, is_sure: bool) -> Labels:
        return Labels(f"the column {name!r}", table.column(name), is_sure)

    if columns.label is not None:
        return column(columns.label, is_sure=True)
    others = [name for name in table.columns if name != image_column]
    rest = [name for name in others if name not in (columns.group, columns.fold) or name.lower() in LABEL_COLUMNS]
    rest = rest or others  # the one column there is, named as that of groups: what is wrong with it is told there
    telling = [name for name in rest if len(set(table.column(name))) > 1 and not is_index(name, table.column(name))]
    usual = [name for name in rest if name.lower() in LABEL_COLUMNS]
    for fitting in (usual, rest, telling):
        if len(fitting) == 1:
            return column(fitting[0], is_sure=fitting is usual)
    flags = [name for name in rest if all(cell.strip().lower() in BINARY for cell in table.column(name))]
    if len(flags) > 1 and table.rows:
        source = f"{len(flags)} columns of 0 and 1 ({some(flags)})"
        return Labels(source, one_hot_labels(table, flags, image_column), is_sure=True)
    shared = [name for name in telling if len(set(table.column(name))) <= len(table.rows) / 2]
    raise ImageError(
        "One column with the labels",
        found=f"the columns {describe(table)}",
        where=table.path,
        remedy=f"name it, for example --label-column {(shared or telling or rest)[0]!r}; if each column is a class "
        "with numbers other than a single 1 in each row, add a column with one class for each image"
        if rest
        else "add such a column",
    )


def one_hot_labels(table: Table, flags: Sequence[str], image_column: str) -> tuple[str, ...]:
    """The name of the column that has the 1 of each row.

    Raises:
        ImageError: rows with several or none; shows some.
    """
    cells = zip(*(table.column(name) for name in flags), strict=True)
    classes = [[name for name, cell in zip(flags, row, strict=True) if BINARY[cell.strip().lower()]] for row in cells]
    odd = [
        f"{image} ({' and '.join(own[:3]) or 'none'})"
        for image, own in zip(table.column(image_column), classes, strict=True)
        if len(own) != 1
    ]
    if odd:
        raise ImageError(
            f"One class for each image: a single 1 in each row of the columns {some(flags)}",
            found=f"several or none in {len(odd)} of {len(classes)} rows: {some(odd)}",
            where=table.path,
            remedy="remove these rows (images of several classes are not for this program), or, if the labels are in "
            f"another column, name it: --label-column {flags[0]!r}",
        )
    unused = [name for name in flags if [name] not in classes]
    if unused:
        log.warning("%s: no row has a 1 in %s, which is no class then", table.path, some(unused))
    return tuple(own[0] for own in classes)


def is_index(name: str, cells: Sequence[str]) -> bool:
    """Whether a column tells nothing of the images: it counts the rows, or says who will see their score."""
    counts = [*map(str, range(len(cells)))], [*map(str, range(1, len(cells) + 1))]
    return name.lower() == "usage" or ((name.startswith(NAMELESS) or name.lower() == "index") and list(cells) in counts)


def describe(table: Table) -> str:
    """The columns and what is in them, for a message."""

    def shown(name: str) -> str:
        values = [*dict.fromkeys(cell for cell in table.column(name) if cell)]
        return f"{name} ({some(values, most=2).replace(' and ', ', ')})" if values else f"{name} (empty)"

    return ", ".join(map(shown, table.columns[:12])) + (" ..." if len(table.columns) > 12 else "")


def no_image(missing: Sequence[str], rows: int, finder: ImageFinder, found: Found, *, where: str) -> ImageError:
    """The error for rows without an image; shows the nearest image to the first one."""
    nearest = finder.known.nearest(missing[0])
    taken = ", which another row means" if nearest and not set(nearest) & set(found.unnamed) else ""
    few = len(missing) <= rows / 2
    return ImageError(
        "An image of its own for each row" + ("" if few else ", or for half of them at least"),
        found=f"no file for {len(missing)} of {rows}: {some(missing)}; "
        f"nearest to {missing[0]!r} is {' or '.join(map(repr, nearest)) or 'none'}{taken}",
        where=where,
        remedy="correct the names, name the folder of the images with --train DIR, or another column with "
        "--image-column" + ("; to leave out rows without an image: --skip-missing" if few else ""),
    )


def note_left_out(labels: Sequence[str], found: Found, root: Path, path: Path) -> None:
    """Name classes that no image is left of, and images that have no row."""
    gone = sorted(set(labels) - {label for label, place in zip(labels, found.places, strict=True) if place is not None})
    if gone:
        log.warning("no image is left of %d classes, which are left out: %s", len(gone), some(gone))
    if found.unnamed:
        log.warning("%d images in %s have no row in %s: %s", len(found.unnamed), root, path, some(found.unnamed))


def filled(column: Sequence[str], ids: Sequence[str], source: str, *, where: Path) -> list[str]:
    """The cells of a column without surrounding spaces; what looks like a missing value is said to be taken as one.

    Raises:
        ImageError: an empty cell; names the images.
    """
    cells = [cell.strip() for cell in column]
    empty = [name for name, cell in zip(ids, cells, strict=True) if not cell]
    if empty:
        raise ImageError(
            f"A value in {source} for every image",
            found=f"empty cells in {source} for {some(empty)}",
            where=where,
            remedy="fill the cells or remove the rows",
        )
    values = Counter(cell for cell in cells if cell.lower() in NO_VALUES)
    if values:
        told = some(f"{cell!r} in {count} rows" for cell, count in values.items())
        log.warning("%s: %s of %s taken as a name; if no value is meant, remove these rows", where, told, source)
    return cells


def require_shared(names: Sequence[str], labels: Labels, table: Table) -> None:
    """Labels are shared by images; numbers or ids of images are not.

    Raises:
        ImageError: most rows have a label of their own, in a column that was only guessed.
    """
    distinct = [*dict.fromkeys(names)]
    if len(names) < FEW or len(distinct) <= len(names) / 2:
        return
    found = f"{len(distinct)} different values in {len(names)} rows of {labels.source}: {some(distinct)}"
    if labels.is_sure:
        log.warning("%s: %s; are these labels?", table.path, found)
        return
    raise ImageError(
        "Labels that images share",
        found=f"{found}; the columns are {describe(table)}",
        where=table.path,
        remedy="name the column of labels with --label-column NAME, also if it is this one",
    )


def require_parting(values: Sequence[str], table: ImageTable, kind: str, name: str, *, where: Path) -> None:
    """Groups or folds have to part the images of some class, else nothing can be both trained on and scored.

    Args:
        values: `(N,)` group or fold of each image.
        table: of the images.
        kind: what the values are.
        name: of their column.
        where: the CSV.

    Raises:
        ImageError: they part none.
    """
    labels = [] if table.labels is None else table.labels.tolist()
    parts = Counter(label for label, _ in set(zip(labels, values, strict=True)))
    several = [label for label, count in Counter(labels).items() if count > 1]
    if several and all(parts[label] == 1 for label in several):
        distinct = sorted(set(values))
        same = "; it says the same as the labels" if len(distinct) == len(table.class_names) else ""
        raise ImageError(
            f"A column of {kind}s with several {kind}s in some class: a class in one {kind} cannot be scored",
            found=f"every class in a single {kind}, in the column {name!r} ({some(distinct)}){same}",
            where=where,
            remedy=f"name the right column with --{kind}-column NAME, or leave --{kind}-column out",
        )
    if len(values) >= FEW and len(set(values)) == len(values):
        log.warning("%s: every image has a %s of its own in the column %r", where, kind, name)
