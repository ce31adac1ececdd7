"""The CSV files beside the images -> the sample submission among them; what is not used is named."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from frozenprobe.errors import ImageError, some
from frozenprobe.system.csv_tables import Table, read_table
from frozenprobe.system.files import names_in, read_regular

log = logging.getLogger("frozenprobe")

TABLES = (".csv", ".tsv")
PACKED = (".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".xlsx", ".xls", ".ods", ".txt", ".json")
# A word for sample and one for what it is a sample of: `SampleSub.CSV`, `gender_submission`, `submission_format`.
# A `submission.csv` is somebody's answers.
FORM = re.compile(r"sample|example|format|template|gender|dummy|baseline|blank|empty|benchmark")
ANSWERS = re.compile(r"sub(?!set|ject|class)|solution|entry|answer|predict")
ABOUT_TRAINING = ("train", "label", "annot", "meta", "target", "class")  # in names of files, the likeliest first
ABOUT_TEST = ("sub", "test", "example", "format", "solution", "entry", "answer", "predict")


def find_sample(test: Path) -> Path | None:
    """The sample submission in or beside the test images; None: there is none.

    Copies of one file, byte for byte, count once. What looks like one, but is no CSV, is named.

    Raises:
        ImageError: different files that are called so; says what to paste.
    """
    for folder in near(test):
        found = different([path for path in tables_in([folder]) if is_sample_name(path.stem)])
        if len(found) > 1:
            raise ImageError(
                "One sample submission beside the test images",
                found=f"{len(found)} that differ: {some(path.name for path in found)}",
                where=folder.absolute(),
                remedy="add the one that is wanted: " + " or ".join(option("--sample", path) for path in found[:3]),
            )
        if found:
            return found[0]
        for name in names_in(folder):
            if name.lower().endswith(PACKED) and is_sample_name(name.split(".")[0]):
                log.info("%s may be the sample submission: unpack it, or save it as CSV", folder / name)
    return None


def read_sample(path: Path) -> Table:
    """Read it, and say that it is used.

    Raises:
        FrozenprobeError: no CSV that can be read.
    """
    table = read_table(path)
    log.info("sample submission: %s, %d rows of %s", path, len(table.rows), ", ".join(table.columns))
    return table


def near(source: Path) -> list[Path]:
    """The folders in which CSV files about images are looked for: theirs and the one above; two above a file."""
    here = source.resolve() if source.name in ("", "..") else source  # `.` has no parent but itself
    return [here, here.parent] if here.is_dir() else [here.parent, here.absolute().parent.parent]


def different(paths: Iterable[Path]) -> list[Path]:
    """One file of each content, that with the shortest name."""
    ordered = sorted(paths, key=lambda path: (-len(path.name), path.name))
    return sorted({read_regular(path): path for path in ordered}.values())


def tables_in(folders: Iterable[Path]) -> list[Path]:
    """The CSV files directly in folders, each once; hidden ones (`._sample.csv` of macOS, `~$` of Excel) are none."""
    found: dict[Path, Path] = {}
    for folder in folders:
        for name in sorted(name for name in names_in(folder) if name.lower().endswith(TABLES)):
            if not name.startswith((".", "~$")) and (folder / name).is_file():
                found.setdefault((folder / name).resolve(), folder / name)
    return list(found.values())


def is_sample_name(stem: str) -> bool:
    """Whether a file without its ending is named as a sample submission is."""
    name = stem.lower()
    return re.fullmatch(r"samples?\W*\d*\W*", name) is not None or bool(FORM.search(name) and ANSWERS.search(name))


def tell_unused(folders: Iterable[Path], *, used: Iterable[Path | None], labels: bool, sample: bool) -> None:
    """Name the CSV files in folders that nothing is read from, and the options that would read them.

    Args:
        folders: where the images are, and beside them.
        used: what is read.
        labels: whether labels may be among them.
        sample: whether a sample submission may be among them.
    """
    read = {path.resolve() for path in used if path is not None}
    unused = [path for path in tables_in(folders) if path.resolve() not in read and not is_sample_name(path.stem)]
    hints = []
    for what, flag, parts, asked in (
        ("labels", "--train-csv", ABOUT_TRAINING, labels),
        ("the sample submission", "--sample", ABOUT_TEST, sample),
    ):
        likely = [path for part in parts for path in unused if part in path.stem.lower()]
        if asked:
            hints.append(f"{what}: {option(flag, likely[0]) if likely else f'{flag} FILE'}")
    if unused:
        log.info("not used: %s%s", some(unused), f"; if one holds {', or '.join(hints)}" if hints else "")


def option(flag: str, path: Path) -> str:
    """An option as it is pasted."""
    return f'{flag} "{path}"' if " " in str(path) else f"{flag} {path}"
