"""What a file is shows in its first bytes, and what is left out of a listing is told with what to do about it."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.images.kinds import HEAD, LeftOut, kind_of, named_kind

PICTURE = Image.new("RGB", (9, 7), "red")


def saved(form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    PICTURE.save(buffer, form, **options)
    return buffer.getvalue()


def box(*brands: bytes) -> bytes:
    """The beginning of an ISO media file of these brands."""
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return (8 + len(body)).to_bytes(4, "big") + b"ftyp" + body + b"\0\0\0\x08mdat"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "JPEG2000", "MPO"])
def test_what_the_decoder_reads_is_an_image(form: str) -> None:
    assert kind_of(saved(form)[:HEAD]).is_image


@pytest.mark.parametrize("head", [b"P5 3 3 255 ", b"P1\n# by hand\n1 1\n0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0"])
def test_rarer_beginnings_of_images(head: bytes) -> None:
    assert kind_of(head).is_image


def test_jpeg_2000_without_a_box_is_an_image() -> None:
    assert kind_of(saved("JPEG2000", no_jp2=True)[:HEAD]).is_image


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "an empty file"),
        (bytes(HEAD), "a zero-filled file"),
        (box(b"avif", b"mif1", b"miaf"), "an AVIF image"),
        (box(b"mif1", b"mif1", b"avif"), "an AVIF image"),
        (box(b"heic", b"mif1", b"heic"), "a HEIC photo"),
        (box(b"mif1", b"heic"), "a HEIC photo"),
        (box(b"crx "), "a raw camera file"),
        (box(b"qt  "), "a video"),
        (box(b"isom", b"mp42"), "a video"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a raw camera file"),
        (b"<!DOCTYPE html>\n<p>404", "an HTML page"),
        (b"\xef\xbb\xbf  \r\n<HTML lang=de>\xe4", "an HTML page"),
        (b"<?xml version='1.0'?><!-- x\n -->\n<html>", "an HTML page"),
        (b"<head><title>Moved</title>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<svg xmlns=''>", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a text file"),
        (b'{"error": "slow down"}', "a JSON file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "a Git LFS pointer"),
        (b"/annex/objects/MD5E-s1--x.jpg\n", "a git-annex pointer"),
        (b"%PDF-1.7\n", "a PDF or PostScript document"),
        (b"PK\3\4\x14", "an archive"),
        (b"\x1f\x8b\x08", "an archive"),
        (b"cat/1.jpg".ljust(257, b"\0") + b"ustar\x0000", "an archive"),
        (b"RIFF\x10\0\0\0AVI LIST", "a video"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "an unrecognised file"),
        (bytes(128) + b"DICM\2", "a DICOM file"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\xff\x0a\x01", "a JPEG XL image"),
        (b"BM is how this text begins", "a text file"),
        (b"P5 is how this text begins", "a text file"),
        ("ä".encode() * HEAD, "a text file"),
        (("x" + "ä" * HEAD).encode()[:HEAD], "a text file"),  # the last letter is cut
        (b"caf\xe9 and a long rest", "an unrecognised file"),
        (b"\x01\x02\x03", "an unrecognised file"),
    ],
)
def test_first_bytes_tell_what_is_no_image(head: bytes, name: str) -> None:
    assert kind_of(head[:HEAD]).name == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JPG", "an image"),
        ("a.jpe", "an image"),
        ("a.avif", "an image"),
        ("a.txt", "a .txt file"),
        ("a.NEF", "a raw camera file"),
        ("a.heic", None),
        ("a", None),
        ("jpg", None),
        (".jpg", "an image"),
        ("a.jpg ", None),
    ],
)
def test_an_ending_says_enough_or_nothing(name: str, kind: str | None) -> None:
    found = named_kind(name)
    assert (found and found.name) == kind


def left_out(where: Path, **names: list[str]) -> LeftOut:
    heads = {"heic": box(b"heic"), "text": b"x", "page": b"<html>"}
    found = LeftOut(where)
    for key, those in names.items():
        for name in those:
            found.add(kind_of(heads[key]), name)
    return found


def test_what_may_hold_an_image_is_a_warning_with_a_command_and_all_else_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "frozenprobe")
    left_out(tmp_path, heic=[f"a b/{key}.heic" for key in "dcba"], text=["README"]).tell()
    warning, note = caplog.records
    assert (warning.levelname, note.levelname) == ("WARNING", "INFO")
    assert "4 HEIC photos (a b/a.heic, a b/b.heic, a b/c.heic and 1 more)" in warning.getMessage()
    assert f'magick mogrify -format jpg "{tmp_path / "a b" / "*.heic"}"' in warning.getMessage()
    assert note.getMessage() == f"no images in {tmp_path}, left alone: a text file (README)"


def test_a_file_whose_ending_lies_is_converted_by_its_own_name(tmp_path: Path) -> None:
    assert f'jpg "{tmp_path / "x.photo"}"' in left_out(tmp_path, heic=["x.photo"]).advice()


def test_a_folder_that_holds_only_other_pictures_is_an_error(tmp_path: Path) -> None:
    found = left_out(tmp_path, heic=["a/1.heic", "b/1.heic", "top.heic"], text=["c/x"])
    found.require_none_alone(["a/1.jpg", "b/2.jpg"])
    with pytest.raises(ImageError, match=r"none in b, but a HEIC photo \(b/1\.heic\)") as caught:
        found.require_none_alone(["a/1.jpg"])
    assert str(tmp_path / "b" / "*.heic") in caught.value.remedy
