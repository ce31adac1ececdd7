"""CSV files as the project reads and writes them: every cell a string, written aside and renamed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from frozenprobe.errors import FrozenprobeError, some
from frozenprobe.system.atomic_files import publish_text
from frozenprobe.system.files import NoRegularFile, require_regular


@dataclass(frozen=True)
class Table:
    """A CSV file: its column names and its rows, all strings (`007` and a class called `NA` survive)."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of one column, top to bottom.

        Raises:
            FrozenprobeError: no such column; the message lists those there are.
        """
        if name not in self.columns:
            raise FrozenprobeError(
                f"A column named {name!r}",
                found=f"the columns {', '.join(self.columns)}",
                where=self.path,
                remedy="name one of these columns",
            )
        index = self.columns.index(name)
        return tuple(row[index] for row in self.rows)


def read_text(path: Path, broken: Callable[..., FrozenprobeError]) -> str:
    """The text of a file of a user's, in UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        broken: makes the error of (what was found, what to do; without it, how to save such a file).

    Raises:
        FrozenprobeError: there is no such file, or no text in UTF-8 in it.
    """
    try:
        require_regular(path)
        return path.read_text(encoding="utf-8-sig")
    except NoRegularFile as error:
        raise broken(str(error), "name a file") from None
    except FileNotFoundError:
        raise broken("no such file", "check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise broken(str(error)) from None


def read_table(path: Path) -> Table:
    """Read a CSV with a header line; comma, semicolon or tab, whichever splits the header most; UTF-8.

    Raises:
        FrozenprobeError: no such file, not UTF-8, no header, duplicate columns or a row of another width.
    """

    def broken(found: str, remedy: str = "save it as CSV in UTF-8, one row a line") -> FrozenprobeError:
        return FrozenprobeError("A CSV file with a header line", found=found, where=path, remedy=remedy)

    text = read_text(path, broken)
    header = text.split("\n", 1)[0]
    try:
        delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise broken(str(error)) from None
    if not lines:
        raise broken("an empty file")
    columns = tuple(name.strip() for name in lines[0])
    if len(set(columns)) < len(columns):
        raise broken(f"columns of the same name: {', '.join(columns)}")
    ragged = [number for number, row in enumerate(lines, start=1) if len(row) != len(columns)]
    if ragged:
        raise broken(f"{len(columns)} columns in the header, another number of cells in row {some(ragged)}")
    return Table(path, columns, tuple(tuple(row) for row in lines[1:]))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated UTF-8 CSV with `\\n` line ends; aside first, then renamed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    publish_text(path, text.getvalue())
