"""Make each change of the table in a copy of the repository and see whether the test beside it fails.

python -m tests.mutants [WORD ...] [--jobs N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("frozenprobe", "tests", "benchmarks", "docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "setup.cfg")
SECONDS = 240  # a change may make a test wait for ever: that is noticed, too
PYTEST = [sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-n", "0", "-x", "-q"]
PYTEST += ["--hypothesis-profile", "mutants"]  # the first example that fails is enough
PASSED, FAILED = 0, 1  # exit codes of pytest; any other one says that no test was run


class Verdict(NamedTuple):
    """What came of a change: `noticed`, `NOT NOTICED`, or why it could not be tried."""

    mutant: Mutant
    says: str

    @property
    def is_noticed(self) -> bool:
        """Whether a test failed, or ran for ever."""
        return self.says.startswith("noticed")


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all that was asked for; 1 if a change is not noticed or cannot be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="try only what has one of these words in its place, change or tests")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time (default: one a core)")
    parser.add_argument("--json", type=Path, help="write the verdicts to this file")
    asked = parser.parse_args(arguments)
    verdicts = []
    for verdict in try_all(chosen(asked.words), jobs=asked.jobs):
        verdicts.append(verdict)
        print(line_of(verdict), flush=True)
    noticed = sum(verdict.is_noticed for verdict in verdicts)
    print(f"{noticed} of {len(verdicts)} noticed ({noticed / max(1, len(verdicts)):.1%})")
    if asked.json:
        rows = [verdict.mutant._asdict() | {"says": verdict.says} for verdict in verdicts]
        asked.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return int(noticed < len(verdicts) or not verdicts)


def chosen(words: Sequence[str]) -> list[Mutant]:
    """The changes that have one of the words somewhere; all without words."""
    return [mutant for mutant in MUTANTS if not words or any(word in " ".join(mutant) for word in words)]


def line_of(verdict: Verdict) -> str:
    """A line of the table."""
    mutant = verdict.mutant
    before, after = (" ".join(text.split()) for text in (mutant.before, mutant.after))
    return f"{verdict.says:<12} {mutant.file}: {before} -> {after or '(nothing)'}   [{mutant.tests}]"


def try_all(mutants: Sequence[Mutant], *, jobs: int) -> Iterator[Verdict]:
    """Try some changes, several at a time, in their order.

    Raises:
        SystemExit: a test fails without any change, so that its failing would say nothing.
    """
    with copies(jobs) as free, ThreadPoolExecutor(jobs) as pool:
        tests = sorted({test for mutant in mutants for test in mutant.tests.split()})
        parts = [part for start in range(jobs) if (part := tests[start::jobs])]
        for result in pool.map(lambda part: run_in(free, part), parts):
            if result.returncode != PASSED:
                raise SystemExit(f"{result.stdout}\nwithout any change, not all tests pass")
        yield from pool.map(lambda mutant: try_one(mutant, free), mutants)


@contextmanager
def copies(count: int) -> Iterator[queue.Queue[Path]]:
    """Copies of what tests need, to be taken and given back."""
    with tempfile.TemporaryDirectory() as scratch:
        free: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            copy = Path(scratch, str(number))
            copy.mkdir()
            for name in COPIED:
                copy_in(ROOT / name, copy / name)
            free.put(copy)
        yield free


def copy_in(source: Path, target: Path) -> None:
    """Copy a file or a folder, but nothing that was compiled: it would be taken for the changed module's."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def try_one(mutant: Mutant, free: queue.Queue[Path]) -> Verdict:
    """Make the change, run its tests, take it back."""
    copy = free.get()
    place = copy / mutant.file
    content = place.read_text(encoding="utf-8")
    try:
        if content.count(mutant.before) != 1:
            return Verdict(mutant, f"found {content.count(mutant.before)} times")
        place.write_text(content.replace(mutant.before, mutant.after), encoding="utf-8")
        status = run(copy, mutant.tests.split()).returncode
        return Verdict(mutant, {PASSED: "NOT NOTICED", FAILED: "noticed"}.get(status, f"no test was run ({status})"))
    except subprocess.TimeoutExpired:
        return Verdict(mutant, "noticed (for ever)")
    finally:
        place.write_text(content, encoding="utf-8")
        free.put(copy)


def run_in(free: queue.Queue[Path], tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy that is free."""
    copy = free.get()
    try:
        return run(copy, tests)
    finally:
        free.put(copy)


def run(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests on the code of a copy, whatever is installed."""
    here = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*PYTEST, *tests], cwd=copy, env=here, capture_output=True, text=True, timeout=SECONDS)


if __name__ == "__main__":
    sys.exit(main())
