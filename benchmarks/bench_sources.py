"""The same images as files in class folders and as tar shards: images/s listed and read; medians side by side.

    python benchmarks/bench_sources.py --images 20000 --kb 4 --dir /some/disk

Before each reading the page cache is told to drop the images; the rounds of files and shards alternate. What a file
costs besides its bytes (names, inodes, a seek) is what shards save, most of all on network and spinning disks.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

from frozenprobe.images.places import Member, Place
from frozenprobe.images.read import read_training


def make_files(folder: Path, images: int, size: int) -> None:
    """Random bytes in 100 class folders; nothing here looks into an image."""
    rng = np.random.default_rng(0)
    for number in range(images):
        path = folder / f"{number % 100:02d}" / f"photo_{number:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(size))


def make_shards(folder: Path, source: Path, per_shard: int) -> None:
    """The same files, in the order of their table, so many in a shard."""
    folder.mkdir()
    table = read_training(source)
    for start in range(0, len(table), per_shard):
        with tarfile.open(folder / f"train-{start // per_shard:05d}.tar", "w") as tar:
            for name, place in zip(table.ids[start : start + per_shard], table.places[start:], strict=False):
                content = place.read_bytes()
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def drop(places: tuple[Place, ...]) -> None:
    """Tell the page cache that these files are not needed; only what is written out can be dropped."""
    os.sync()
    for path in {place.tar if isinstance(place, Member) else place for place in places}:
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def measure(source: Path) -> dict[str, float]:
    """Images a second, of listing and of reading."""
    start = time.perf_counter()
    table = read_training(source)
    listed = time.perf_counter()
    drop(table.places)
    begin = time.perf_counter()
    read = sum(len(place.read_bytes()) for place in table.places)
    seconds = time.perf_counter() - begin
    return {
        "listed, images/s": len(table) / (listed - start),
        "read, images/s": len(table) / seconds,
        "read, MB/s": read / 1e6 / seconds,
    }


def main() -> None:
    """Print a Markdown table of medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--kb", type=int, default=4)
    parser.add_argument("--per-shard", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, default=None)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-sources-", dir=given.dir))
    try:
        files, shards = folder / "files", folder / "shards"
        make_files(files, given.images, given.kb * 1024)
        make_shards(shards, files, given.per_shard)
        rounds = [(measure(files), measure(shards)) for _ in range(given.rounds)]
        print(f"{given.images:,} images of {given.kb} kB, {given.rounds} rounds\n")
        print("| | files | shards | shards / files |\n| --- | --- | --- | --- |")
        for name in rounds[0][0]:
            one, other = (statistics.median(each[side][name] for each in rounds) for side in (0, 1))
            print(f"| {name} | {one:,.0f} | {other:,.0f} | {other / one:.2f} |")
        print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
