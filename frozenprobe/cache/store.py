"""The feature file as a whole: what is in it, opening it and publishing it (docs/format.md is its specification)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.contents import Contents, Split, environments_of
from frozenprobe.cache.image import Refused
from frozenprobe.cache.sealed import (
    BLOCK_ROWS,
    MAGIC,
    Damage,
    DamagedBlock,
    FeatureArray,
    NewArray,
    SealedFile,
    Vectors,
    as_rows,
    as_texts,
    publish_sealed,
    salvage,
)
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.errors import FeatureFileError, some
from frozenprobe.tables import Table

FEATURES = "frozenprobe.features"
PLAN = "frozenprobe.plan"
VERSION = 2
READ_ROWS = 16 * BLOCK_ROWS  # rows of a view that are read before they become float32

ReadBlock = Callable[[slice, Split, Sequence[str]], Vectors]
PIECE_NAME = re.compile(r"\d{8}-[0-9a-f]{8}\.h5")
HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Features(Contents):
    """An opened feature file. It is read as it was when it was opened, whatever takes its name later."""

    path: Path = Path()
    file: SealedFile | None = None

    def read(self, split: str, views: Sequence[int], rows: slice = slice(None)) -> npt.NDArray[np.float32]:
        """Features of some views: `(rows, len(views), D)` float32; reads only those from disk.

        Args:
            split: `train` or `test`.
            views: indices into `views` (train) or `test_views` (test).
            rows: which images.

        Raises:
            FeatureFileError: a block of them is not what was written.
        """
        array = self.array(split)
        images = np.arange(array.shape[1])[rows]
        out = np.empty((len(images), len(views), self.dim), dtype=np.float32)
        for start in range(0, len(images), READ_ROWS):
            block = slice(start, start + READ_ROWS)
            for position, view in enumerate(views):
                try:
                    out[block, position] = self.sealed.read_rows(array, range(array.shape[0])[view], images[block])
                except DamagedBlock as damage:
                    raise self.named(damage, split) from None
        return out

    def named(self, damage: DamagedBlock, split: str) -> DamagedBlock:
        """The error for a damaged block with the names of its images, and of those that are no numbers any more."""
        array, rows = damage.array, damage.array.rows_of(damage.block)
        ids = next(each for name, each, _ in self.splits if name == split).ids[rows.start : rows.stop]
        content = self.sealed.read_at(*array.span(damage.view, damage.block))
        images = f" ({some(ids, most=3)})"
        if len(content) == array.span(damage.view, damage.block)[1]:
            broken = np.flatnonzero(~np.isfinite(as_rows(content, array)).all(axis=1)).tolist()
            images += f"; NaN or infinity in {some(ids[row] for row in broken)}" if broken else ""
        return DamagedBlock(self.path, array, damage.view, damage.block, images=images)

    @property
    def sealed(self) -> SealedFile:
        """The file it was opened from."""
        if self.file is None:
            raise ValueError("contents without a file have no rows")
        return self.file

    def array(self, split: str) -> FeatureArray:
        """The feature array of a split."""
        return self.sealed.features[f"{split}/features"]


def write_features(path: Path, contents: Contents, read_block: ReadBlock) -> None:
    """Publish a feature file; memory stays bounded by one block of images and the index.

    Args:
        path: the final name; an existing file stays as it is until the new one is complete.
        contents: all but the feature rows.
        read_block: (images, split, views) -> `(images, len(views), D)`, the rows to store; those of images that are
            not usable are ignored.
    """
    dtype = contents.spec.storage_dtype
    features = {
        f"{name}/features": NewArray((len(views), len(split), contents.dim), dtype, blocks_of(split, views, read_block))
        for name, split, views in contents.splits
    }
    publish_sealed(path, attributes_of(contents, FEATURES), arrays_of(contents), features)


def write_plan(path: Path, contents: Contents) -> None:
    """Publish what the feature file `path` will hold, before its rows exist."""
    publish_sealed(plan_path(path), attributes_of(contents, PLAN), arrays_of(contents), {})


def blocks_of(split: Split, views: Sequence[str], read_block: ReadBlock) -> Iterator[Vectors]:
    """The blocks of a split's feature array, `(views, up to 64 images, D)`; rows of unusable images are 0."""
    for start in range(0, len(split), BLOCK_ROWS):
        images = slice(start, start + BLOCK_ROWS)
        vectors = read_block(images, split, views)
        vectors[~split.usable[images]] = 0
        yield vectors.transpose(1, 0, 2)


def attributes_of(contents: Contents, form: str) -> dict[str, str | int]:
    """The root's attributes."""
    attributes: dict[str, str | int] = {
        "format": form,
        "version": VERSION,
        "spec": contents.spec.canonical(),
        "fingerprint": contents.spec.fingerprint(),
        "about": json.dumps(contents.about, sort_keys=True),
        "dim": contents.dim,
        "test_views": len(contents.test_views),
    }
    if contents.sample is not None:
        attributes["sample_path"] = str(contents.sample.path).encode(errors="replace").decode()
    return attributes


def arrays_of(contents: Contents) -> dict[str, Any]:
    """All datasets but the feature arrays."""
    arrays: dict[str, Any] = {"class_names": contents.class_names, "views": contents.views}
    for name, split, _ in contents.splits:
        columns = {"ids": split.ids, "hashes": split.hashes, "groups": split.groups, "folds": split.folds}
        arrays |= {f"{name}/{key}": texts for key, texts in columns.items() if texts is not None}
        arrays[f"{name}/usable"] = split.usable.astype(np.uint8)
        if split.labels is not None:
            arrays[f"{name}/labels"] = split.labels.astype("<i8")
    if contents.sample is not None:
        cells = [cell for row in contents.sample.rows for cell in row]
        arrays["sample/columns"] = contents.sample.columns
        arrays["sample/cells"] = as_texts(cells).reshape(len(contents.sample.rows), len(contents.sample.columns))
    return arrays


def open_features(path: Path) -> Features:
    """Open a feature file; reads and checks all but the feature rows, whose blocks are checked as they are read.

    Raises:
        FeatureFileError: no such file, not a feature file, another format version, damaged, or parts that contradict
            each other.
    """
    require_file(path)
    sealed = open_sealed(path)
    try:
        return features_of(sealed)
    except BaseException:
        sealed.close()
        raise


def require_file(path: Path) -> None:
    """Refuse a name where there is no file; says so if one is being made."""
    if path.is_file():
        return
    if pieces_folder(path).is_dir():
        raise FeatureFileError(
            "A finished feature file",
            found=f"an unfinished one (frozenprobe info {path} says how far it is)",
            where=path,
            remedy="run the same extract command again: it goes on where it stopped; or make a file of the images that "
            f"are complete: frozenprobe merge {path} --out FILE",
        )
    raise FeatureFileError(
        "A feature file",
        found="a folder" if path.is_dir() else "no such file",
        where=path,
        remedy="name a file" if path.is_dir() else "make one with: frozenprobe extract",
    )


def pieces_folder(path: Path) -> Path:
    """Where rows wait until the feature file `path` is whole."""
    return path.with_name(path.name + ".pieces")


def plan_path(path: Path) -> Path:
    """Where it is said what the feature file `path`, which is being made, will hold."""
    return pieces_folder(path) / "plan.h5"


def open_sealed(path: Path) -> SealedFile:
    """Open a sealed file, or say what is wrong with it.

    Raises:
        FeatureFileError: damaged, refused, or something else.
    """
    try:
        return SealedFile(path)
    except Refused as error:
        raise refused(path, error) from None
    except Damage as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise FeatureFileError(
            "A readable feature file",
            found=str(error),
            where=path,
            remedy="check the disk and the permissions; if the message is about locks on a network file system, set "
            "HDF5_USE_FILE_LOCKING=FALSE in the environment",
        ) from None


def refused(path: Path, error: Refused) -> FeatureFileError:
    """The error for a file with right digests that holds what no feature file does."""
    return FeatureFileError(
        "A feature file that frozenprobe wrote, which nobody has added anything to",
        found=str(error),
        where=path,
        remedy="do not use it, and ask where it comes from: frozenprobe writes no such file",
    )


def damaged(path: Path, error: Exception) -> FeatureFileError:
    """The error for a file that is not what was sealed: what it is instead decides the remedy."""
    with open(path, "rb") as file:
        start = file.read(len(MAGIC))
    if start.startswith(HDF5):
        return FeatureFileError(
            f"A feature file of format version {VERSION}",
            found="an HDF5 file without frozenprobe's seal (version 1, of frozenprobe 0.1.0, or another program's)",
            where=path,
            remedy="name a file that this version of frozenprobe wrote, or extract again (with --out for another name)",
        )
    try:
        rest = salvage(path)
    except Refused as more:
        return refused(path, more)
    if rest is None:
        remedy = "name a feature file; if this was one, nothing in it can be trusted: move it away and extract again"
    else:
        rest.close()
        remedy = (
            f"frozenprobe repair {path}   keeps all rows that are whole; then the extract command computes the others"
        )
    return FeatureFileError("A whole feature file", found=str(error), where=path, remedy=remedy)


def features_of(sealed: SealedFile) -> Features:
    """What a sealed file holds, if it is a feature file.

    Raises:
        FeatureFileError: it is something else, newer than this program, or its parts contradict each other.
    """
    contents = contents_of(sealed, FEATURES)
    features = Features(**vars(contents), path=sealed.path, file=sealed)
    for name, split, views in features.splits:
        array = sealed.features.get(f"{name}/features")
        shape = (len(views), len(split), features.dim)
        if array is None or array.shape != shape or array.dtype != np.dtype(features.spec.storage_dtype):
            found = "no features" if array is None else f"features of the shape {array.shape} in {array.dtype}"
            raise contradiction(sealed.path, f"{found} in {name}, not {shape} in {features.spec.storage_dtype}")
    return features


def piece_files(path: Path) -> list[Path]:
    """The pieces beside the feature file `path`, in the order they were written."""
    found = (piece for piece in pieces_folder(path).glob("*.h5") if PIECE_NAME.fullmatch(piece.name))
    return sorted(found, key=lambda piece: piece.name)


def open_plan(path: Path) -> Contents | None:
    """What the feature file `path`, which is being made, will hold.

    None if there is no plan, no whole one, or no row yet: then nothing that was paid for holds anybody to it.
    """
    try:
        return read_plan(path) if piece_files(path) else None
    except FeatureFileError:
        return None


def read_plan(path: Path) -> Contents | None:
    """The plan of the feature file `path`; None if there is none.

    Raises:
        FeatureFileError: it is damaged.
    """
    plan = plan_path(path)
    if not plan.is_file():
        return None
    try:
        sealed = salvage(plan)
    except Refused as error:
        raise refused(plan, error) from None
    if sealed is None:
        raise FeatureFileError(
            "A whole plan of an unfinished feature file",
            found="a damaged one: what was typed is forgotten, the rows are not",
            where=plan,
            remedy="run the extract command again, with all the options that it had",
        )
    sealed.close()
    return contents_of(sealed, PLAN)


def followed(path: Path) -> Path:
    """The file that is written when `path` is: what a link leads to, not the link."""
    return path.resolve() if path.is_symlink() else path


def contents_of(sealed: SealedFile, form: str) -> Contents:
    """All but the rows, if the parts agree.

    Raises:
        FeatureFileError: another format, version or specification, or parts that contradict each other.
    """
    found = sealed.attributes.get("format"), sealed.attributes.get("version")
    if found != (form, VERSION):
        raise FeatureFileError(
            f"A file with the attributes format = {form} and version = {VERSION}",
            found=f"format = {found[0]}, version = {found[1]}",
            where=sealed.path,
            remedy="name a file that this version of frozenprobe extract has written (see frozenprobe --version)",
        )
    try:
        contents = parse_contents(sealed)
        check_contents(contents)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise contradiction(sealed.path, f"{type(error).__name__}: {error}") from None
    return contents


def contradiction(path: Path, found: str) -> FeatureFileError:
    """The error for a file whose digests are right and whose parts do not fit each other: nobody's accident."""
    return FeatureFileError(
        "A feature file whose parts agree", found=found, where=path, remedy="do not use it; extract the features again"
    )


def parse_contents(sealed: SealedFile) -> Contents:
    """Read all but the rows."""
    attributes = sealed.attributes
    spec = FeatureSpec.parse(str(attributes["spec"]), where=sealed.path)
    if spec.fingerprint() != attributes["fingerprint"]:
        raise ValueError("the fingerprint is not that of the specification")
    views, fixed = sealed.texts("views"), int(attributes["test_views"])
    sample = None
    if "sample/cells" in sealed.arrays:
        columns, cells = sealed.texts("sample/columns"), sealed.texts("sample/cells")
        rows = tuple(cells[start : start + len(columns)] for start in range(0, len(cells), max(1, len(columns))))
        sample = Table(Path(str(attributes["sample_path"])), columns, rows)
    return Contents(
        spec=spec,
        dim=int(attributes["dim"]),
        test_views=views[:fixed],
        augmented_views=views[fixed:],
        class_names=sealed.texts("class_names"),
        train=parse_split(sealed, "train"),
        test=parse_split(sealed, "test") if "test/ids" in sealed.arrays else None,
        sample=sample,
        about={str(name): str(value) for name, value in json.loads(str(attributes["about"])).items()},
    )


def parse_split(sealed: SealedFile, name: str) -> Split:
    """Read one split's index."""
    arrays = sealed.arrays
    return Split(
        ids=sealed.texts(f"{name}/ids"),
        hashes=sealed.texts(f"{name}/hashes"),
        usable=arrays[f"{name}/usable"].astype(bool),
        labels=arrays[f"{name}/labels"].astype(np.int64) if f"{name}/labels" in arrays else None,
        groups=sealed.texts(f"{name}/groups") if f"{name}/groups" in arrays else None,
        folds=sealed.texts(f"{name}/folds") if f"{name}/folds" in arrays else None,
    )


def check_contents(contents: Contents) -> None:
    """Hold the parts against each other.

    Raises:
        ValueError: what does not fit.
    """
    if contents.spec.storage_dtype not in ("float16", "float32"):
        raise ValueError(f"features stored as {contents.spec.storage_dtype}")
    if "name" not in dict(json.loads(contents.spec.preprocessing)):
        raise ValueError("a preprocessing without a name")
    environments_of(contents.about)  # raises ValueError if it is no list
    if contents.test_views[:1] != ("clean",) or len(set(contents.views)) < len(contents.views):
        raise ValueError(f"views {contents.views}, of which {len(contents.test_views)} are test-time views")
    if list(contents.class_names) != sorted(set(contents.class_names)):
        raise ValueError("class names that are not sorted, or not different")
    if contents.train.labels is None:
        raise ValueError("no labels")
    labels = contents.train.labels
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(contents.class_names):
        raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(contents.class_names)} classes")
    for name, split, _ in contents.splits:
        columns = (split.hashes, split.usable, split.labels, split.groups, split.folds)
        if any(column is not None and len(column) != len(split) for column in columns):
            raise ValueError(f"columns of different lengths in {name}")
        if len(set(split.ids)) < len(split):
            raise ValueError(f"ids in {name} that are not different")


def newest_features(folder: Path) -> Path:
    """The feature file in `folder` with the newest creation time stored inside.

    Raises:
        FeatureFileError: there is none.
    """
    found = [open_features(path) for path in sorted(folder.glob("*.h5")) if not path.name.startswith(".")]
    if not found:
        for waiting in sorted(folder.glob("*.h5.pieces")):
            require_file(waiting.with_suffix(""))
        raise FeatureFileError(
            "A feature file (*.h5)",
            found="none",
            where=folder.absolute(),
            remedy="make one with: frozenprobe extract, or name one: frozenprobe probe FEATURES.h5",
        )
    return max(found, key=lambda features: features.about.get("created", "")).path
