"""A full disk, met at every write in turn: a clear error, and everything that was there still is."""

from __future__ import annotations

import builtins
import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frozenprobe.cache.care.merge import merge_features
from frozenprobe.cache.care.repair import repair_features
from frozenprobe.cache.care.verify import verify_features
from frozenprobe.cache.growing import finish as growth
from frozenprobe.cache.growing import lock
from frozenprobe.errors import DiskFull, FrozenprobeError
from frozenprobe.system import atomic_files as publish
from tests.faults.synthetic import extract, holds, vector, world
from tests.faults.test_kills import BOTH, GROWN, OTHER, SMALL


class FullDisk:
    """Lets so many writes, flushes and renames through; every one after that finds the disk full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
        self.left, self.struck = calls, False
        for module in (publish, lock):
            monkeypatch.setattr(module, "open", self.open, raising=False)
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def may_fail(*args: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                self.struck = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*args)

        return may_fail

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = builtins.open(file, mode, *args, **kwargs)  # noqa: SIM115 - the caller closes it
        return Counted(opened, self) if mode == "wb" else opened


class Counted:
    """A file whose writes may fail."""

    def __init__(self, file: Any, disk: FullDisk) -> None:
        self.file, self.write = file, disk.counted(file.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


OPERATIONS: dict[str, tuple[Any, Any, Callable[[Path], object]]] = {
    "create": (None, SMALL, lambda path: extract(path, SMALL, batch=20)),
    "grow": (SMALL, GROWN, lambda path: extract(path, GROWN, batch=20)),
    "merge": (SMALL, BOTH, lambda path: merge_features([path, path.with_name("other.h5")])),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_disk_that_is_full_at_any_write_loses_nothing(name, tmp_path, faults, tell, monkeypatch):
    before, after, operate = OPERATIONS[name]
    kept = tmp_path / "kept"
    kept.mkdir()
    if before is not None:
        extract(kept / "f.h5", before)
    if name == "merge":
        extract(kept / "other.h5", OTHER)
    calls, step, struck = 0, faults(3, 1), True
    errors = 0
    while struck:
        folder = shutil.copytree(kept, tmp_path / str(calls))
        path = folder / "f.h5"
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, calls)
            try:
                operate(path)
            except DiskFull:
                errors += 1
            struck = disk.struck
        if struck:
            finished = path.is_file() and holds(path, after)
            assert finished or (holds(path, before) if before else not path.exists())
            if path.exists() or path.with_name("f.h5.pieces").exists():
                assert verify_features(path).problems == []
        operate(path)
        assert holds(path, after)
        assert {each.name for each in folder.iterdir()} == {each.name for each in kept.iterdir()} | {"f.h5"}
        shutil.rmtree(folder)
        calls += step
    assert errors >= 3
    tell(f"{name}: disk full at {errors} of its writes in turn, nothing lost, resumed to the same file")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit is set in a process of its own")
def test_a_limit_of_the_system_on_the_size_of_files_is_a_full_disk(tmp_path):
    """RLIMIT_FSIZE: the kernel's own refusal, in the middle of a write."""
    path, child = tmp_path / "f.h5", os.fork()
    if child == 0:
        limit = 100_000  # bytes: more than the plan needs, less than the finished file
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            extract(path, world(400), batch=40)
        except DiskFull as error:
            os._exit(0 if error.where.endswith("f.h5") else 2)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert not path.exists()
    assert extract(path, world(400)) == 0
    assert holds(path, world(400))


def test_too_little_space_is_an_error_before_the_start(tmp_path, monkeypatch):
    """Counted: the rows to compute and, beside them, the finished file."""
    monkeypatch.setattr(growth.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10_000))
    with pytest.raises(FrozenprobeError, match="free disk space") as caught:
        extract(tmp_path / "f.h5", SMALL)
    assert "--out FILE" in caught.value.remedy
    assert caught.value.found == "0.0 MB"
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_for_the_finished_file_is_an_error_that_keeps_all_rows(tmp_path, monkeypatch):
    """There was enough when the first row was computed; others have filled the disk since."""
    free = [10**9]
    monkeypatch.setattr(growth.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 0, free[0]))
    with pytest.raises(FrozenprobeError, match="free disk space"):
        extract(tmp_path / "f.h5", SMALL, told=lambda rows: free.__setitem__(0, 10_000))
    assert not (tmp_path / "f.h5").exists()
    free[0] = 10**9
    assert extract(tmp_path / "f.h5", SMALL) == 0
    assert holds(tmp_path / "f.h5", SMALL)


def test_a_repair_on_a_full_disk_leaves_the_damaged_file(tmp_path, monkeypatch):
    path = tmp_path / "f.h5"
    extract(path, SMALL)
    content = bytearray(path.read_bytes())
    content[-4000] ^= 1
    position = content.find(first_row())
    content[position] ^= 1
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        FullDisk(patch, 2)
        with pytest.raises(DiskFull):
            repair_features(path)
    assert path.read_bytes() == content
    assert repair_features(path).moved_to == path.with_name("f.h5.damaged")
    assert extract(path, SMALL) > 0
    assert holds(path, SMALL)


def first_row() -> bytes:
    """The bytes of the first stored row's first tap."""
    return vector(SMALL.contents().train.hashes[0], "clean")[: SMALL.taps[0][1]].tobytes()
