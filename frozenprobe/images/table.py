"""ImageTable: N images by id, with place, label, group and fold, without opening one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import ImageError, some
from frozenprobe.images.places import Place
from frozenprobe.system.unicode_text import has_surrogates


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
    """

    ids: tuple[str, ...]
    places: tuple[Place, ...]
    labels: npt.NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    folds: tuple[str, ...] | None = None

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


def labelled_table(found: Sequence[tuple[str, Place]], names: Sequence[str], *, where: Path) -> ImageTable:
    """An ImageTable in the order of the ids from (id, place) pairs and a class name for each.

    Raises:
        ImageError: one id twice, or fewer than two classes.
    """
    check_ids([name for name, _ in found], where=where)
    class_names, labels = index_names(names)
    if len(class_names) < 2:
        raise ImageError(
            "At least two classes",
            found=f"only {some(class_names)}",
            where=where,
            remedy="give each class a folder of its own (train/<class>/*.jpg), or check the label column",
        )
    return ImageTable(tuple(name for name, _ in found), tuple(place for _, place in found), labels, class_names)


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
