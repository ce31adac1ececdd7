"""The feature cache beside plain sequential I/O: write, fold, open, read, verify and merge 10 GB; MB/s and peak memory.

    python benchmarks/bench_cache.py --gb 10 --dir /some/disk

Every stage runs in a process of its own, so that its peak memory is its own, and after the page cache has been told to
drop the files. Plain I/O (8 MB writes with one fsync, 8 MB reads) is measured before and after, on the same disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.contents import Contents, Split
from frozenprobe.cache.growing.finish import begin, finish
from frozenprobe.cache.growing.rows import RowStore
from frozenprobe.cache.spec import FeatureSpec
from frozenprobe.cache.store import open_features

DIM, VIEWS, BLOCK = 1024, 9, 8 << 20
SPEC = FeatureSpec(
    "synthetic",
    "0" * 64,
    '{"name":"weights"}',
    "mild",
    1,
    0,
    "full",
    "cpu",
    "head-input",
    "torch",
    "float32",
    "float16",
)


def contents(images: int, first: int = 0) -> Contents:
    """The index of a file of so many images in 1000 classes, with one test-time view and 8 augmented ones."""
    numbers = range(first, first + images)
    ids = tuple(f"n{number // 500:08d}/photo_{number:08d}.jpg" for number in numbers)
    hashes = tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in numbers)
    labels = np.array([number // 500 % 1000 for number in numbers], dtype=np.int64)
    train = Split(ids, hashes, np.ones(images, dtype=bool), labels)
    names = tuple(f"class {label:04d}" for label in range(1000))
    return Contents(
        SPEC,
        (("head-input", DIM),),
        ("clean",),
        tuple(f"aug{view}" for view in range(1, VIEWS)),
        names,
        train,
        None,
        None,
    )


def add_pieces(path: Path, images: int, batch: int, first: int = 0) -> None:
    """What an extraction writes while it computes: a closed, fsynced piece a batch."""
    planned = contents(images, first)
    rows = RowStore(path, planned)
    begin(path, rows, planned)
    noise = np.random.default_rng(first).normal(size=(batch + VIEWS + 997, DIM)).astype(np.float16)
    waiting: list[tuple[str, str]] = []
    for number, code in enumerate(planned.train.hashes):
        waiting += [(code, view) for view in planned.views]
        if len(waiting) >= batch or number == images - 1:
            start = number % 997
            rows.add([code for code, _ in waiting], [view for _, view in waiting], noise[start : start + len(waiting)])
            waiting = []


def renamed(path: Path, images: int) -> None:
    """Every photo gets another name, which puts all of them in another order: nothing is computed, all is rewritten."""
    planned = contents(images)
    ids = tuple(f"{code[:8]}/{name}" for name, code in zip(planned.train.ids, planned.train.hashes, strict=True))
    order = sorted(range(images), key=ids.__getitem__)
    train = Split(
        tuple(ids[row] for row in order),
        tuple(planned.train.hashes[row] for row in order),
        np.ones(images, dtype=bool),
        planned.train.labels[order] if planned.train.labels is not None else None,
    )
    planned = replace(planned, train=train)
    rows = RowStore(path, planned, open_features(path))
    assert rows.there == rows.total
    finish(path, rows, planned, computed=False)


def fold(path: Path, images: int, first: int = 0) -> None:
    """What an extraction does at its end, or after a kill: index the pieces and write the finished file."""
    planned = contents(images, first)
    rows = RowStore(path, planned)
    assert rows.there == rows.total
    finish(path, rows, planned, computed=True)


def read(path: Path, views: list[int]) -> None:
    """Read some views of all images, 1024 images at a time."""
    features = open_features(path)
    for start in range(0, len(features.train), 1024):
        assert features.read("train", views, slice(start, start + 1024)).any()


def write_plainly(path: Path, size: int) -> None:
    """What dd would do."""
    block = os.urandom(BLOCK)
    with open(path, "wb", buffering=0) as file:
        for _ in range(size // BLOCK):
            file.write(block)
        os.fsync(file.fileno())


def read_plainly(path: Path) -> None:
    """What dd would do."""
    with open(path, "rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def forget(folder: Path) -> None:
    """Tell the page cache to drop the files, so that reading them reads the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def stages(folder: Path, size: int, batch: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Name -> (what to do, bytes of features that it writes or reads)."""
    images = size // (DIM * VIEWS * 2)
    small = max(2, images // 20)
    path, other, plain = folder / "f.h5", folder / "other.h5", folder / "plain"
    return {
        "plain write": (lambda: write_plainly(plain, size), size),
        "plain read": (lambda: read_plainly(plain), size),
        "pieces": (lambda: add_pieces(path, images, batch), size),
        "fold": (lambda: fold(path, images), size),
        "open": (lambda: open_features(path), 0),
        "read all views": (lambda: read(path, list(range(VIEWS))), size),
        "read one view": (lambda: read(path, [3]), size // VIEWS),
        "verify": (lambda: verify_features(path), size),
        "other file": (lambda: (add_pieces(other, small, 4096, images), fold(other, small, images)), size // 20),
        "merge": (lambda: merge_features([path, other]), size + size // 20),
        "rename every photo": (lambda: renamed(path, images), size),
        "plain write again": (lambda: write_plainly(plain, size), size),
        "plain read again": (lambda: read_plainly(plain), size),
    }


def main() -> None:
    """Run every stage and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=10.0, help="of features")
    parser.add_argument(
        "--dir", type=Path, default=Path("bench-cache"), help="on the disk to measure; removed afterwards"
    )
    parser.add_argument("--batch", type=int, default=256, help="rows in a batch")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    every = stages(given.dir, int(given.gb * 1e9), given.batch)
    if given.stage:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        every[given.stage][0]()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"seconds": seconds, "peak": peak / 1e3, "before": before / 1e3}))
        return
    given.dir.mkdir(parents=True)
    measured: dict[str, dict[str, float]] = {}
    try:
        for name, (_, size) in every.items():
            forget(given.dir)
            options = ["--gb", str(given.gb), "--dir", str(given.dir), "--batch", str(given.batch), "--stage", name]
            out = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True)
            measured[name] = json.loads(out.stdout) | {"size": size}
            print(f"{name}: {measured[name]['seconds']:.1f} s", file=sys.stderr)
        print_table(measured, given.gb, given.batch)
    finally:
        shutil.rmtree(given.dir)


def print_table(measured: dict[str, dict[str, float]], gigabytes: float, batch: int) -> None:
    """MB/s, the share of what plain I/O reaches (the median of its two runs), and peak memory."""

    def rate(name: str) -> float:
        return measured[name]["size"] / 1e6 / measured[name]["seconds"]

    plain = {
        "write": statistics.median([rate("plain write"), rate("plain write again")]),
        "read": statistics.median([rate("plain read"), rate("plain read again")]),
    }
    print(f"{gigabytes:g} GB: {int(gigabytes * 1e9) // (DIM * VIEWS * 2):,} images x {VIEWS} views x {DIM}, float16; "
          f"batches of {batch} rows")  # fmt: skip
    print(f"{'stage':<20}{'seconds':>9}{'MB/s':>9}{'of plain':>10}{'peak MB':>9}")
    for name, each in measured.items():
        kind = (
            "write"
            if name in ("pieces", "fold", "merge", "other file", "rename every photo") or "write" in name
            else "read"
        )
        speed = f"{rate(name):9.0f}{rate(name) / plain[kind]:10.2f}" if each["size"] else f"{'':>19}"
        print(f"{name:<20}{each['seconds']:>9.1f}{speed}{each['peak']:>9.0f}")


if __name__ == "__main__":
    main()
