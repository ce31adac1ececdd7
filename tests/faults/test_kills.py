"""kill -9 at random moments: nothing is lost but the batch in flight, and what is there is right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.store import open_features
from tests.faults.synthetic import World, changed, extract, holds, world

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked to be killed")

SECONDS = 30.0  # an operation that takes longer hangs
SMALL = world(24)
GROWN = changed(SMALL)
OTHER = world(12, first=100)
BOTH = World(SMALL.train | OTHER.train, SMALL.test | OTHER.test, SMALL.views)
OPERATIONS = {"create": (None, SMALL), "grow": (SMALL, GROWN), "merge": (SMALL, BOTH)}


def operate(name: str, path: Path, told: Callable[[int], None]) -> None:
    """What gets killed."""
    if name == "merge":
        merge_features([path, path.with_name("other.h5")])
    else:
        extract(path, OPERATIONS[name][1], told=told)


def killed_after(seconds: float, name: str, path: Path) -> tuple[int, bool]:
    """Run an operation in a process of its own and kill it: the rows it had told of, and whether it had ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            operate(name, path, lambda rows: os.write(writer, bytes([rows])) and None)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), "the operation failed by itself"
    ended = status == 0
    told = b""
    while part := os.read(reader, 4096):
        told += part
    os.close(reader)
    return sum(told), ended


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_loses_at_most_the_batch_in_flight(name, tmp_path, faults, tell):
    before, after = OPERATIONS[name]
    kept = tmp_path / "kept"
    for file, content in (("f.h5", before), ("other.h5", OTHER if name == "merge" else None)):
        if content is not None:
            extract(kept / file, content)
    shutil.copytree(kept, tmp_path / "timed") if kept.is_dir() else (tmp_path / "timed").mkdir()
    start = time.perf_counter()
    killed_after(SECONDS, name, tmp_path / "timed" / "f.h5")
    whole = time.perf_counter() - start
    rng, kills, in_the_middle, reached = random.Random(name), faults(8, 80), 0, 0
    for number in range(kills):
        folder = tmp_path / str(number)
        shutil.copytree(kept, folder) if kept.is_dir() else folder.mkdir()
        path = folder / "f.h5"
        seconds = rng.uniform(0, 1.2 * whole)
        told, ended = killed_after(seconds, name, path)
        in_the_middle += not ended
        whole = min(whole, seconds) if ended else whole  # the machine was busy when it was timed
        finished = path.is_file() and holds(path, after)
        reached += finished
        assert finished or (holds(path, before) if before else not path.exists())
        if path.exists() or (folder / "f.h5.pieces").exists():
            assert verify_features(path).problems == []
        if name == "merge":
            operate(name, path, lambda rows: None)
        else:
            missing = len(after.rows().keys() - (before.rows().keys() if before else set()))
            assert extract(path, after) <= missing - told
        assert holds(path, after)
        left = {"f.h5", "other.h5"} if name == "merge" else {"f.h5"}
        assert {each.name for each in folder.iterdir()} == left
        shutil.rmtree(folder)
    assert in_the_middle
    tell(f"{name}: killed {kills} times ({in_the_middle} in the middle), nothing lost beyond the batch in flight")


def test_a_reader_sees_the_last_complete_state_while_others_write(tmp_path, faults, tell):
    """Opened before, read after the file was replaced: the rows are those of the file that was opened."""
    path = tmp_path / "f.h5"
    extract(path, SMALL)
    opened = open_features(path)
    before = opened.read("train", [0])
    extract(path, GROWN)
    assert (opened.read("train", [0]) == before).all()
    assert holds(path, GROWN)
