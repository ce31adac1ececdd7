"""Headers of any tar that a tool writes are walked as tarfile walks them; damaged and hostile ones are errors."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frozenprobe.errors import ImageError
from frozenprobe.images.places import Member
from frozenprobe.images.tar_headers import LONGEST_HEADER, walk_tar
from tests.images.shard_files import header_of, write_tar

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LETTERS = st.sampled_from("abcäé€漢 -_.")


@st.composite
def contents(draw: st.DrawFn) -> dict[str, bytes]:
    """Names up to 250 letters, in folders, with bytes that fill no, one or several blocks."""
    parts = st.text(LETTERS, min_size=1, max_size=80).map(lambda part: f"x{part}y")
    names = draw(st.lists(st.lists(parts, min_size=1, max_size=3).map("/".join), max_size=6, unique=True))
    sizes = st.sampled_from([0, 1, 511, 512, 513, 2000])
    return {name: bytes([index + 1]) * draw(sizes) for index, name in enumerate(names)}


@QUICK
@given(files=contents(), form=st.sampled_from(FORMATS))
def test_every_member_is_read_back_by_its_place_alone(tmp_path, files, form):
    """ustar, GNU long names and pax records, against what was put in."""
    path = tmp_path / "x.tar"
    try:
        write_tar(path, files, form=form)
    except ValueError:  # ustar has no room for such a name
        return
    members = [Member(path, header.name, header.offset_data, header.size) for header in walk_tar(path)]
    assert {member.name: member.read_bytes() for member in members} == files
    assert [member.name for member in members] == list(files)


@QUICK
@given(files=contents(), form=st.sampled_from(FORMATS), data=st.data())
def test_a_tar_cut_off_anywhere_is_an_error_that_names_it(tmp_path, files, form, data):
    """Whole is one with all members and at least a block of its two blocks of zeros."""
    path = tmp_path / "x.tar"
    try:
        write_tar(path, files, form=form)
    except ValueError:
        return
    whole = path.read_bytes()
    end = max((header.offset_data + -(-header.size // 512) * 512 for header in walk_tar(path)), default=0)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    if cut >= end + 512:
        assert len(list(walk_tar(path))) == len(files)
        return
    with pytest.raises(ImageError, match=r"x\.tar"):
        list(walk_tar(path))


@QUICK
@given(files=contents(), form=st.sampled_from(FORMATS), data=st.data())
def test_flipped_bytes_are_an_error_or_change_no_place_beyond_the_file(tmp_path, files, form, data):
    path = tmp_path / "x.tar"
    try:
        write_tar(path, files, form=form)
    except ValueError:
        return
    raw = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, min(len(raw), 4096) - 1), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        headers = list(walk_tar(path))
    except ImageError:  # any other exception fails the test
        return
    assert all(0 <= header.offset_data <= header.offset_data + header.size <= len(raw) for header in headers)


@pytest.mark.parametrize("size", [-512, -1, 2**33, 2**62, 2**80])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, b"V"])
@pytest.mark.usefixtures("no_waiting")
def test_an_absurd_size_is_an_error_at_once(tmp_path, size, kind):
    """A member, a pax record, a GNU long name and an unknown kind of entry that claim any number of bytes."""
    path = tmp_path / "x.tar"
    path.write_bytes(header_of("a.jpg", size, kind) + b"x" * 512 + header_of("b.jpg", 0) + bytes(1024))
    with pytest.raises(ImageError, match=r"x\.tar"):
        list(walk_tar(path))


def test_a_pax_record_cannot_make_a_member_negative_or_larger_than_the_file(tmp_path):
    for size in (-512, 10**15):
        record = tarfile.TarInfo("a.jpg")
        record.pax_headers = {"size": str(size)}
        path = tmp_path / "x.tar"
        path.write_bytes(record.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
        with pytest.raises(ImageError, match=r"x\.tar"):
            list(walk_tar(path))


def test_a_header_that_claims_the_memory_is_refused_unread(tmp_path):
    """The file is as large as the claim, and sparse: reading the record would take 8 GB."""
    path = tmp_path / "x.tar"
    path.write_bytes(header_of("a", 8 << 30, tarfile.XHDTYPE))
    with path.open("r+b") as file:
        file.truncate(9 << 30)
    with pytest.raises(ImageError, match=f"a header of {8 << 30} bytes"):
        list(walk_tar(path))
    assert LONGEST_HEADER < 1 << 30


def test_a_long_chain_of_records_without_a_member_is_an_error(tmp_path):
    path = tmp_path / "x.tar"
    record = b"9 a=bcde\n".ljust(512, b"\0")
    path.write_bytes((header_of("a", 9, tarfile.XHDTYPE) + record) * 5000 + bytes(1024))
    with pytest.raises(ImageError, match=r"x\.tar"):
        list(walk_tar(path))


def test_a_damaged_header_between_members_does_not_end_the_tar_in_silence(tmp_path):
    """What tarfile does with it: it stops, and the rest of the images would be gone."""
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1", "b.jpg": b"2", "c.jpg": b"3"})
    raw = bytearray(path.read_bytes())
    raw[1024 + 5] ^= 255
    path.write_bytes(raw)
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["a.jpg"]
    with pytest.raises(ImageError, match=r"no header of a member after 'a\.jpg'"):
        list(walk_tar(path))


def test_tars_joined_with_cat_are_an_error_and_not_half_of_the_images(tmp_path):
    one, two = write_tar(tmp_path / "1.tar", {"a.jpg": b"1"}), write_tar(tmp_path / "2.tar", {"b.jpg": b"2"})
    (tmp_path / "x.tar").write_bytes(one.read_bytes() + two.read_bytes())
    with pytest.raises(ImageError, match="joined with cat"):
        list(walk_tar(tmp_path / "x.tar"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.tar.gz", gzip.compress(b"x", mtime=0), "gunzip"),
        ("x.tar", gzip.compress(bytes(5000), mtime=0), "Error"),
        ("x.tar", b"", "empty file"),
        ("x.tar", b"no tar at all" * 100, "Error"),
        ("x.tar", None, "no such file"),
    ],
    ids=[
        "gzip by name",
        "gzip by content",
        "empty",
        "no tar",
        "absent",
    ],  # contents of the clock would differ by worker
)
def test_what_is_no_uncompressed_tar_is_an_error(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=says):
        list(walk_tar(tmp_path / name))


def test_a_folder_named_like_a_tar_is_no_tar(tmp_path):
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(ImageError, match="no regular file"):
        list(walk_tar(tmp_path / "x.tar"))


def test_nothing_is_kept_of_members_that_were_walked(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for index in range(300):
            tar.addfile(tarfile.TarInfo(f"{index}.jpg"), io.BytesIO())
    walk = walk_tar(path)
    for _ in range(299):
        next(walk)
    (held,) = [value for value in walk.gi_yieldfrom.gi_frame.f_locals.values() if isinstance(value, tarfile.TarFile)]
    assert len(held.members) == 0
