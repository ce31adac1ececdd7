"""Reading a user's files: what is no file is refused at once, and nothing in the package goes around the guard."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

import frozenprobe
from frozenprobe.system.files import (
    NoRegularFile,
    did_you_mean,
    first_bytes,
    named_path,
    open_regular,
    read_regular,
    system_text,
    why_unreadable,
)

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


def test_the_first_bytes_are_read_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert [first_bytes(tmp_path / "a", count) for count in (2, 9)] == [b"ab", b"abc"]
    with pytest.raises(NoRegularFile):
        first_bytes(tmp_path, 2)


@pytest.mark.parametrize(("text", "name"), [(".", "here"), ("./", "here"), ("..", "up"), ("x/..", "here"), ("x/", "x")])
def test_a_named_path_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    (tmp_path / "up" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "up" / "here")
    assert named_path(text, "--x").name == named_path(Path(text), "--x").name == name


def test_a_file_that_is_called_like_a_home_folder_is_meant_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert named_path("~", "--x") == Path.home()
    (tmp_path / "~").touch()
    assert named_path("~", "--x") == Path("~")


def test_a_mistyped_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / ".tset.swp").touch()
    assert did_you_mean(tmp_path / "tset") == f"did you mean {tmp_path / 'test'}? "
    assert did_you_mean(tmp_path / "photos") == did_you_mean(tmp_path / "nothing" / "test") == ""


def test_a_link_to_nothing_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    error = FileNotFoundError(2, "No such file")
    assert why_unreadable(error, tmp_path / "link") == "a link to nothing (nowhere)"
    assert why_unreadable(error, tmp_path / "none") == "No such file"
    assert why_unreadable(NoRegularFile("a pipe"), tmp_path / "none") == "a pipe"


BINARY = {"os.open", "tarfile.open", "archive.open", "Image.open", "h5a.open", "h5o.open"}  # what they open is no text


def texts_without_encoding(tree: ast.AST) -> list[str]:
    """Calls that would read or write text in the locale's encoding: cp1252 on Windows, ASCII under LC_ALL=C."""
    found = []
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        function = ast.unparse(call.func)
        given = {each.arg: ast.unparse(each.value) for each in call.keywords}
        modes = [*map(ast.unparse, call.args), given.get("mode", "")]
        opens = re.search(r"(^|\.)(open|fdopen)$", function) is not None and function not in BINARY
        opens = opens and not any(re.fullmatch("'[rwax+]*b[rwax+]*'", mode) for mode in modes)
        text = opens or function.endswith((".read_text", ".write_text")) or given.get("text") == "True"
        if text and "encoding" not in given:
            found.append(ast.unparse(call))
    return found


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    for path in sorted(ROOT.rglob("*.py")):
        assert texts_without_encoding(ast.parse(path.read_text(encoding="utf-8"))) == [], path


def test_a_text_without_an_encoding_would_be_found() -> None:
    lines = [
        "open(p)",
        "p.open('w')",
        "p.read_text()",
        "p.write_text(x)",
        "os.fdopen(f)",
        "subprocess.run(a, text=True)",
    ]
    fine = [
        "open(p, 'rb')",
        "open(p, mode='wb')",
        "p.read_text(encoding='utf-8')",
        "subprocess.run(a)",
        "os.open(p, 0)",
    ]
    assert texts_without_encoding(ast.parse("\n".join(lines + fine))) == lines
