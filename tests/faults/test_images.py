"""Damaged and hostile image files: each is an error that names it or a picture, and none takes the machine along."""

from __future__ import annotations

import io
import random
import resource
import struct
import time
import warnings
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenprobe.errors import ImageError
from frozenprobe.extract.options import MAX_PIXELS
from frozenprobe.extract.views.decode import check_image, decode_image
from tests.faults.test_damage import in_a_child, mutations

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
SMALL = 4_000_000  # pixels: a limit that a lying header passes quickly
BATCH = 25


def photo(kind: str, mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> bytes:
    """A smooth picture as a file of some format."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def lies(content: bytes, kind: str, rng: random.Random) -> bytes:
    """The file with another width and height in its header."""
    width, height = (rng.choice((0, 1, 47, 60_000, 65_535, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    changed = bytearray(content)
    if kind == "PNG":
        changed[16:24] = struct.pack(">II", width, height)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif kind == "BMP":
        changed[18:26] = struct.pack("<II", width, height)
    elif kind == "GIF":
        changed[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    elif kind == "JPEG":
        start = content.index(b"\xff\xc0") + 5
        changed[start : start + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif kind == "WEBP":
        start = content.index(b"VP8 ") + 14
        changed[start : start + 4] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    else:  # TIFF: tags 256 and 257 of the first directory
        start = struct.unpack("<I", content[4:8])[0] + 2
        for entry in range(struct.unpack("<H", content[start - 2 : start])[0]):
            place = start + 12 * entry
            tag = struct.unpack("<H", content[place : place + 2])[0]
            if tag in (256, 257):
                changed[place + 2 : place + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(changed)


def try_batch(files: list[bytes], report: Path) -> int:
    """Check and decode files as an extraction does; anything but a picture or an ImageError escapes as a failure."""
    told = {"refused": 0, "decoded": 0, "late": 0, "slowest": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        for content in files:
            start, checked = time.perf_counter(), False
            try:
                check_image(content, Path("x.jpg"), side=512, max_pixels=SMALL)
                checked = True
                image = decode_image(content, Path("x.jpg"), max_pixels=SMALL)
            except ImageError:
                told["late" if checked else "refused"] += 1
            else:
                assert image.mode == "RGB"
                assert 0 < image.width * image.height <= SMALL
                told["decoded"] += 1
            told["slowest"] = max(told["slowest"], time.perf_counter() - start)
    report.write_text(" ".join(str(value) for value in told.values()))
    return 0


def test_mutated_images_are_refused_or_decoded_and_nothing_hangs(tmp_path, faults, tell):
    rng, many = random.Random(0), faults(150, 3000)
    whole = {kind: photo(kind) for kind in FORMATS}
    endless = {kind: mutations(content, rng) for kind, content in whole.items()}
    files = []
    for number in range(many):
        kind = FORMATS[number % len(FORMATS)]
        files.append(lies(whole[kind], kind, rng) if number % 3 == 0 else next(endless[kind]))
    figures = np.zeros(4)
    for start in range(0, many, BATCH):
        report = tmp_path / f"{start}.txt"
        assert in_a_child(partial(try_batch, files[start : start + BATCH], report)) == 0, start
        told = np.array(report.read_text().split(), dtype=float)
        figures[:3] += told[:3]
        figures[3] = max(figures[3], told[3])
    refused, decoded, late, slowest = figures
    assert refused + decoded + late == many
    assert refused > many / 4
    tell(
        f"mutated images: {many}; {refused:.0f} refused before the pass, {late:.0f} when they were decoded, "
        f"{decoded:.0f} decoded; no traceback, no hang (slowest {1000 * slowest:.0f} ms)"
    )


def bomb_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """3.6 billion pixels in a few hundred kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * 1000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def text_bomb_png() -> bytes:
    """A small picture with a comment of 600 MB, compressed."""
    whole = photo("PNG")
    data = b"Comment\0\0" + zlib.compress(bytes(600_000_000), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return whole[:33] + chunk + whole[33:]


@pytest.mark.parametrize("call", [check_image, decode_image])
def test_a_pixel_bomb_is_refused_before_it_is_decoded(call, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels were decoded"))
    options = {"side": 512} if call is check_image else {}
    with pytest.raises(ImageError, match=r"60000 x 60000 = 3,600,000,000 pixels"):
        call(bomb_png(), Path("bomb.png"), max_pixels=MAX_PIXELS, **options)


def test_a_bomb_in_a_comment_does_not_go_off(tmp_path):
    def work() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            check_image(content, Path("x.png"), side=64, max_pixels=MAX_PIXELS)
            decode_image(content, Path("x.png"))
        except ImageError:
            pass
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 150_000)

    content = text_bomb_png()
    assert in_a_child(work) == 0
