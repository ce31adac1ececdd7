"""The feature file as a whole: what is in it, opening it and publishing it (docs/format.md is its specification)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.hdf5 import Refused
from frozenprobe.cache.container.read import (
    BLOCK_ROWS,
    DamagedBlock,
    FeatureArray,
    SealedFile,
    Vectors,
    as_rows,
    salvage,
)
from frozenprobe.cache.container.seal import MAGIC, Damage
from frozenprobe.cache.container.write import NewArray, publish_sealed
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.layout import FEATURES, PLAN, VERSION, arrays_of, attributes_of, contents_of, contradiction
from frozenprobe.cache.paths import piece_files, pieces_folder, plan_path
from frozenprobe.errors import FeatureFileError, some, unknown_name
from frozenprobe.system.files import StrPath, open_regular

if TYPE_CHECKING:
    import pandas as pd

READ_ROWS = 16 * BLOCK_ROWS  # rows of a view that are read before they become float32

ReadBlock = Callable[[slice, Split, Sequence[str]], Vectors]
HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Features(Contents):
    """An opened feature file. It is read as it was when it was opened, whatever takes its name later.

    `taps` are those that are read: all that are stored, or those of `select_tap`.
    """

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
        count, total, _ = self.arrays(split)[0].shape
        images = np.arange(total)[rows]
        out = np.empty((len(images), len(views), self.dim), dtype=np.float32)
        for start in range(0, len(images), READ_ROWS):
            block = slice(start, start + READ_ROWS)
            for position, view in enumerate(views):
                try:
                    out[block, position] = self.read_rows(split, range(count)[view], images[block])
                except DamagedBlock as damage:
                    raise self.named(damage, split) from None
        return out

    def read_rows(self, split: str, view: int, rows: npt.NDArray[np.int64]) -> Vectors:
        """`(len(rows), D)` of one view in the stored dtype, in the order asked for.

        Raises:
            DamagedBlock: a block is not what was sealed.
        """
        parts = [self.sealed.read_rows(array, view, rows) for array in self.arrays(split)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def to_frame(self, split: str = "train", views: Sequence[str] = ("clean",)) -> pd.DataFrame:
        """Features of some views as a table: the id is the index, then a column a feature, called `<tap>_<number>`.

        Training images have their class name in a first column `label`. Of several views there is a row a view, and
        `view` is the second level of the index. Images that could not be decoded have NaN.

        Args:
            split: `train` or `test`.
            views: names of stored views.

        Raises:
            FrozenprobeError: no such split or view, or damaged features.
        """
        import pandas as pd

        stored = {name: (images, known) for name, images, known in self.splits}
        if split not in stored:
            raise unknown_name(f"split of {self.path}", split, stored, where="to_frame")
        images, known = stored[split]
        for view in views:
            if view not in known:
                raise unknown_name(f"stored view of {self.path}", view, known, where="to_frame")
        rows = self.read(split, [known.index(view) for view in views])
        rows[~images.usable] = np.nan
        index = pd.MultiIndex.from_product([images.ids, views], names=["id", "view"])
        columns = [f"{tap}_{number}" for tap, size in self.taps for number in range(size)]
        frame = pd.DataFrame(rows.reshape(-1, self.dim), index=index, columns=columns)
        if images.labels is not None:
            frame.insert(0, "label", np.repeat(np.array(self.class_names)[images.labels], len(views)))
        return frame.droplevel("view") if len(views) == 1 else frame

    @property
    def tap(self) -> str:
        """The taps that are read, joined by `+`."""
        return "+".join(name for name, _ in self.taps)

    def select_tap(self, tap: str | None) -> Features:
        """The same file with only some of its taps: `cls`, or several joined by `+`; None: as it is.

        They stand side by side in the order of the file, whatever the order they are named in.

        Raises:
            FrozenprobeError: a tap that the file does not have.
        """
        if tap is None:
            return self
        wanted, stored = tap.split("+"), [name for name, _ in self.taps]
        for name in wanted:
            if name not in stored:
                raise unknown_name(f"tap of {self.path}", name, stored, where="--tap")
        return replace(self, taps=tuple(each for each in self.taps if each[0] in wanted))

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

    def arrays(self, split: str) -> list[FeatureArray]:
        """The feature arrays of a split, one for each tap."""
        return [self.sealed.features[f"{split}/features/{tap}"] for tap, _ in self.taps]


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
        f"{name}/features": NewArray(
            (len(views), len(split), contents.dim), dtype, blocks_of(split, views, read_block), contents.taps
        )
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


def open_features(path: StrPath) -> Features:
    """Open a feature file; reads and checks all but the feature rows, whose blocks are checked as they are read.

    Raises:
        FeatureFileError: no such file, not a feature file, another format version, damaged, or parts that contradict
            each other.
    """
    path = Path(path)
    require_file(path)
    sealed = open_sealed(path)
    try:
        return features_of(sealed)
    except BaseException:
        sealed.close()
        raise


def opened(files: Features | StrPath | Sequence[Features | StrPath]) -> list[Features]:
    """One or several feature files, opened ones or their names, as a list of opened ones.

    Raises:
        FeatureFileError: an empty list, or as `open_features`.
    """
    several = [files] if isinstance(files, Features | str | os.PathLike) else files
    if not several:
        raise FeatureFileError(
            "At least one feature file",
            found="an empty list",
            where="the feature files",
            remedy="frozenprobe extract makes one",
        )
    return [each if isinstance(each, Features) else open_features(each) for each in several]


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
    with open_regular(path) as file:
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
    if not features.taps:
        raise contradiction(sealed.path, "no taps")
    for name, split, views in features.splits:
        for tap, dim in features.taps:
            array = sealed.features.get(f"{name}/features/{tap}")
            shape = (len(views), len(split), dim)
            if array is None or array.shape != shape or array.dtype != np.dtype(features.spec.storage_dtype):
                found = "no features" if array is None else f"features of the shape {array.shape} in {array.dtype}"
                wanted = f"{shape} in {features.spec.storage_dtype}"
                raise contradiction(sealed.path, f"{found} in {name}/features/{tap}, not {wanted}")
    return features


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
    except FileNotFoundError:  # finished in the meantime
        return None
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


def newest_features(folder: StrPath) -> Path:
    """The feature file in `folder` with the newest creation time stored inside.

    Raises:
        FeatureFileError: there is none.
    """
    folder = Path(folder)
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
