"""A file appears whole or not at all."""

import os

import pytest

from frozenprobe.publish import publish_bytes, published


def test_the_content_arrives_and_nothing_is_left_aside(tmp_path):
    publish_bytes(tmp_path / "new" / "a.bin", b"content")
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_aside(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail_half_way():
        with published(target) as aside:
            aside.write_bytes(b"half of the n")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_data_are_synced_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1])
    publish_bytes(tmp_path / "a.bin", b"x")
    assert calls[:2] == ["fsync", "rename"]


def test_a_reader_never_sees_a_half_written_file(tmp_path):
    target = tmp_path / "a.bin"
    with published(target) as aside:
        aside.write_bytes(b"half")
        assert not target.exists()
        assert aside.name.startswith(".")
    assert target.read_bytes() == b"half"
