"""CSV files as the project reads and writes them: every cell a string, written aside and renamed."""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from frozenprobe.errors import FrozenprobeError, some, unknown_name
from frozenprobe.system.atomic_files import publish_text
from frozenprobe.system.files import NoRegularFile, did_you_mean, read_regular

log = logging.getLogger("frozenprobe")

MARKS = {  # the longer ones first: UTF-32's begins as UTF-16's does
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
QUOTED = re.compile(r"""\s+"(.+)"\s*|\s*'(.+)'\s*""", re.DOTALL)  # quotes that mean none in CSV
WESTERN = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u00fe\u2019\u2013\u00b0"
DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t]*(\r\n|\r|\n)', re.IGNORECASE)  # written for Excel
LOOKED_AT = 100  # records, to guess the delimiter
NAMELESS = "Unnamed: "  # and the number of the column, from 0, as pandas calls it

Record = tuple[int, list[str]]  # line in which it begins, from 1; cells
Broken = Callable[..., FrozenprobeError]


@dataclass(frozen=True)
class Table:
    """A CSV file: its column names and its rows, all strings (`007` and a class called `NA` survive)."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of one column, top to bottom.

        Raises:
            FrozenprobeError: no such column; the message says the nearest one and lists those there are.
        """
        if name not in self.columns:
            raise unknown_name("column", name, self.columns, where=str(self.path))
        index = self.columns.index(name)
        return tuple(row[index] for row in self.rows)

    def without_header(self) -> Table:
        """The table of a file that has no header line: what was taken for one is its first row, columns are 1, 2 ..."""
        names = tuple(str(number) for number in range(1, len(self.columns) + 1))
        first = tuple("" if name.startswith(NAMELESS) else name for name in self.columns)
        log.info("%s: no header line; columns are called %s, the first row is %s", self.path, some(names), some(first))
        return Table(self.path, names, (first, *self.rows))


def read_text(path: Path, broken: Broken) -> str:
    """The text of a file of a user's, lines ending in `\\n`: UTF-8, else UTF-16 or likely cp1252, which is said.

    Args:
        path: the file.
        broken: makes the error of (what was found, what to do; without it, how to save such a file).

    Raises:
        FrozenprobeError: there is no such file, or no text in it.
    """
    try:
        content = read_regular(path)
    except NoRegularFile as error:
        raise broken(str(error), "name a file") from None
    except FileNotFoundError:
        raise broken("no such file", f"{did_you_mean(path)}check the path") from None
    except OSError as error:
        raise broken(str(error)) from None
    if content.startswith(SPREADSHEETS):
        raise broken("a spreadsheet (.xlsx, .xls) or another packed file, and no text")
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        shown = content.split(b"\n")[line - 1][:60].decode("ascii", "backslashreplace")
        raise broken(f"bytes that are not {encoding.upper()} in line {line}: {shown}") from None
    if "\0" in text:
        raise broken(f"a NUL character in line {text[: text.index(chr(0))].count(chr(10)) + 1}: no text file")
    if encoding == "cp1252":
        example = next(line.strip() for line in text.splitlines() if not line.isascii())
        log.info("%s: read as Windows' cp1252, for example %r; if that is garbled, save as UTF-8", path, example[:60])
    elif not encoding.startswith("utf-8"):
        log.info("%s: read as %s", path, encoding.upper())
    return text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def encoding_of(content: bytes) -> str:
    """The encoding of a text: what its byte order mark says, else UTF-8 or what else its bytes can be."""
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return encoding
    even, odd = content[::2].count(0), content[1::2].count(0)
    if even + odd > len(content) // 4:  # ASCII in UTF-16 has a zero in every pair
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if is_western(content.decode("cp1252", errors="replace")):
            return "cp1252"
    return "utf-8"


def is_western(text: str) -> bool:
    """Whether bytes read as cp1252 are letters and signs of Western Europe alone, and never three of them in a row.

    Bytes of other encodings, such as those of Russian, Polish, Chinese or old Macs, soon are something else.
    """
    return not re.search(f"[^\\0-\\x7f{WESTERN}]|[{WESTERN}]{{3}}", text)


def read_table(path: Path) -> Table:
    """Read a CSV with a header line: comma, semicolon, tab or bar, whichever splits its lines into as many cells each.

    What spreadsheets leave behind is put right, and said: a first line `sep=;`, empty rows, nameless columns without
    a cell, columns twice. A nameless column with cells is called as pandas calls it, `Unnamed: 0`.

    Raises:
        FrozenprobeError: no such file, no text, no header, two columns of one name or a row of another width.
    """

    def broken(found: str, remedy: str = "save it as CSV in UTF-8, one row a line") -> FrozenprobeError:
        return FrozenprobeError("A CSV file with a header line", found=found, where=path, remedy=remedy)

    text, notes = read_text(path, broken), list[str]()
    said = SEPARATOR_LINE.match(text)
    if said:
        text = "\n" + text[said.end() :]  # lines keep their numbers
        notes.append(f"cells parted by {said[1]!r}, as its first line says")
    records = list(read_records(text, said[1] if said else guess_delimiter(text), broken))
    filled = [(line, row) for line, row in records if any(map(str.strip, row))]
    if not filled:
        raise broken("an empty file")
    if len(filled) < len(records):
        empty = [line for line, row in records if not any(map(str.strip, row))]
        notes.append(f"{len(empty)} empty rows left out, in line {some(empty)}")
    table = name_columns(path, even_out(filled, broken), broken, notes)
    if notes:
        log.info("%s: %s", path, "; ".join(notes))
    return table


def read_records(text: str, delimiter: str, broken: Broken) -> Iterator[Record]:
    """The records of a CSV but for blank lines.

    Raises:
        FrozenprobeError: a quote that does not end, or not with its cell.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        remedy = 'put cells with a quote in them in quotes, and double it: "5"" pot"'
        raise broken(f"{error}, in the row that begins in line {line}: a quote that has no other?", remedy) from None


def guess_delimiter(text: str) -> str:
    """The delimiter that splits the first records into several cells each and as evenly as can be, then most cells."""

    def evenness(delimiter: str) -> tuple[bool, float, int]:
        widths: list[int] = []
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            widths += (len(row) for row in islice(reader, LOOKED_AT) if any(map(str.strip, row)))
        except csv.Error:
            widths.append(0)
        width = widths[0] if widths else 0
        return (True, widths.count(width) / len(widths), width) if width > 1 else (False, 0.0, 0)

    return max(DELIMITERS, key=evenness)  # the first one of equals


def even_out(records: Sequence[Record], broken: Broken) -> list[list[str]]:
    """Header and rows of one width: what trailing delimiters add or lack is no cell.

    Raises:
        FrozenprobeError: rows of another width; shows one of them and its line.
    """
    header = records[0][1]
    named = max((number for number, name in enumerate(header, start=1) if name.strip()), default=0)
    rows = []
    for line, row in records:
        cells = row[: len(header)] if not any(row[len(header) :]) else row
        cells += [""] * (len(header) - len(cells) if len(cells) >= named else 0)
        if len(cells) != len(header):
            raise broken(
                f"{len(cells)} cells in line {line} ({' | '.join(cells)[:80]}), but "
                f"{len(header)} columns in the header ({' | '.join(header)[:80]})",
                "put cells that have a delimiter in them in double quotes, and complete rows that are short",
            )
        rows.append(cells)
    return rows


def without_quotes(cells: tuple[str, ...]) -> tuple[str, ...]:
    """The cells of a column, header first, without quotes that are none in CSV but stand around all of them.

    They follow a space (`1.jpg, "red"`), or are single ones.
    """
    quoted = [QUOTED.fullmatch(cell) for cell in cells[1:]]
    if not quoted or not all(quoted):
        return cells
    return tuple(match[1] or match[2] if (match := QUOTED.fullmatch(cell)) else cell for cell in cells)


def name_columns(path: Path, rows: Sequence[Sequence[str]], broken: Broken, notes: list[str]) -> Table:
    """A table of rows of one width, the first of which is the header; what was left out is added to the notes.

    Raises:
        FrozenprobeError: two columns of one name with other cells.
    """
    columns = [without_quotes(column) for column in zip(*rows, strict=True)]
    names, cells = [column[0].strip() for column in columns], [column[1:] for column in columns]
    kept: dict[str, tuple[str, ...]] = {}
    for number, (name, column) in enumerate(zip(names, cells, strict=True)):
        if (not name and not any(column)) or (name and kept.get(name) == column):
            notes.append(f"column {number + 1} left out: " + (f"{name!r} again" if name else "no name and no cells"))
        elif name in kept:
            raise broken(
                f"two columns of the same name, {name!r}, with other cells",
                "rename one; if the file has no header line, write one",
            )
        else:
            kept[name or f"{NAMELESS}{number}"] = column
    return Table(path, tuple(kept), tuple(zip(*kept.values(), strict=True)) if rows[1:] else ())


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a comma-separated UTF-8 CSV with `\\n` line ends; aside first, then renamed."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    publish_text(path, text.getvalue())
