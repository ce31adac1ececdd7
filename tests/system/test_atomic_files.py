"""A file appears whole or not at all."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from frozenprobe.errors import DiskFull, FrozenprobeError
from frozenprobe.system.atomic_files import publish_bytes, published, remove_partials, require_writable, sync_folder


def test_the_content_arrives_and_nothing_is_left_aside(tmp_path):
    publish_bytes(tmp_path / "new" / "a.bin", b"content")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_aside(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail_half_way():
        with published(target) as file:
            file.write(b"half of the n")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_data_are_synced_before_the_rename(tmp_path, monkeypatch):
    """All of them: what still waits in Python's own buffer is not on the disk."""
    calls = []
    fsync, replace = os.fsync, os.replace

    def note(call, about):
        calls.append((call, about.st_ino, about.st_size))

    monkeypatch.setattr(os, "fsync", lambda handle: (note("fsync", os.fstat(handle)), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (note("rename", os.stat(a)), replace(a, b))[1])
    for content in (b"x", b"y" * 100_000):
        calls.clear()
        publish_bytes(tmp_path / "a.bin", content)
        inode = (tmp_path / "a.bin").stat().st_ino
        assert calls[:2] == [("fsync", inode, len(content)), ("rename", inode, len(content))]
        assert [call for call, node, _ in calls[2:] if node == tmp_path.stat().st_ino] == ["fsync"]


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    target = tmp_path / "a.bin"
    with published(target) as file:
        file.write(b"half")
        assert not target.exists()
        assert Path(file.name).name.startswith(".")
    assert target.read_bytes() == b"half"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_an_error_that_says_what_to_do_and_the_old_file_stays(tmp_path, monkeypatch, number, call):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(DiskFull, match="run the same command again") as caught:
        publish_bytes(target, b"new")
    assert caught.value.where == str(target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_a_folder_is_no_obstacle(tmp_path, monkeypatch, number):
    fsync = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    publish_bytes(tmp_path / "new" / "folder" / "a.bin", b"x")
    assert (tmp_path / "new" / "folder" / "a.bin").read_bytes() == b"x"


def test_windows_whose_folders_cannot_be_opened_is_not_asked_to_sync_one(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "a folder")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        sync_folder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        sync_folder(tmp_path)


def test_the_name_of_a_new_folder_is_synced_too(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino) or fsync(handle))
    publish_bytes(tmp_path / "new" / "a.bin", b"x")
    assert {tmp_path.stat().st_ino, (tmp_path / "new").stat().st_ino} <= set(synced)


def test_what_killed_writers_left_aside_can_be_removed(tmp_path):
    for name in (".0123abcd.partial.a.h5", ".0123abcd.partial.b.h5", "a.h5", ".0123abcd.note"):
        (tmp_path / name).write_bytes(b"x")
    remove_partials(tmp_path, "a.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".0123abcd.note", ".0123abcd.partial.b.h5", "a.h5"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_can_be_written_is_let_through_and_nothing_is_made(folder, tmp_path):
    for name in ("new", "a/b/new", "there"):
        (tmp_path / "there").mkdir(exist_ok=True) if folder else (tmp_path / "there").touch()
        require_writable(tmp_path / name, "", folder=folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_what_is_in_the_way_is_named_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name, folder, found in (
        ("file", True, f"{tmp_path / 'file'}: a file"),
        ("file/below/f", True, f"{tmp_path / 'file'}: a file"),
        ("file/f.csv", False, f"{tmp_path / 'file'}: a file"),
        ("link/f.csv", False, f"{tmp_path / 'link'}: a link that leads nowhere"),
        ("folder", False, f"{tmp_path / 'folder'}: a folder"),
    ):
        with pytest.raises(FrozenprobeError) as caught:
            require_writable(tmp_path / name, "use --out FILE", folder=folder)
        assert caught.value.found.startswith(found), name
        assert caught.value.where == str(tmp_path / name)
        assert caught.value.remedy == "use --out FILE"

    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(FrozenprobeError, match="Permission denied") as caught:
        require_writable(tmp_path / "folder" / "new" / "f.h5", "")
    assert caught.value.found.startswith(str(tmp_path / "folder"))
