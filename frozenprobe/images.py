"""Folders or a CSV of images -> ImageTable: ids, paths, labels and class names, without opening an image."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.errors import ImageError, some
from frozenprobe.sources import CsvColumns, ImageSources
from frozenprobe.tables import Table, read_table

log = logging.getLogger("frozenprobe")

IMAGE_ENDINGS = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
LABEL_COLUMNS = ("label", "class", "category", "target", "species", "classname", "class_name")


@dataclass(frozen=True)
class ImageTable:
    """N images.

    Attributes:
        ids: path relative to the image folder, always with `/`, in Unicode's composed form (NFC).
        paths: where each image lies.
        labels: `(N,)` int64 index into `class_names`; None for images without labels.
        class_names: sorted by code point, whatever order the file system lists them in.
        groups: images of one group (patient, site, session) are never split between folds.
        folds: the fold each image was assigned by the user.
    """

    ids: tuple[str, ...]
    paths: tuple[Path, ...]
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
            paths=tuple(self.paths[row] for row in rows),
            groups=pick(self.groups),
            folds=pick(self.folds),
        )
        if self.labels is None:
            return table
        names, labels = index_names([self.class_names[self.labels[row]] for row in rows])
        return replace(table, labels=labels, class_names=names)


def read_images(sources: ImageSources) -> tuple[ImageTable, ImageTable | None, Table | None]:
    """Read training table, test table and sample submission; the last two may be None.

    Raises:
        FrozenprobeError: a folder, a CSV or the sample cannot be used.
    """
    if sources.train_csv is not None:
        train = read_labelled_csv(
            sources.train_csv, sources.train, sources.columns, allow_outside=sources.allow_outside
        )
    else:
        train = read_class_folders(sources.train)
    if sources.test is None:
        return train, None, None
    sample = sources.sample or find_sample(sources.test.absolute().parent)
    return train, read_unlabelled(sources.test), read_table(sample) if sample else None


def find_sample(folder: Path) -> Path | None:
    """The sample submission in `folder`, if there is exactly one CSV with both words in its name."""
    found = [path for path in sorted(folder.glob("*.csv")) if re.search("sample.*subm", path.name.lower())]
    return found[0] if len(found) == 1 else None


def read_class_folders(root: Path) -> ImageTable:
    """Read `root/<class>/**/<image>`: the first folder's name is the class.

    Raises:
        ImageError: no such folder, no images, fewer than two classes, or images outside any class folder.
    """
    found = list_images(root)
    loose = [name for name, _ in found if "/" not in name]
    if loose and len(loose) < len(found):
        raise ImageError(
            "Every training image inside a class folder",
            found=f"{len(loose)} images directly in the folder: {some(loose)}",
            where=root,
            remedy="move them into class folders or away",
        )
    if loose:
        raise ImageError(
            "One folder a class with images in it (train/<class>/*.jpg)",
            found=f"{len(loose)} images and no class folders",
            where=root,
            remedy="sort them into class folders, or give the labels as a CSV with --train-csv FILE",
        )
    return labelled_table(found, [name.split("/", 1)[0] for name, _ in found], where=root)


def read_unlabelled(root: Path) -> ImageTable:
    """Read every image below `root`, flat or nested.

    Raises:
        ImageError: no such folder, or no images.
    """
    found = list_images(root)
    return ImageTable(tuple(name for name, _ in found), tuple(path for _, path in found))


def read_labelled_csv(path: Path, root: Path, columns: CsvColumns, *, allow_outside: bool = False) -> ImageTable:
    """Read a CSV with a row an image; images are looked for below `root`, by name with or without ending.

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
    paths = [finder.find(name) for name in ids]
    absent = [name for name, found in zip(ids, paths, strict=True) if found is None]
    if absent:
        raise ImageError(
            f"Every image of the column {image_column!r}",
            found=f"no file for {some(absent)}",
            where=f"{root} (listed in {path})",
            remedy="name the folder of the images with --train DIR, or another column with --image-column",
        )
    strayed = [name for name, found in zip(ids, paths, strict=True) if found in finder.outside]
    if strayed and not allow_outside:
        raise ImageError(
            f"Images below {root}, and no others",
            found=f"names of files elsewhere: {some(strayed)}",
            where=path,
            remedy="correct the names or the folder (--train DIR); if you trust this list, add --allow-outside",
        )
    log.info("%s: images from the column %r, labels from %r", path, image_column, label_column)
    labels = filled(table, label_column, ids)
    named = [(composed(name.replace("\\", "/")), path) for name, path in zip(ids, paths, strict=True) if path]
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


def list_images(root: Path) -> list[tuple[str, Path]]:
    """All images below `root` as (id, path), sorted by id; hidden files and folders are left alone.

    Raises:
        ImageError: no such folder, no images, or names that are no Unicode or become equal in composed form.
    """
    if not root.is_dir():
        raise ImageError(
            "A folder of images",
            found="a file" if root.exists() else "no such folder",
            where=root.absolute(),
            remedy="check the path, or name the folder with --train DIR / --test DIR",
        )
    found = sorted((composed(path.relative_to(root).as_posix()), path) for path in walk_images(root))
    if not found:
        raise ImageError(
            f"Images ({', '.join(ending[1:] for ending in IMAGE_ENDINGS)})",
            found="none",
            where=root.absolute(),
            remedy="check the path; other formats have to be converted first",
        )
    check_ids([name for name, _ in found], where=root)
    return found


def walk_images(root: Path) -> Iterator[Path]:
    """Every image file below `root`; links to folders are followed, but never in a circle."""
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        for name in files:
            if not is_hidden(name) and name.lower().endswith(IMAGE_ENDINGS):
                yield Path(folder, name)


def check_ids(ids: Iterable[str], *, where: Path) -> None:
    """Ids must be Unicode and unique.

    Raises:
        ImageError: bytes that are no UTF-8 in a file name, or one id twice.
    """
    counts = Counter(ids)
    undecodable = [ascii(name) for name in counts if has_surrogates(name)]
    if undecodable:
        raise ImageError(
            "File names in UTF-8",
            found=f"other bytes in {some(undecodable)}",
            where=where,
            remedy="rename these files",
        )
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ImageError(
            "Every image once",
            found=f"the same name more than once: {some(twice)}",
            where=where,
            remedy="remove or rename the duplicates (names that differ only in how an accent is encoded are equal)",
        )


def labelled_table(found: Sequence[tuple[str, Path]], names: Sequence[str], *, where: Path) -> ImageTable:
    """An ImageTable in the order of the ids from (id, path) pairs and a class name for each.

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
    return ImageTable(tuple(name for name, _ in found), tuple(path for _, path in found), labels, class_names)


def index_names(names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The distinct names sorted by code point, and the index of each given name among them."""
    distinct = tuple(sorted(set(names)))
    position = {name: index for index, name in enumerate(distinct)}
    return distinct, np.array([position[name] for name in names], dtype=np.int64)


class ImageFinder:
    """Finds the file a CSV means: below a root, with or without its folder and ending, if only one fits.

    Attributes:
        outside: files that were found, but not below the root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.outside: set[Path] = set()
        self.exact: dict[str, Path] = {}
        self.loose: dict[str, Path | None] = {}  # None: more than one file fits
        for name, path in list_images(root):
            self.exact[name] = path
            base = name.rsplit("/", 1)[-1]
            for key in {base, name.rsplit(".", 1)[0], base.rsplit(".", 1)[0]} - {name}:
                self.loose[key] = None if key in self.loose else path

    def find(self, name: str) -> Path | None:
        """The path of the one image that `name` can mean, or None."""
        key = composed(name.strip().replace("\\", "/").removeprefix("./"))
        return self.exact.get(key) or self.loose.get(key) or self._follow(key)

    def _follow(self, name: str) -> Path | None:
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


def limit_training(table: ImageTable, count: int) -> ImageTable:
    """About `count` images that still make a probe: 5 images a class of the first few classes (at least two)."""
    if table.labels is None or count >= len(table):
        return table
    kept: list[int] = []
    chosen = range(max(2, count // 5))
    quota = max(2, count // len(chosen))
    for label in chosen:
        kept.extend(np.flatnonzero(table.labels == label)[:quota].tolist())
    return table.take(sorted(kept))


def composed(text: str) -> str:
    """Unicode's composed form (NFC): macOS stores `é` as two code points, everybody else as one."""
    return unicodedata.normalize("NFC", text)


def has_surrogates(text: str) -> bool:
    """Whether `text` holds bytes that were no UTF-8 (Python keeps them as lone surrogates)."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left alone: `.thumbnails`, `._photo.jpg`, macOS's `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"
