"""Feature rows on their way into a file: closed pieces beside it, and where every row of a plan lies."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from frozenprobe.cache.container.hdf5 import Refused, as_texts
from frozenprobe.cache.container.read import FeatureArray, SealedFile, Vectors
from frozenprobe.cache.container.seal import Damage
from frozenprobe.cache.contents import Contents, Split, Taps, environments_of
from frozenprobe.cache.damage import whole_rows
from frozenprobe.cache.growing.pieces import Hashes, environments_in, open_piece, read_piece, write_piece
from frozenprobe.cache.paths import checked_files, piece_files, pieces_folder, plan_path
from frozenprobe.cache.store import Features
from frozenprobe.errors import FeatureFileError, some

SMALL_PIECES = 128  # so many are joined into one, so that a folder never holds more than a few thousand files
JOINED_BYTES = 8 << 20  # or so many bytes; larger pieces are not joined again
OPEN_PIECES = 8
LEAST_COSINE = 0.999  # bfloat16 against float32 gives 0.9999; another preprocessing or other weights far less

Integers = npt.NDArray[np.int64]


class LostPiece(FeatureFileError):
    """A piece that was there when this process looked, and is not, or not whole, any more."""


@dataclass
class Source:
    """Where rows lie: a split of the finished file (`piece` is None) or a piece.

    Attributes:
        split: of the finished file.
        views: the views in the order of the finished file's feature array.
        piece: the file.
        size: its bytes.
        foreign: rows in it that the plan does not want.
    """

    split: str = ""
    views: tuple[str, ...] = ()
    piece: Path | None = None
    size: int = 0
    foreign: int = 0


class RowStore:
    """The rows of a planned feature file that exist: in the finished file, if any, and in the pieces beside it.

    A piece is a small sealed file, published by rename, in the folder `<file>.pieces`. A killed process therefore
    loses at most the rows it had not yet handed over, and no file is ever open for writing under a final name.
    Pieces of another specification are left alone; rows of damaged blocks count as missing.

    Args:
        path: the feature file the rows are for; it need not exist.
        contents: what it will hold.
        existing: the finished file of the same specification, or None.
        check: read every piece to the end, and leave damaged blocks out.
        alone: no other process writes pieces beside the file: those that are there may be joined. Ranks are not alone.
    """

    def __init__(
        self,
        path: Path,
        contents: Contents,
        existing: Features | None = None,
        *,
        check: bool = True,
        alone: bool = True,
    ) -> None:
        self.path, self.folder, self.spec, self.contents = path, pieces_folder(path), contents.spec, contents
        self.existing = existing
        self.dim = existing.dim if existing else 0
        self.views = {view: code for code, view in enumerate(contents.views)}
        usable = [as_texts(split.hashes)[split.usable] for _, split, _ in contents.splits]
        self.hashes: Hashes = np.unique(np.concatenate([*usable, as_texts([])]))
        shape = (len(self.views), len(self.hashes))
        self.wanted = np.zeros(shape, dtype=bool)
        for (_, _, views), hashes in zip(contents.splits, usable, strict=True):
            position = self._positions(hashes)
            for view in views:
                self.wanted[self.views[view], position] = True
        self.locations: Integers = np.full(shape, -1, dtype=np.int64)  # source << 32 | row
        self.origin: set[str] = set()  # environments of the rows that are added
        self.environments: set[str] = set()  # where those in pieces come from
        self.sources: list[Source] = []
        self.small: list[int] = []  # sources that are small pieces
        self.broken: list[Path] = []  # pieces of which nothing can be used
        self.opened: OrderedDict[Path, SealedFile] = OrderedDict()
        self._take_up_file()
        found = piece_files(path)
        self.next_number = 1 + max((int(piece.stem.split("-")[0]) for piece in found), default=-1)
        for piece in found:
            self._take_up(piece, check)
        if not alone:
            self.small = []  # whoever wrote them may be reading them

    def __contains__(self, row: tuple[str, str]) -> bool:
        position = int(self._positions(as_texts([row[0]]))[0])
        return row[1] in self.views and position >= 0 and bool(self.locations[self.views[row[1]], position] >= 0)

    @property
    def total(self) -> int:
        """Rows that the plan wants; copies of an image share theirs."""
        return int(self.wanted.sum())

    @property
    def there(self) -> int:
        """Rows of those that exist."""
        return int((self.wanted & (self.locations >= 0)).sum())

    def missing(self) -> dict[str, tuple[str, ...]]:
        """The views of each image content that are nowhere yet, by hash, in the order of the images."""
        lacking = self.wanted & (self.locations < 0)
        lacks: npt.NDArray[np.bool_] = lacking.max(axis=0, initial=False)
        found: dict[str, tuple[str, ...]] = {}
        for _, split, _ in self.contents.splits:
            positions = self._positions(as_texts(split.hashes))
            images = np.flatnonzero(split.usable & (positions >= 0))
            for image in images[lacks[positions[images]]].tolist():
                column = lacking[:, positions[image]]
                found[split.hashes[image]] = tuple(view for view, code in self.views.items() if column[code])
        return found

    def complete(self, split: Split, views: Sequence[str]) -> npt.NDArray[np.bool_]:
        """`(N,)` which images have all rows of these views; those that are not usable need none."""
        positions = self._positions(as_texts(split.hashes))
        codes = [self.views[view] for view in views]
        whole: npt.NDArray[np.bool_] = self.locations[codes].min(axis=0, initial=0) >= 0
        result = ~split.usable
        known = positions >= 0
        result[known] |= whole[positions[known]]
        return result

    def add(self, hashes: Sequence[str], views: Sequence[str], vectors: Vectors) -> None:
        """Publish rows as one piece.

        Args:
            hashes: content hash of each row's image.
            views: view name of each row.
            vectors: `(rows, D)`, finite in the storage dtype.

        Raises:
            DiskFull: no space is left; nothing of what was there is lost.
        """
        self._publish(as_texts(hashes), as_texts(views), vectors, self.origin)
        sizes = [self.sources[source].size for source in self.small]
        if len(sizes) >= SMALL_PIECES or (len(sizes) > 1 and sum(sizes) >= JOINED_BYTES):
            self._join_small()

    def stored(self, most: int = 1000) -> list[tuple[str, str]]:
        """Hash and view of rows that exist: all, or `most` of them spread evenly."""
        cells = np.flatnonzero(((self.locations >= 0) & self.wanted).T)  # all views of an image, then the next image
        chosen = cells[np.unique(np.linspace(0, len(cells) - 1, min(most, len(cells))).astype(int))].tolist()
        names = list(self.views)
        return [(self.hashes[cell // len(names)].decode(), names[cell % len(names)]) for cell in chosen]

    def row(self, content_hash: str, view: str) -> Vectors:
        """`(D,)`, one row."""
        image = Split(("",), (content_hash,), np.ones(1, dtype=bool))
        vector: Vectors = self.read_block(slice(None), image, [view])[0, 0]
        return vector

    def read_block(self, images: slice, split: Split, views: Sequence[str]) -> Vectors:
        """Rows of some images: `(images, len(views), D)` in the storage dtype; 0 where an image is not usable.

        Raises:
            KeyError: a row of a usable image is nowhere.
            FeatureFileError: a block is not what was written.
        """
        while True:
            try:
                return self._read_block(images, split, views)
            except LostPiece:
                if not self._look_again():
                    raise

    def _read_block(self, images: slice, split: Split, views: Sequence[str]) -> Vectors:
        """As `read_block`, where the rows were last seen."""
        positions = self._positions(as_texts(split.hashes[images]))
        codes = np.array([self.views[view] for view in views], dtype=np.int64)
        locations = self.locations[codes[None, :], positions[:, None]]
        locations[~split.usable[images] | (positions < 0)] = -1
        if (locations[split.usable[images]] < 0).any():
            raise KeyError("rows that have not been computed")
        out: Vectors = np.zeros((*locations.shape, self.dim), dtype=self.spec.storage_dtype)
        origin = locations >> 32
        for number in np.unique(origin[locations >= 0]).tolist():
            source = self.sources[number]
            for column, view in enumerate(views):
                image = np.flatnonzero(origin[:, column] == number)
                if source.piece is None and len(image):
                    assert self.existing is not None
                    rows = locations[image, column] & 0xFFFFFFFF
                    out[image, column] = self.existing.read_rows(source.split, source.views.index(view), rows)
            if source.piece is not None:
                cells = np.nonzero(origin == number)
                file, array = self._open(source.piece)
                out[cells] = file.read_rows(array, 0, locations[cells] & 0xFFFFFFFF)
        broken = np.flatnonzero(~np.isfinite(out).all(axis=(1, 2)))
        if len(broken):
            raise FeatureFileError(
                "Finite features",
                found=f"NaN or infinity in those of {some(split.ids[images][row] for row in broken.tolist())}",
                where=self.path,
                remedy=f"frozenprobe repair {self.path}   drops them; then the extract command computes them again",
            )
        return out

    def discard(self, *, keep_plan: bool = False) -> None:
        """Delete the plan, and the pieces whose rows are all in a finished file of the planned contents.

        A piece with other rows stays: a smoke run must not throw away what a killed full run had computed.

        Args:
            keep_plan: there is more to come.
        """
        self.close()
        plan = [] if keep_plan else [plan_path(self.path), *checked_files(self.path)]
        for needless in (*self.broken, *self.finished_pieces(), *plan):
            needless.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            with suppress(OSError):  # a rank that was started late has just put something there, and will come here too
                self.folder.rmdir()

    def finished_pieces(self) -> list[Path]:
        """The pieces whose rows the planned contents want, all of them: what a finished file makes needless."""
        return [source.piece for source in self.sources if source.piece is not None and not source.foreign]

    @property
    def known_environments(self) -> set[str]:
        """Where the rows come from, as the contents and the pieces say."""
        return {*environments_of(self.contents.about), *self.environments}

    def close(self) -> None:
        """Close the pieces."""
        while self.opened:
            self.opened.popitem()[1].close()

    def _positions(self, hashes: Hashes) -> Integers:
        """Index of each hash among those of the plan, -1 where it is not; equal neighbours are looked up once."""
        if not len(hashes) or not len(self.hashes):
            return np.full(len(hashes), -1, dtype=np.int64)
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
        found = np.minimum(np.searchsorted(self.hashes, hashes[starts]), len(self.hashes) - 1)
        found[self.hashes[found] != hashes[starts]] = -1
        repeated: Integers = np.repeat(found, np.diff(np.append(starts, len(hashes))))
        return repeated

    def _look_again(self) -> bool:
        """Note pieces that are new: another rank may have joined its own; whether there are any."""
        before, known, small = len(self.sources), {source.piece for source in self.sources}, list(self.small)
        for piece in piece_files(self.path):
            if piece not in known:
                self._take_up(piece, check=False)
        self.small = small
        return len(self.sources) > before

    def _take_up_file(self) -> None:
        """Note the rows of the finished file."""
        for name, split, views in self.existing.splits if self.existing else []:
            self.sources.append(Source(split=name, views=views))
            rows = np.flatnonzero(split.usable)
            positions = self._positions(as_texts(split.hashes)[rows])
            rows, positions = rows[positions >= 0], positions[positions >= 0]
            for view in set(views) & set(self.views):
                self.locations[self.views[view], positions] = (len(self.sources) - 1) << 32 | rows

    def _take_up(self, piece: Path, check: bool) -> None:
        """Note the rows of a piece of the same specification that an earlier run left."""
        try:
            file = open_piece(piece, self.spec)
        except OSError:
            return
        except (Damage, Refused):
            self.broken.append(piece)
            return
        if file is None:
            return
        array = file.features["features"]
        good = whole_rows(file, array) if check else np.ones(array.shape[1], dtype=bool)
        self.dim = self.dim or array.shape[2]
        if array.shape[2] == self.dim and good.any():
            self.environments |= environments_in(file)
            self._note(piece, file.seal.size, file.arrays["hashes"], file.arrays["views"], good)
        else:
            self.broken.append(piece)
        file.close()

    def _note(self, piece: Path, size: int, hashes: Hashes, views: Hashes, good: npt.NDArray[np.bool_]) -> None:
        """Remember where the good rows of a piece are."""
        number = len(self.sources)
        positions = self._positions(hashes)
        names, code = np.unique(views, return_inverse=True)
        codes = np.array([self.views.get(name.decode(), -1) for name in names.tolist()], dtype=np.int64)[code]
        known = (positions >= 0) & (codes >= 0)
        wanted = known.copy()
        wanted[known] = self.wanted[codes[known], positions[known]]
        self.sources.append(Source(piece=piece, size=size, foreign=int((good & ~wanted).sum())))
        known &= good
        self.locations[codes[known], positions[known]] = number << 32 | np.flatnonzero(known)
        if size < JOINED_BYTES // 2:
            self.small.append(number)

    def _publish(self, hashes: Hashes, views: Hashes, vectors: Vectors, environments: set[str]) -> None:
        """Write a piece and note its rows."""
        # the random part keeps two processes that write to one file by mistake from replacing each other's pieces
        piece = self.folder / f"{self.next_number:08d}-{secrets.token_hex(4)}.h5"
        self.dim = self.dim or vectors.shape[1]
        self.environments |= environments
        stored = vectors.astype(self.spec.storage_dtype)
        write_piece(piece, self.spec.fingerprint(), hashes, views, stored, environments=environments)
        self.next_number += 1
        self._note(piece, piece.stat().st_size, hashes, views, np.ones(len(hashes), dtype=bool))

    def _join_small(self) -> None:
        """Publish the rows of all small pieces as one piece; a kill in between leaves rows twice, and equal."""
        joined = [piece for source in self.small if (piece := self.sources[source].piece) is not None]
        parts = [read_piece(self._open(piece)[0]) for piece in joined]
        hashes, views, vectors = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        for source in self.small:
            self.sources[source] = Source()
        self.small = []
        self._publish(hashes, views, vectors, self.environments)
        self.close()
        for piece in joined:
            piece.unlink()

    def _open(self, piece: Path) -> tuple[SealedFile, FeatureArray]:
        """A piece, opened; the last few stay open."""
        if piece not in self.opened:
            if len(self.opened) > max(OPEN_PIECES, len(self.views)):  # repaired files have a view a piece
                self.opened.popitem(last=False)[1].close()
            try:
                self.opened[piece] = SealedFile(piece)
            except (Damage, Refused, FileNotFoundError) as error:
                raise LostPiece(
                    "A piece as it was a moment ago",
                    found=str(error),
                    where=piece,
                    remedy="run the same command again: what is lost is computed again",
                ) from None
        self.opened.move_to_end(piece)
        return self.opened[piece], self.opened[piece].features["features"]


def least_cosine(one: Vectors, other: Vectors, taps: Taps) -> float:
    """The least cosine over the taps of two rows: a long vector must not hide that a short one differs."""
    ends = np.cumsum([dim for _, dim in taps])[:-1]
    return min(cosine(a, b) for a, b in zip(np.split(one, ends), np.split(other, ends), strict=True))


def cosine(one: Vectors, other: Vectors) -> float:
    """Cosine of two vectors, in float64; 0 if one of them is 0."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
