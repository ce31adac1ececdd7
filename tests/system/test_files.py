"""Reading a user's files: what is no file is refused at once, and nothing in the package goes around the guard."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import frozenprobe
from frozenprobe.system.files import NoRegularFile, open_regular, read_regular, system_text

ROOT = Path(frozenprobe.__file__).parent


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff\n")
    (tmp_path / "link").symlink_to("a")
    assert read_regular(tmp_path / "link") == b"\0\xff\n"
    with open_regular(tmp_path / "a", buffering=0) as file:
        assert file.read(2) == b"\0\xff"


def test_a_folder_a_pipe_and_a_device_are_refused_and_nobody_waits(tmp_path: Path, no_waiting: None) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        for read in (read_regular, open_regular):
            with pytest.raises(NoRegularFile, match="no regular file"):
                read(path)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing")


def test_what_the_system_does_not_say_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b" 1 \xff\n")
    assert system_text(tmp_path / "a") == "1 \ufffd"
    assert system_text(tmp_path / "b") == system_text(tmp_path / "a" / "b") == ""


ELSEWHERE = {  # modules that open files otherwise, and why none of them waits
    "system/files.py": "the guard itself",
    "system/atomic_files.py": "opens a folder, to sync it",
    "cache/growing/lock.py": "asks is_file",
    "images/tar_headers.py": "asks is_file",
    "images/places.py": "reads a member, which asks open_regular",
    "images/shards.py": "reads a member",
    "extract/backbones/weights_file.py": "asks is_file",
    "probe/report/runs.py": "asks open_regular",
    "cache/container/hdf5.py": "reads bytes in memory",
    "extract/views/decode.py": "reads bytes in memory",
    "demo/run.py": "reads bytes in memory",
}
READERS = {"read_bytes", "read_text", "FileIO", "load_file", "fromfile", "genfromtxt", "loadtxt"}
LOADERS = {("np", "load"), ("torch", "load"), ("Image", "open"), ("h5py", "File"), ("os", "open")}
WRITING = {"xb", "wb", "rb+"}  # aside, or what was written a moment ago


def reads(call: ast.Call) -> bool:
    """Whether a call opens a file by its name to read it."""
    if isinstance(call.func, ast.Name):
        modes = {each.value for each in call.args if isinstance(each, ast.Constant)}
        return call.func.id == "open" and not modes & WRITING
    if not isinstance(call.func, ast.Attribute):
        return False
    owner = getattr(call.func.value, "id", "")
    return call.func.attr in READERS or (owner, call.func.attr) in LOADERS


def test_every_read_of_a_users_file_goes_through_the_guard() -> None:
    found: dict[str, list[str]] = {}
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [ast.unparse(call) for call in ast.walk(tree) if isinstance(call, ast.Call) and reads(call)]
        found |= {path.relative_to(ROOT).as_posix(): calls} if calls else {}
    assert {name: calls for name, calls in found.items() if name not in ELSEWHERE} == {}
    assert set(ELSEWHERE) <= set(found)
