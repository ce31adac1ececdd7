"""The bytes of an image, wherever it lies; what is no file is an unreadable image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frozenprobe.errors import UnreadableImage
from frozenprobe.images.places import Member, read_image
from frozenprobe.images.tar_headers import walk_tar
from tests.images.shard_files import write_tar


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_with_the_name_of_an_image_is_a_bad_image_and_nobody_waits_for_it(
    tmp_path: Path, no_waiting: None
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="no regular file"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="no regular file"):
        read_image(tmp_path)


def test_a_shard_that_shrank_after_it_was_listed_is_an_error_of_the_system(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"x" * 900})
    (header,) = walk_tar(path)
    member = Member(path, header.name, header.offset_data, header.size)
    assert member.read_bytes() == b"x" * 900
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(OSError, match="shorter than it was"):
        member.read_bytes()
    assert str(member) == f"{path}/a.jpg"
