"""Every kind of image file becomes upright 8-bit RGB, or an ImageError that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

from frozenprobe.errors import ImageError
from frozenprobe.extract.views import decode
from frozenprobe.extract.views.decode import FORMATS, check_image, decode_image
from frozenprobe.extract.views.preprocessing import Preprocessing, Resized, clean_view
from frozenprobe.extract.views.recipes import leaves_enough, make_recipe
from tests.extract.views.test_transforms import picture

PHOTO = Path("photos/a b.jpg")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(content: bytes) -> np.ndarray:
    """The decoded pixels; the check before the pass has to agree."""
    check_image(content, PHOTO, side=64)
    image = decode_image(content, PHOTO)
    assert image.mode == "RGB"
    return np.asarray(image)


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write; `rows` are unfiltered."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    line = len(rows) // height if height else 0
    data = b"".join(b"\0" + rows[start : start + line] for start in range(0, len(rows), line or 1))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
        ("JPEG2000", {}),
    ],
)
def test_lossless_formats_give_the_pixels_back(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(decoded(encoded(picture(), kind, **options)), picture())


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), ("MPO", {}), ("GIF", {})]
)
def test_lossy_formats_give_the_pixels_back_about(kind: str, options: dict[str, Any]) -> None:
    smooth = Image.fromarray(np.full((47, 61, 3), (200, 90, 30), dtype=np.uint8))
    assert np.abs(decoded(encoded(smooth, kind, **options)).astype(int) - np.asarray(smooth)).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "MPO"])
def test_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert decoded(content).reshape(-1, 3).mean(axis=0) == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    """All eight: the photo is stored as the camera held it, and comes out upright."""
    upright = picture()
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the Transpose that the camera's position did
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    found = decoded(encoded(stored, kind, exif=exif, **options))
    assert found.shape == (47, 61, 3)
    if kind == "JPEG":  # lossy: against the file's own pixels
        with Image.open(io.BytesIO(encoded(stored, kind))) as plain:
            exif_free = ImageOps.exif_transpose(plain)
        back = Image.fromarray(found)
        back = back.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else back
        assert np.array_equal(back, exif_free)
    else:
        assert np.array_equal(found, upright)


SCALES = {(61, 47): 1, (130, 100): 2, (250, 200): 4, (500, 400): 8, (2000, 1600): 8}


def enough(size: tuple[int, int]) -> bool:
    """Half of 100 px, a quarter of 200, an eighth of 400 will do."""
    return min(size) >= 50


def photo(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    return load_photo().resize(size, Image.Resampling.BICUBIC).convert(mode)


def load_photo() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", SCALES, ids=str)
def test_jpegs_are_decoded_at_the_smallest_scale_that_leaves_enough(
    size: tuple[int, int], mode: str, options: dict[str, Any]
) -> None:
    """Near what the whole picture becomes when it is shrunk by averaging."""
    content = encoded(photo(size, mode), "JPEG", quality=95, **options)
    scale, whole = SCALES[size], decode_image(content, PHOTO)
    found = decode_image(content, PHOTO, enough=enough)
    assert found.mode == "RGB"
    assert found.size == (-(-size[0] // scale), -(-size[1] // scale))
    shrunk = whole.reduce(scale)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(shrunk)).mean() < (0.01 if scale == 1 else 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_jpegs_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(photo((248, 200)), "JPEG", exif=exif)
    found, whole = decode_image(content, PHOTO, enough=enough), decode_image(content, PHOTO)
    assert found.size == (whole.width // 4, whole.height // 4)
    assert np.abs(np.asarray(found).astype(int) - np.asarray(whole.reduce(4))).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_other_formats_are_decoded_in_full(kind: str) -> None:
    content = encoded(photo((250, 200)), kind)
    assert np.array_equal(decode_image(content, PHOTO, enough=enough), decode_image(content, PHOTO))


@pytest.mark.parametrize(
    ("size", "left"), [((1, 1), (1, 1)), ((7, 300), (2, 75)), ((300, 3), (150, 2)), ((8, 8), (1, 1))]
)
def test_tiny_jpegs_keep_a_pixel(size: tuple[int, int], left: tuple[int, int]) -> None:
    assert decode_image(encoded(picture(size), "JPEG"), PHOTO, enough=lambda size: True).size == left


@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_truncated_jpegs_are_errors_at_every_scale(part: float) -> None:
    content = encoded(photo((500, 400)), "JPEG")
    with pytest.raises(ImageError, match="A whole image"):
        decode_image(content[: int(part * len(content))], PHOTO, enough=enough)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_clean_view_of_a_scaled_jpeg_is_near(interpolation: str) -> None:
    """Less than two levels off on average; single pixels at sharp edges are further off."""
    preprocessing = Preprocessing(112, 100, interpolation)
    how = partial(leaves_enough, recipe=make_recipe("none", preprocessing), preprocessing=preprocessing)
    content = encoded(load_photo().resize((1280, 960)), "JPEG", quality=92)
    whole, scaled = decode_image(content, PHOTO), decode_image(content, PHOTO, enough=how)
    assert scaled.size == (320, 240)
    views = [np.asarray(clean_view(Resized(image), preprocessing)).astype(int) for image in (whole, scaled)]
    assert 0 < np.abs(views[0] - views[1]).mean() < 2


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's remark about such data
@pytest.mark.parametrize("exif", [b"", b"MM\0*\0\0\0\xff", b"II*\0\x08\0\0\0\x01\0\x12\x01", b"\0nonsense"])
def test_unreadable_exif_counts_as_none(exif: bytes) -> None:
    assert decoded(encoded(picture(), "JPEG", exif=b"Exif\0\0" + exif)).shape == (47, 61, 3)


def test_grey_is_spread_over_the_channels() -> None:
    grey = picture().convert("L")
    assert np.array_equal(decoded(encoded(grey, "PNG")), np.repeat(np.asarray(grey)[..., None], 3, axis=2))


def test_black_and_white_is_0_and_255() -> None:
    bits = picture().convert("1")
    assert np.array_equal(decoded(encoded(bits, "PNG"))[..., 0], np.asarray(bits) * 255)


def test_palette_colours_are_looked_up() -> None:
    palette = picture().quantize(32)
    assert np.array_equal(decoded(encoded(palette, "PNG")), palette.convert("RGB"))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_transparent_palette_entry_becomes_white(kind: str) -> None:
    palette = Image.new("P", (6, 4), 1)
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.paste(0, (0, 0, 3, 4))
    found = decoded(encoded(palette, kind, transparency=0))
    assert (found[:, :3] == 255).all()
    assert (found[:, 3:] == (200, 0, 0)).all()


def test_alpha_is_laid_over_white() -> None:
    """c a + 255 (1 - a), for every alpha, for colour and grey."""
    alpha = np.arange(256, dtype=np.uint8)[None]
    colour = np.array([10, 100, 250])
    layers = np.dstack([*(np.full_like(alpha, value) for value in colour), alpha])
    expected = colour * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.abs(decoded(encoded(Image.fromarray(layers), kind, **options)) - expected).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(np.full_like(alpha, 100)), Image.fromarray(alpha)])
    assert np.abs(decoded(encoded(grey, "PNG"))[..., 1] - expected[..., 1]).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transparent_colour_becomes_white(mode: str) -> None:
    """PNG's tRNS chunk without an alpha channel: one colour is see-through."""
    image = Image.new(mode, (4, 2), "black")
    image.paste("red" if mode == "RGB" else 9, (0, 0, 2, 2))
    found = decoded(encoded(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0))
    assert (found[:, 2:] == 255).all()
    assert (found[:, :2] == ((255, 0, 0) if mode == "RGB" else 9)).all()


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(kind: str) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert decoded(encoded(image, kind)).reshape(-1, 3).mean(axis=0) == pytest.approx([255, 0, 0], abs=6)


SIXTEEN = np.array([[0, 1, 128, 129, 256, 257, 32767, 32768, 65407, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_by_a_257th(kind: str) -> None:
    """65535 / 257 = 255, so white stays white; Pillow's own conversion clips all above 255 to white."""
    found = decoded(encoded(Image.fromarray(SIXTEEN), kind))
    assert found[..., 0].tolist() == np.rint(SIXTEEN / 257).tolist()
    assert (found == found[..., :1]).all()


def test_big_endian_16_bit_tiff_is_scaled_too() -> None:
    assert decoded(big_endian(SIXTEEN))[..., 0].tolist() == np.rint(SIXTEEN / 257).tolist()


def big_endian(values: np.ndarray) -> bytes:
    """A TIFF of ten values, written by hand."""
    entries = [(256, 3, 1, 10 << 16), (257, 3, 1, 1 << 16), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16)]
    entries += [(262, 3, 1, 1 << 16), (273, 4, 1, 122), (277, 3, 1, 1 << 16), (278, 3, 1, 1 << 16), (279, 4, 1, 20)]
    body = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    content = b"MM\0*" + struct.pack(">IH", 8, len(entries)) + body + struct.pack(">I", 0)
    assert len(content) == 122
    return content + values.byteswap().tobytes()


def test_16_bit_colour_is_scaled_to_within_one_step() -> None:
    """Pillow keeps the high byte of 16-bit colour: v // 256, at most one from v / 257."""
    rows = np.repeat(SIXTEEN[..., None], 3, axis=2).astype(">u2").tobytes()
    found = decoded(png(10, 1, bits=16, colour=2, rows=rows))
    assert np.abs(found[..., 0] - SIXTEEN / 257).max() <= 1


def test_32_bit_values_within_16_bits_are_scaled() -> None:
    assert decoded(encoded(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF"))[0, -1, 0] == 255


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (Image.fromarray(np.array([[0, 65536]], dtype=np.int32)), "values from 0 to 65536"),
        (Image.fromarray(np.array([[-1, 5]], dtype=np.int32)), "values from -1 to 5"),
        (Image.fromarray(np.array([[0.0, 0.5]], dtype=np.float32)), "floating-point"),
    ],
)
def test_values_without_a_place_on_the_scale_are_refused(image: Image.Image, found: str) -> None:
    content = encoded(image, "TIFF")
    for call in (lambda: check_image(content, PHOTO, side=64), lambda: decode_image(content, PHOTO)):
        with pytest.raises(ImageError, match=found) as caught:
            call()
        assert caught.value.where == str(PHOTO)
        assert "convert it to 8 or 16 bits" in str(caught.value)


EXIF = Image.Exif()
EXIF[0x0112] = 6
GOOD = {
    "jpeg": encoded(picture(), "JPEG", exif=EXIF),
    "progressive": encoded(picture(), "JPEG", progressive=True),
    "png": encoded(picture(), "PNG", exif=EXIF),
    "palette": encoded(picture().quantize(8), "PNG", transparency=3),
    "gif": encoded(picture().quantize(8), "GIF"),
    "webp": encoded(picture(), "WEBP", exif=EXIF),
    "bmp": encoded(picture(), "BMP"),
    "ppm": encoded(picture(), "PPM"),
    "jpeg 2000": encoded(picture(), "JPEG2000"),
    "tiff": encoded(picture(), "TIFF", exif=EXIF),
    "lzw": encoded(picture(), "TIFF", compression="tiff_lzw"),
    "16 bits": encoded(Image.fromarray(np.asarray(picture())[..., 0].astype(np.uint16) * 251), "PNG"),
    "cmyk": encoded(picture().convert("CMYK"), "JPEG"),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_truncated_images_are_errors_of_check_and_decoder(name: str, part: float) -> None:
    """Also with an EXIF orientation: Pillow hands out half-decoded pixels when it is asked a second time."""
    content = GOOD[name][: int(part * len(GOOD[name]))]
    for call in (lambda: check_image(content, PHOTO, side=64), lambda: decode_image(content, PHOTO)):
        with pytest.raises(ImageError) as caught:
            call()
        assert caught.value.where == str(PHOTO)
        assert "--skip-bad" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file (0 bytes)"),
        (b"<html>404</html>", "an HTML page, not an image"),
        (b"\xff\xd8\xff\xe0", "damaged: not an image in JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not an image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo, not an image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "a damaged AVIF image" if "AVIF" in FORMATS else "an AVIF image"),
        (b"Too many requests\n", "a text file, not an image: 'Too many requests"),
        (b"\x01\x02\x03", "not an image in JPEG, PNG, WEBP, BMP, TIFF, GIF, PPM"),
        (bytes(999), "a zero-filled file, not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "a PDF or PostScript document, not an image"),
    ],
)
def test_what_is_no_image_is_named(content: bytes, found: str) -> None:
    """PostScript under an image's name must not reach Ghostscript."""
    for call in (lambda: check_image(content, PHOTO, side=64), lambda: decode_image(content, PHOTO)):
        with pytest.raises(ImageError) as caught:
            call()
        assert found in caught.value.found
        assert caught.value.where == str(PHOTO)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [(b"<html>", "download it again"), (b"version https://git-lfs", "git lfs pull"), (b"PK\3\4", "unpack"), (b"x", "")],
)
def test_what_is_no_image_has_a_remedy_of_its_own(content: bytes, remedy: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(content, PHOTO)
    assert (remedy or "replace or remove the file") in caught.value.remedy
    assert caught.value.remedy.endswith(", or leave it out with --skip-bad")


def test_avif_is_decoded_or_says_which_pillow_does(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"\0\0\0\x18ftypavif\0\0\0\0mif1avif"
    if "AVIF" in FORMATS:
        content = encoded(Image.new("RGB", (20, 10), (200, 90, 30)), "AVIF")
        assert np.abs(decoded(content).astype(int) - (200, 90, 30)).max() <= 8
        with pytest.raises(ImageError, match="A whole image"):
            check_image(content[:-9], PHOTO, side=64)
    monkeypatch.setattr(decode, "FORMATS", FORMATS[:7])
    with pytest.raises(ImageError, match="an AVIF image, not an image that this Pillow can decode") as caught:
        check_image(head, PHOTO, side=64)
    assert "pip install --upgrade 'pillow>=11.3'" in caught.value.remedy


FULL = np.asarray(picture((64, 48)))
NOISE = FULL[..., 0].astype(np.uint16)


def alpha(values: int) -> Image.Image:
    return Image.fromarray(np.dstack([FULL, np.full(FULL.shape[:2], values, dtype=np.uint8)]))


def sixteen_bit_colour(values: np.ndarray) -> bytes:
    return png(64, 48, bits=16, colour=2, rows=np.repeat(values[..., None], 3, axis=2).astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(Image.fromarray(NOISE), "PNG"), "nearly black"),  # 8 bits in 16
        (encoded(Image.fromarray(NOISE * 16), "PNG"), "nearly black"),  # 12 bits
        (encoded(Image.fromarray(NOISE * 16), "TIFF"), "nearly black"),
        (encoded(Image.fromarray((NOISE * 16).astype(np.int32)), "TIFF"), "nearly black"),
        (sixteen_bit_colour(NOISE * 16), "nearly black"),
        (sixteen_bit_colour(NOISE), "one colour"),  # all high bytes are 0
        (encoded(Image.fromarray(FULL // 17), "PNG"), "nearly black"),
        (encoded(Image.fromarray(FULL // 40), "JPEG"), "nearly black"),
        (encoded(alpha(0), "PNG"), "white"),
        (encoded(alpha(1), "WEBP", lossless=True, exact=True), "white"),
        (encoded(alpha(0).convert("LA"), "PNG"), "white"),
        (encoded(picture().quantize(8), "PNG", transparency=bytes(8)), "white"),
        (encoded(Image.new("RGB", (64, 48), (9, 200, 9)), "JPEG"), "one colour"),
        (encoded(Image.new("L", (64, 48), 0), "PNG"), "one colour"),
        (encoded(Image.new("P", (64, 48), 3), "GIF"), "one colour"),
        (encoded(Image.new("CMYK", (64, 48), (255, 255, 255, 255)), "JPEG"), "one colour"),
        *((content, "") for content in GOOD.values()),
        (encoded(picture((8, 8)), "JPEG"), ""),  # at an eighth of its size a single pixel
        (encoded(Image.fromarray(NOISE * 257), "TIFF"), ""),
        (encoded(Image.fromarray(NOISE * 64), "PNG"), ""),  # 14 bits: dark, but all is there
        (encoded(alpha(200), "PNG"), ""),
        (encoded(picture().convert("1"), "PNG"), ""),
    ],
)
def test_an_image_in_which_nothing_will_be_seen_says_why(content: bytes, reason: str) -> None:
    told = check_image(content, PHOTO, side=64)
    assert told.startswith(reason)
    assert bool(told) == bool(reason)


def test_big_endian_16_bits_are_looked_at_too() -> None:
    assert check_image(big_endian(SIXTEEN // 256), PHOTO, side=64).startswith("nearly black")


def bombs() -> dict[str, bytes]:
    """Files of under 200 bytes that claim up to 10 gigapixels."""
    gif = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0" + struct.pack("<HHB", 65535, 65535, 0)
    bmp = b"BM" + struct.pack("<IHHI", 200, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 99999, 99999, 1, 24, *[0] * 6)
    return {"png": png(100_000, 100_000, bits=8, colour=2, rows=b""), "gif": gif + b"\2\0;", "bmp": bmp + bytes(100)}


@pytest.mark.parametrize("name", ["png", "gif", "bmp"])
def test_bombs_are_refused_before_a_pixel_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bombs()[name]

    def load(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(Image.Image, "load", load)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    for call in (lambda: check_image(content, PHOTO, side=64), lambda: decode_image(content, PHOTO)):
        with pytest.raises(ImageError, match=r"1 to 178,956,970 pixels") as caught:
            call()
        assert "--max-pixels" in caught.value.remedy
        assert caught.value.where == str(PHOTO)


def test_the_limit_on_pixels_is_width_times_height() -> None:
    content = encoded(picture((61, 47)), "PNG")
    assert decode_image(content, PHOTO, max_pixels=61 * 47).size == (61, 47)
    with pytest.raises(ImageError, match=r"61 x 47 = 2,867 pixels"):
        decode_image(content, PHOTO, max_pixels=61 * 47 - 1)
    with pytest.raises(ImageError, match=r"61 x 47 = 2,867 pixels"):
        check_image(content, PHOTO, side=64, max_pixels=61 * 47 - 1)


def test_very_long_thin_images_are_refused_before_resizing_explodes() -> None:
    """1 x 60000 is small, but resized to a short side of 512 it has 512 x 30,720,000 pixels."""
    content = encoded(Image.new("RGB", (1, 60_000)), "PNG")
    with pytest.raises(ImageError, match="too long and thin to resize to 512 px"):
        check_image(content, PHOTO, side=512)
    check_image(encoded(Image.new("RGB", (100, 6_000)), "PNG"), PHOTO, side=512)


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except ImageError as error:
        return error.where == str(PHOTO)
    return False


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # remarks on damaged metadata
@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(
        ["jpeg", "progressive", "png", "palette", "gif", "webp", "bmp", "ppm", "jpeg 2000", "cmyk", "16 bits"]
    ),
    keep=st.floats(0, 1.3),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4),
    head=st.booleans(),
)
def test_damage_is_found_by_the_check_and_never_raises_anything_else(
    name: str, keep: float, flips: list[tuple[float, int]], head: bool
) -> None:
    """Bytes flipped, anywhere or among the first 200, and the end cut off: decoder and check say the same."""
    content = bytearray(GOOD[name])
    for place, mask in flips:
        content[int(place * (200 if head else len(content)))] ^= mask
    content = content[: int(keep * len(content))] if keep < 1 else content
    checked = refused(lambda: check_image(bytes(content), PHOTO, side=64))
    assert refused(lambda: decode_image(bytes(content), PHOTO)) == checked
