"""ImageTable: N images by id, with place, label, group and fold, without opening one."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import ImageError, some
from frozenprobe.images.places import Place
from frozenprobe.system.unicode_text import composed, has_surrogates, likeness, visible, without_invisible

log = logging.getLogger("frozenprobe")


@dataclass(frozen=True)
class ImageTable:
    """N images.

    Attributes:
        ids: path relative to the image folder, always with `/`, in Unicode's composed form (NFC).
        places: where each image lies, in a file or in a tar shard.
        labels: `(N,)` int64 index into `class_names`; None for images without labels.
        class_names: sorted by code point, whatever order the file system lists them in.
        groups: images of one group (patient, site, session) are never split between folds.
        folds: the fold each image was assigned by the user.
        missing: names of images that were listed, too, but are not there.
    """

    ids: tuple[str, ...]
    places: tuple[Place, ...]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    folds: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> ImageTable:
        """The table of these rows; class names that no row has any more are left out."""

        def pick(column: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if column is None else tuple(column[row] for row in rows)

        table = replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            places=tuple(self.places[row] for row in rows),
            groups=pick(self.groups),
            folds=pick(self.folds),
        )
        if self.labels is None:
            return table
        names, labels = index_names([self.class_names[self.labels[row]] for row in rows])
        return replace(table, labels=labels, class_names=names)


def check_ids(ids: Iterable[str], *, where: Path) -> None:
    """Ids must be Unicode and unique.

    Raises:
        ImageError: bytes that are no UTF-8 in a file name, or one id twice.
    """
    counts = Counter(ids)
    encoding = sys.getfilesystemencoding()
    undecodable = [ascii(name) for name in counts if has_surrogates(name)]
    if undecodable:
        raise ImageError(
            "File names in UTF-8",
            found=f"other bytes in {some(undecodable)}",
            where=where,
            remedy="rename these files"
            + ("" if encoding == "utf-8" else f", or set PYTHONUTF8=1: names are read as {encoding} where you are"),
        )
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ImageError(
            "Every image once",
            found=f"the same name more than once: {some(twice)}",
            where=where,
            remedy="remove or rename the duplicates (names that differ only in how an accent is encoded are equal)",
        )


def require_inside(strayed: Sequence[str], root: Path, *, where: Path, allow_outside: bool, remedy: str) -> None:
    """Refuse a list that names files outside the folder it is about.

    Args:
        strayed: the names that lead out.
        root: the folder.
        where: the list.
        allow_outside: let them.
        remedy: how to correct them.

    Raises:
        ImageError: there are such names, and nobody has allowed them.
    """
    if strayed and not allow_outside:
        raise ImageError(
            f"Images below {root}, and no others",
            found=f"names of files elsewhere: {some(strayed)}",
            where=where,
            remedy=f"{remedy}; if you trust this list, add --allow-outside",
        )


def leave_out(missing: Sequence[str], rows: int, *, where: object, skip: bool) -> bool:
    """Whether rows without an image are left out, which is said: on request, and half of all rows at most."""
    if not skip or len(missing) > rows / 2:
        return False
    log.warning("%d of %d rows are left out, their images are not in %s: %s", len(missing), rows, where, some(missing))
    return True


def labelled_table(found: Sequence[tuple[str, Place]], names: Sequence[str], *, where: Path) -> ImageTable:
    """An ImageTable in the order of the ids from (id, place) pairs and a class name for each.

    Names in two encodings of accents are one class.

    Raises:
        ImageError: one id twice, or fewer than two classes.
    """
    check_ids([name for name, _ in found], where=where)
    class_names, labels = index_names(one_form(names, "classes", where=where))
    if len(class_names) < 2:
        raise ImageError(
            "At least two classes",
            found=f"only {some(class_names)}",
            where=where,
            remedy="give each class a folder of its own (train/<class>/*.jpg), or check the label column",
        )
    return ImageTable(tuple(name for name, _ in found), tuple(place for _, place in found), labels, class_names)


def one_form(values: Sequence[str], what: str, *, where: Path) -> tuple[str, ...]:
    """Values in composed form. Those that become equal are one, which is said, as are others that only look equal.

    Args:
        values: of the images.
        what: they are.
        where: they are from.
    """
    forms: dict[str, list[str]] = {}
    for written in dict.fromkeys(values):
        forms.setdefault(composed(written), []).append(written)
    merged = [value for value, written in forms.items() if len(written) > 1]
    if merged:
        log.warning("%s: %s in two encodings of accents are taken for one: %s", where, what, some(merged))
    alike: dict[str, list[str]] = {}
    for value in forms:
        alike.setdefault(likeness(value), []).append(value)
    told = {written: value for value, several in forms.items() for written in several}
    unified = tuple(told[value] for value in values)
    pairs = [several for several in alike.values() if len(several) > 1]
    if pairs:
        counts = Counter(unified)
        shown = some(" and ".join(f"{visible(value)} ({counts[value]})" for value in several) for several in pairs)
        log.warning(
            "%s: %s that look alike stay apart, rename them if they are one (and their images): %s", where, what, shown
        )
    hidden = [visible(value) for value in forms if without_invisible(value) != value]
    if hidden:
        log.warning("%s: %s with characters that nobody sees: %s", where, what, some(hidden))
    return unified


def index_names(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The distinct names sorted by code point, and the index of each given name among them."""
    distinct = tuple(sorted(set(names)))
    position = {name: index for index, name in enumerate(distinct)}
    return distinct, np.array([position[name] for name in names], dtype=np.int64)


def limit_training(table: ImageTable, count: int) -> ImageTable:
    """About `count` images that still make a probe: 5 images a class of the first few classes (at least two)."""
    if table.labels is None or count >= len(table):
        return table
    chosen = range(max(2, count // 5))
    quota = max(2, count // len(chosen))
    kept = [np.flatnonzero(table.labels == label)[:quota] for label in chosen]
    return table.take(np.sort(np.concatenate(kept)).tolist())
